"""The contract with AMD's AITER: what vLLM 0.33 and this project call of it, by the kernels' own names.

Sources: AITER's wheel 0.1.7.post2.dev18 and its repository; vLLM 0.33.0.
"""

from __future__ import annotations

from rocassay.harness.contract.declared import Contract, Lookalike, declare
from rocassay.suites.contracts.aiter import own, vllm

CONTRACT = declare(
    Contract(
        name="aiter",
        package="aiter",
        distribution="amd-aiter",
        signs=("ops/attention.py", "jit/core.py", "mla.py"),
        calls=(*vllm.CALLS, *own.CALLS),
        lookalikes=(Lookalike("aiter", "a library of asynchronous iterators", "join_aiters.py"),),
        native=("csrc", "aiter_meta/csrc"),
        stub="compile_ops",
        stub_name="fc_name",
    )
)
