"""Expected decisions of vLLM's and AITER's dispatch tables, enumerated cell by cell."""
