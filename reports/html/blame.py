"""Which kernel broke the answers: per fault, what its kernels' own cases say beside what it did to the accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, Evaluation, latest
from rocassay.reports.html.evaluations import CUT_SHORT, SENTENCE
from rocassay.reports.html.flips import Flip, Pair, counterpart, flipped, pairs_of, told
from rocassay.reports.html.kernelsays import Kernel, kernels_of
from rocassay.reports.html.words import counted, joined, points, shortened


@dataclass(frozen=True, slots=True)
class Blame:
    """One fault or combination on one configuration; without a fault, a healthy evaluation that is red."""

    label: str
    faults: tuple[str, ...]
    configuration: str
    kernels: tuple[Kernel, ...]
    red: int
    run: int
    """Kernel cases that were run for it, of which `red` went red."""
    healthy: float | None
    """Accuracy without the fault on the questions that both runs answered; None without such a run."""
    accuracy: float | None
    """Accuracy with it, on the same questions."""
    shared: int
    """How many these are."""
    stopped_after: int | None
    effect: str
    """`broken`: the answers fell; `blind`: they did not; `unknown`: the evaluation tells neither."""
    sentence: str
    """What the two together mean."""
    lost: int
    gained: int
    flips: tuple[Flip, ...]
    """The first of them in the order of asking, lost ones before gained ones."""

    @property
    def drop(self) -> float | None:
        """Change of the accuracy; negative is worse."""
        return None if self.healthy is None or self.accuracy is None else self.accuracy - self.healthy


def blames(assay: Assay) -> list[Blame]:
    """One entry per faulted evaluation that counts, and before them the healthy ones that are red."""
    counting = latest(assay.evaluations.values())
    sound = [found for found in counting if not found.header.faults]
    ill = [found for found in sound if found.verdict is not None and found.verdict.status == "red"]
    return [_of_kernels(assay, found) for found in ill] + [
        _of_fault(assay, found, counterpart(found, sound)) for found in counting if found.header.faults
    ]


def in_short(found: Sequence[Blame]) -> str:
    """All injected faults in two sentences; empty when there is none."""
    injected = [blame for blame in found if blame.faults]
    if not injected:
        return ""
    of = counted(len(injected), "injected defect")
    fell = sum(blame.effect == "broken" for blame in injected)
    drilled = [blame for blame in injected if blame.run]
    if drilled:
        red = sum(blame.red > 0 for blame in drilled)
        said = f"Of {of}, a kernel's own case goes red for {red}, and the answers fall for {fell}."
    else:
        said = f"Of {of}, the answers fall for {fell}; this file holds no kernel drill of them."
    blind = joined(blame.label for blame in injected if blame.effect == "blind")
    return said + (f" Accuracy is blind to {blind}." if blind else "")


def _of_fault(assay: Assay, faulted: Evaluation, sound: Evaluation | None) -> Blame:
    header = faulted.header
    drilled = {name: [r for r in assay.drills if r.fault == name] for name in header.faults}
    kernels = [kernel for name, records in drilled.items() for kernel in kernels_of(name, records, header)]
    pairs = pairs_of(faulted, sound)
    lost, gained = flipped(pairs)
    effect = _effect(faulted, sound, len(lost) - len(gained))
    answers = [after for _, after in pairs] or faulted.judged
    return Blame(
        label=" + ".join(header.faults),
        faults=header.faults,
        configuration=shortened(header.configuration),
        kernels=tuple(kernels),
        red=sum(kernel.red for kernel in kernels),
        run=sum(kernel.run for kernel in kernels),
        healthy=sum(before.correct for before, _ in pairs) / len(pairs) if pairs else None,
        accuracy=sum(answer.correct for answer in answers) / len(answers) if answers else None,
        shared=len(pairs),
        stopped_after=faulted.verdict.stopped_after if faulted.verdict else None,
        effect=effect,
        sentence=_together(effect, kernels, faulted, pairs, len(lost), len(gained)),
        lost=len(lost),
        gained=len(gained),
        flips=told(lost, gained),
    )


def _of_kernels(assay: Assay, found: Evaluation) -> Blame:
    """A healthy evaluation that is red, beside the red cases of its chip and flavour."""
    header, verdict = found.header, found.verdict
    near = [r for r in assay.cases if header.arch in ("", r.arch) and header.fp8 in ("", r.fp8)]
    kernels = [kernel for kernel in kernels_of("", near, header) if kernel.red]
    where = " ".join(part for part in (header.arch, header.fp8) if part) or "any chip"
    if kernels:
        said = f"Kernel cases of {where} are red, too: look there first."
    elif near:
        said = f"None of {counted(len(near), 'kernel case')} of {where} is red: they do not explain it."
    else:
        said = f"This file holds no kernel case of {where}; `rocassay run` judges them."
    return Blame(
        label="no fault injected",
        faults=(),
        configuration=shortened(header.configuration),
        kernels=tuple(kernels),
        red=sum(kernel.red for kernel in kernels),
        run=len(near),
        healthy=None,
        accuracy=verdict.correct / verdict.asked if verdict and verdict.asked else None,
        shared=0,
        stopped_after=verdict.stopped_after if verdict else None,
        effect="broken",
        sentence=said,
        lost=0,
        gained=0,
        flips=(),
    )


def _effect(faulted: Evaluation, sound: Evaluation | None, net_loss: int) -> str:
    verdict, other = faulted.verdict, sound.verdict if sound else None
    if verdict is None:
        return "unknown"
    apart = other is not None and verdict.interval[1] < other.interval[0]
    if (verdict.status == "red" or apart) and (sound is None or net_loss > 0):
        return "broken"
    compared = sound is not None or verdict.status == "green"
    return "blind" if compared and verdict.status in ("green", "blind", "red") else "unknown"


def _together(
    effect: str, kernels: Sequence[Kernel], faulted: Evaluation, pairs: Sequence[Pair], lost: int, gained: int
) -> str:
    """What the verdict of the kernels and that of the answers mean together."""
    red = any(kernel.red for kernel in kernels)
    drill = "" if kernels else " This file holds no kernel drill of it."
    if effect == "unknown":
        verdict = faulted.verdict
        why = f"{verdict.status}: {shortened(verdict.reason, SENTENCE)}" if verdict else CUT_SHORT
        return f"Accuracy says nothing yet ({why}).{drill}"
    if effect == "broken":
        missed = " Only accuracy sees it: no kernel case goes red." if kernels and not red else drill
        return "Both see it." if red else f"The answers fall.{missed}"
    only = " Only the kernels' cases show it." if red else drill or " No kernel case sees it, either."
    if not pairs:
        return f"Accuracy is blind to it: its gate is green.{only}"
    if not lost + gained:
        return f"Accuracy is blind to it: {_same(pairs)}.{only}"
    change = points((gained - lost) / len(pairs))
    return f"Accuracy is blind to it: {change} ({lost} lost, {gained} gained) are within the intervals.{only}"


def _same(pairs: Sequence[Pair]) -> str:
    right = sum(after.correct for _, after in pairs)
    return f"the same {right:,} of {counted(len(pairs), 'question')} are right"
