"""Sparse attention over ragged index lists: prefill on unquantised rows, decode on the fp8_ds_mla cache."""
