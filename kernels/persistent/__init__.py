"""Persistent scheduling of MLA decode and prefill: who computes which keys, and the buffers that say so."""
