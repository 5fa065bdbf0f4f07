"""The prefill indexer: query quantiser, dense logits over key windows, and the metadata that bounds them."""
