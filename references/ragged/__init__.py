"""Integer models of the builders of ragged (CSR) index lists."""
