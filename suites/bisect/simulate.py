"""How often a noisy bisection is wrong, and what it costs: `python -m rocassay.suites.bisect.simulate`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from rocassay.harness.accuracy.intervals import wilson_upper
from rocassay.harness.bisect.sequences import Rates
from rocassay.suites.bisect.simulated import Seen, Simulated, fixed, histories, search

HISTORIES = 1000
RATES = Rates(good=0.95, drop=0.05)
NAIVE = (100, 200, 400, 800, 1319)
ALPHAS = (0.01, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Row:
    """What one way to search made of many histories."""

    how: str
    truth: str
    seen: tuple[Seen, ...]

    def share(self, outcome: str) -> int:
        """Histories that ended so."""
        return Counter(seen.outcome for seen in self.seen)[outcome]

    @property
    def cells(self) -> list[str]:
        """The row of the table."""
        counts = [self.share(name) for name in ("right", "wrong", "no change", "bad good end", "no answer")]
        n = len(self.seen)
        limit = wilson_upper(counts[1], n, 0.025)
        questions, tests = mean(seen.questions for seen in self.seen), mean(seen.tests for seen in self.seen)
        return [self.how, self.truth, *map(str, counts), f"{100 * limit:.2f} %", f"{questions:.0f}", f"{tests:.1f}"]


def rows(count: int) -> Iterator[Row]:
    """Every way to search, on histories with a change and on flat ones."""
    dropped = ".95 to .90", histories(0.95, 0.90, count)
    for alpha in ALPHAS:
        rates = replace(RATES, alpha=alpha, beta=alpha)
        yield _row(f"posterior, tests at {alpha:g}", *dropped, lambda history, rates=rates: search(history, rates))
    for questions in NAIVE:
        yield _row(f"{questions} at each", *dropped, lambda history, n=questions: fixed(history, RATES, n))
    others = {
        ".95 to .85": histories(0.95, 0.85, count),
        ".95 to .925": histories(0.95, 0.925, count),
        "flat .95": histories(0.95, 0.95, count, flat=True),
        "flat .94": histories(0.94, 0.94, count, flat=True),
        "flat .925": histories(0.925, 0.925, count, flat=True),
        "flat .90": histories(0.90, 0.90, count, flat=True),
    }
    for truth, many in others.items():
        yield _row(f"posterior, tests at {RATES.alpha:g}", truth, many, lambda history: search(history, RATES))
        yield _row(f"{NAIVE[-1]} at each", truth, many, lambda history: fixed(history, RATES, NAIVE[-1]))


def _row(how: str, truth: str, many: Sequence[Simulated], seek: Callable[[Simulated], Seen]) -> Row:
    return Row(how, truth, tuple(seek(history) for history in many))


HEAD = ("search", "truth", "right", "wrong", "no change", "good end is bad", "no answer", "wrong at most", "questions",
        "tests")  # fmt: skip


def main() -> None:
    """Print the table as markdown, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=HISTORIES, help="histories of each row")
    count = parser.parse_args().histories
    for cells in (HEAD, ["---"] * len(HEAD)):
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    for row in rows(count):
        sys.stdout.write(f"| {' | '.join(row.cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
