"""The machine-code engine: gfx942 and gfx950 code objects executed on a CPU.

from rocassay.harness.engines import isa

outcome = isa.run(kernel, {"x": x, "out": out, "BLOCK": 64}, (8,), "gfx950", num_warps=4)
assert outcome.clean, "\\n".join(str(finding) for finding in outcome.findings)
"""

from __future__ import annotations

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.harness.engines.isa.codeobj import Entry
from rocassay.harness.engines.isa.counting import Counts
from rocassay.harness.engines.isa.findings import MachineFinding
from rocassay.harness.engines.isa.launching import Outcome, Settings
from rocassay.harness.engines.isa.machine import Hung
from rocassay.harness.engines.isa.running import run

__all__ = ["Counts", "Entry", "Hung", "MachineFinding", "Outcome", "Settings", "Unsupported", "run"]
