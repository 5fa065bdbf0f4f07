"""Causal prefill attention of MLA in its multi-head form, planned and persistent or plain."""
