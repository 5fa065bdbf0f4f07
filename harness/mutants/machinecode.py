"""Whether a mutant changes the machine code at all, for any launch that could notice it."""

from __future__ import annotations

from rocassay.harness.cases import Case
from rocassay.harness.codegen import compile_launch, options_of, source_of, target_of
from rocassay.harness.codegen.choosing import launches_of
from rocassay.harness.codegen.text import listing


class MachineCode:
    """Compiles launches of an op, each specialisation once, for the chips of its cases."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        self._healthy: dict[Case, list[str]] = {}

    def keep(self, case: Case) -> None:
        """Remember what the launches of a case compile to; no mutant may be injected."""
        self._healthy[case] = self._codes(case)

    def differs(self, case: Case) -> bool:
        """Whether the injected mutant changes the code of any launch of a kept case, or keeps one from compiling."""
        try:
            return self._codes(case) != self._healthy[case]
        except Exception:
            return True

    def _codes(self, case: Case) -> list[str]:
        launches, _ = launches_of(case)
        target = target_of(case.arch)
        found: list[str] = []
        for launch in launches:
            options = options_of(launch, target)
            key = f"{case.arch} {source_of(launch, target, options).hash()} {sorted(options.items())}"
            if key not in self._digests:
                self._digests[key] = listing(compile_launch(launch, case.arch).asm).digest
            found.append(self._digests[key])
        return found
