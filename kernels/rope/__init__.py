"""Rotary position embedding: kernels, launchers, cos/sin caches and the decisions that choose them."""
