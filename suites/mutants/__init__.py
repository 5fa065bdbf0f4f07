"""The ledger of equivalent mutants: what no case can tell from the shipped kernels, and why."""
