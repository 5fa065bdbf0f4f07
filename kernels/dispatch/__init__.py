"""Which implementation runs: vLLM's and AITER's dispatch tables as data, and one resolver over all of them."""
