"""A batch with one request more is what it says: its golden, without the new rows, is the golden of the batch."""

from __future__ import annotations

import pytest
import torch

from rocassay.harness.cases import Case, Selection
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, op_named, select_cases
from rocassay.harness.probes import BatchInvariance

OPS = ("sparse_attn_prefill", "sparse_attn_decode", "fp8_paged_mqa_logits", "fp8_mqa_logits")


def goldens(op: Op, case: Case, operands: Operands) -> dict[str, torch.Tensor]:
    return {name: e.golden for name, e in op.golden(case, operands).items() if isinstance(e, Whitened)}


@pytest.mark.parametrize("name", OPS)
def test_the_larger_batch_has_the_same_golden_behind_the_new_request(name: str):
    op = op_named(name)
    (probe,) = (probe for probe in op.probes if isinstance(probe, BatchInvariance))
    case = next(case for case in select_cases("quick", Selection(ops=frozenset({name}))) if op.probed(case))
    operands = op.inputs(case, Stream.of(case))
    _, more, back = probe.transform(case, operands)
    before, led = goldens(op, case, operands), goldens(op, case, more)
    for output, found in back(led).items():
        assert len(led[output]) > len(before[output])
        torch.testing.assert_close(found, before[output], rtol=0, atol=0, equal_nan=True)
