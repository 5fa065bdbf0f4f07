"""What a plan made on the device must be: the host planner's bytes, and those bytes a plan that keeps every invariant.

Contract: AITER ``get_mla_metadata_v1`` (csrc/kernels/mla/metadata, v1.2); vllm-project/vllm#36574.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from rocassay.references.persistent.plan_invariants import check_plan
from rocassay.references.persistent.plan_records import NAMES, Finding, PlanBuffers, Requests, Rules


def mla_plan(
    lists: Mapping[str, torch.Tensor], buffers: Mapping[str, torch.Tensor], rules: Rules, *, fold: int = 1
) -> list[Finding]:
    """Findings of the plan in `buffers`, the last five of `NAMES`, for qo_indptr, kv_indptr and last_page_lens."""
    columns = (lists[name].cpu().numpy() for name in ("qo_indptr", "kv_indptr", "last_page_lens"))
    requests = Requests.dense(*columns, page_size=rules.page_size, fold=fold)
    plan = PlanBuffers.of(np.zeros(2, np.uint64), *(buffers[name].cpu().numpy() for name in NAMES[1:]))
    return check_plan(requests, plan, rules)
