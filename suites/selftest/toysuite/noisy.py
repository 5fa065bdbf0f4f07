"""Op `toy_noise`: what there is to calibrate."""

from __future__ import annotations

from rocassay.harness.faults import register as declare
from rocassay.harness.ops import register
from rocassay.suites.selftest.toynoise import noise_op, noisier

OP = register(noise_op())
FAULT = declare(noisier())
