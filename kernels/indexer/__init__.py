"""The sparse indexer: key cache writer, gather, decode logits and the decisions which of them runs."""
