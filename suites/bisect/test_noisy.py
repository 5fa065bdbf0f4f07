"""Bisection by answers that are right most of the time: stated error rates, no confident answer without a change."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest

from rocassay.harness.bisect.answers import Answers
from rocassay.harness.bisect.believing import Believing
from rocassay.harness.bisect.errors import BisectError
from rocassay.harness.bisect.posterior import ENDS, Posterior
from rocassay.harness.bisect.sequences import Rates, decide
from rocassay.suites.bisect.histories import COMMITS, Repository, made
from rocassay.suites.bisect.processes import ended
from rocassay.suites.bisect.simulated import POINTS, Simulated, fixed, histories, search
from rocassay.suites.selftest.commandline import Done, Rocassay

RATES = Rates(good=0.95, drop=0.05)
MANY = 60
PLANTED = 23


def outcomes(many: Sequence[Simulated], rates: Rates = RATES) -> Counter[str]:
    return Counter(search(history, rates).outcome for history in many)


def test_the_posterior_is_that_of_bayes():
    posterior, n = Posterior(5), 5
    seen = [(2, 0.9, 0.2), (0, 0.1, 0.8), (3, 0.7, 0.3), (2, 0.6, 0.5)]
    for place, if_bad, if_good in seen:
        posterior.tell(place, if_bad, if_good)
    prior = [ENDS, *[(1 - 2 * ENDS) / (n - 1)] * (n - 1), ENDS]
    joint = [
        prior[k] * float(np.prod([if_bad if place >= k else if_good for place, if_bad, if_good in seen]))
        for k in range(n + 1)
    ]
    np.testing.assert_allclose(posterior.masses, np.array(joint) / sum(joint), rtol=1e-12)
    held = posterior.credible(0.9)
    assert sum(mass for _, mass in held) >= 0.9 > sum(mass for _, mass in held[:-1])


def test_skipped_points_join_the_changes_that_they_would_tell_apart():
    groups = Posterior(6).groups({2, 3})
    assert [(group.first, group.last) for group in groups] == [(0, 0), (1, 1), (2, 4), (5, 5), (6, 6)]
    assert sum(group.mass for group in groups) == pytest.approx(1)


@pytest.mark.parametrize("most", [1319, 40])
def test_the_probabilities_of_a_tests_decisions_are_those_that_it_shows(most: int):
    rates, random, runs = replace(RATES, most=most), np.random.default_rng(3), 1500
    for side, rate in enumerate((rates.bad, rates.good)):
        counts = [decide(rates.test, (random.random(most) < rate).tolist(), most) for _ in range(runs)]
        seen = Counter(count.decision for count in counts)
        assert {count.asked for count in counts if count.decision == "continue"} <= {most}
        for decision in ("fail", "pass", "continue"):
            told = rates.likelihoods(decision, most)[side]
            assert abs(seen[decision] / runs - told) < 4 * (max(told, 1e-3) / runs) ** 0.5
        # A test that might have gone on, but was cut short there, is as undecided as one that ends there.
        assert RATES.likelihoods("continue", most)[side] == rates.likelihoods("continue", most)[side]


def test_the_confirmation_keeps_its_error_rates():
    test = RATES.confirmation
    nothing, drop = test.stopping([0.5] * 4000), test.stopping([test.p1] * 4000)
    assert nothing.fail <= 1 - RATES.confidence
    assert drop.fail >= RATES.confidence - 1e-9
    assert test.p1 == pytest.approx(0.05 * 0.90 / (0.05 * 0.90 + 0.95 * 0.10))


def test_a_drop_of_5_points_is_found_with_less_than_half_the_questions_of_equally_good_fixed_tests():
    many = histories(0.95, 0.90, MANY)
    seen = [search(history, RATES) for history in many]
    right = Counter(one.outcome for one in seen)
    naive = [fixed(history, RATES, 800) for history in many]
    assert right["wrong"] == 0
    assert right["right"] >= 0.95 * MANY >= Counter(one.outcome for one in naive)["right"] - 0.05 * MANY
    assert mean(one.questions for one in seen) < mean(one.questions for one in naive) / 1.8
    for history, one in zip(many, seen, strict=True):
        if one.outcome == "right" and one.said:
            assert one.said.posterior >= RATES.confidence
            assert one.said.credible[0][0] == history.change


@pytest.mark.parametrize("rate", [0.99, 0.95, 0.94, 0.925, 0.90])
def test_a_history_without_a_change_gets_no_confident_answer(rate: float):
    seen = outcomes(histories(rate, rate, 24, flat=True))
    assert seen["right"] + seen["wrong"] == 0
    assert seen["no change" if rate > 0.925 else "bad good end"] >= (23 if rate != 0.925 else 3)


def test_the_posterior_alone_is_sure_of_commits_that_changed_nothing_where_the_rates_do_not_fit():
    """Why it is not believed alone: what the confirmation refuses below would have been confident answers."""
    refused = [search(history, RATES).said for history in histories(0.925, 0.925, 20, flat=True)]
    named = [said for said in refused if said is not None and said.first < POINTS]
    assert len(named) >= 8
    assert {said.status for said in named} == {"no change"}
    assert min(said.posterior for said in named) >= RATES.confidence


def test_a_confirmation_takes_only_questions_that_no_test_has_used():
    history = Simulated(0.95, 0.5, 3, 0)
    answers = Answers(history.points, history)
    first = [right for _, right in zip(range(30), answers.fresh(2), strict=False)]
    others = [right for _, right in zip(range(50), answers.fresh(3), strict=False)]
    pairs = [pair for _, pair in zip(range(20), answers.pairs(2, 3, 7), strict=False)]
    both = [drawn(history, place, 80) for place in (2, 3)]
    assert (first, others) == (both[0][:30], both[1][:50])
    assert pairs == list(zip(both[0][50:70], both[1][50:70], strict=True))
    rest = [right for _, right in zip(range(30), answers.fresh(3), strict=False)]
    assert rest == drawn(history, 3, 100)[70:]


def drawn(history: Simulated, place: int, count: int) -> list[bool]:
    asking = history.ask(history.points[place])
    return [question.correct for _ in range(count) if (question := asking.next())]


def test_answers_of_the_wrong_sign_are_refused():
    for seed in range(5):
        told = Simulated(0.05, 0.10, 30, seed)
        with pytest.raises(BisectError, match=r"the good end v0 answers like a bad one.*right way round"):
            Believing(told.points, Answers(told.points, told), RATES).run()


def test_points_that_cannot_be_asked_leave_a_range():
    history = replace(Simulated(0.95, 0.80, 30, 1), skipped=frozenset(range(28, 33)))
    seen = search(history, replace(RATES, drop=0.15))
    assert seen.said
    assert (seen.said.status, seen.said.first, seen.said.last) == ("found", 28, 33)
    with pytest.raises(BisectError, match="an end cannot be judged"):
        Believing(history.points, Answers(history.points, replace(history, skipped=frozenset({63}))), RATES).run()


def test_what_runs_out_before_the_end_is_said():
    poor = search(replace(Simulated(0.95, 0.90, 30, 1), questions=150), RATES)
    assert poor.said
    assert poor.said.status in ("undecided", "unconfirmed")
    assert poor.said.questions < 15 * 150, "points were asked that could not tell any more"
    short = search(Simulated(0.95, 0.90, 30, 1), replace(RATES, budget=700))
    assert short.said
    assert (short.said.status, short.said.questions <= 700 + 2) == ("undecided", True)
    assert "--budget" in short.said.reason
    assert len(short.said.credible) > 1


ASK = """
import json, pathlib, random, sys
folder, log = pathlib.Path(sys.argv[1]), open(sys.argv[2], "a")
revision, rate = (folder / "model").read_text().split()
log.write(revision + "\\n")
draw = random.Random("answers of " + revision)
for i in range(int(sys.argv[3])):
    print(json.dumps({"id": f"q{i}", "correct": draw.random() < float(rate)}))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    def files(revision: int) -> dict[str, str]:
        return {"model": f"{revision} {0.95 if revision < PLANTED else 0.90}"}

    tree = tmp_path_factory.mktemp("noisy") / "tree"
    return made(tree, COMMITS, files, lambda i: "sample: faster" if i == PLANTED else f"sample: revision {i}")


def believe(rocassay: Rocassay, repository: Repository, tmp_path: Path, *words: object, questions: int = 1500) -> Done:
    (tmp_path / "ask.py").write_text(ASK)
    ask = f"echo starting; {sys.executable} -S {tmp_path / 'ask.py'} {{point}} {tmp_path / 'asked'} {questions}"
    ends = "--good", repository.commits[0], "--bad", repository.commits[-1]
    return rocassay("bisect", "--tree", repository.tree, *ends, "--outcomes", ask, *words)


def lines_of(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    journal = tmp_path / "rocassay-out" / "bisect" / "bisect.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_the_commit_that_cost_five_points_is_named(rocassay: Rocassay, repository: Repository, tmp_path: Path):
    done = believe(rocassay, repository, tmp_path, "--json")
    assert done.code == 0, done
    result = done.json
    assert (result["first_bad"]["point"], result["first_bad"]["subject"]) == (
        repository.commits[PLANTED],
        "sample: faster",
    )
    assert result["posterior"] >= 0.99
    assert result["credible"][0]["point"] == repository.commits[PLANTED]
    assert "are lost" in result["reason"]
    visits = lines_of(tmp_path, "visit")
    assert len(visits) == result["tests"]
    assert [visits[0]["place"], visits[1]["place"]] == [0, COMMITS - 1]
    asked = (tmp_path / "asked").read_text()
    again = believe(rocassay, repository, tmp_path, "--json", "--resume")
    assert again.json == result
    assert (tmp_path / "asked").read_text() == asked, "what the journal holds was asked again"
    assert lines_of(tmp_path, "visit") == visits


def test_an_interrupted_search_goes_on_with_the_answers_that_it_has(
    rocassay: Rocassay, repository: Repository, tmp_path: Path
):
    whole = believe(rocassay, repository, tmp_path, "--json").json
    journal = tmp_path / "rocassay-out" / "bisect" / "bisect.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: len(lines) // 3]) + lines[len(lines) // 3][:9])
    done = believe(rocassay, repository, tmp_path, "--json", "--resume").json
    assert done == whole
    ids = Counter((line["place"], line["id"]) for line in lines_of(tmp_path, "answer"))
    assert set(ids.values()) == {1}


def test_the_text_shows_posterior_credible_set_and_repro(rocassay: Rocassay, repository: Repository, tmp_path: Path):
    done = believe(rocassay, repository, tmp_path, "--budget", 900)
    assert done.code == 1
    assert "undecided; likeliest:" in done.out
    assert "posterior: 0." in done.out
    assert "credible set:\n  0." in done.out
    assert "likeliest" in done.err
    assert "reproduce: git -C" in done.out


RECORDS = """
import json, sys
from pathlib import Path
point, out = int(sys.argv[1]), Path(sys.argv[2])
with (out / "results.jsonl").open("a") as file:
    file.write(json.dumps({"kind": "eval", "id": "no answer"}) + "\\n")
    for place in (place ^ 1 for place in range(400)):
        right = place % 20 != 0 if point < 3 else place % 2 == 0
        record = {"kind": "question", "id": f"q{place}", "place": place, "correct": right, "finish_reason": "stop"}
        if place % 7 == 0:
            file.write(json.dumps({**record, "correct": False, "finish_reason": "error"}) + "\\n")
        file.write(json.dumps(record) + "\\n")
sys.exit(1)
"""


def test_answers_of_a_results_file_are_taken_by_their_place(rocassay: Rocassay, tmp_path: Path):
    (tmp_path / "records.py").write_text(RECORDS)
    ask = f"{sys.executable} -S {tmp_path / 'records.py'} {{point}} {{out}}"
    done = rocassay("bisect", "--versions", "0,1,2,3,4,5", "--outcomes", ask, "--results", "{out}/results.jsonl",
                    "--drop", 0.4, "--json")  # fmt: skip
    assert done.code == 0, done
    assert done.json["first_bad"] == {"point": "3"}
    answers = [(line["id"], line["correct"]) for line in lines_of(tmp_path, "answer") if line["place"] == 2]
    assert answers == [(f"q{place}", place % 20 != 0) for place in range(len(answers))]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ("exit 125", "an end cannot be judged: a: the command ended with exit code 125"),
        ("echo no server >&2; exit 3", "exit code 3 at a: no server"),
        ("echo hello", "an end cannot be judged: a gave no answer"),
        ("no-such-program", "exit code 127"),
    ],
)
def test_a_command_without_answers_is_one_complaint(rocassay: Rocassay, ask: str, said: str):
    assert said in rocassay("bisect", "--versions", "a,b,c", "--outcomes", ask).complaint


def test_a_point_that_hangs_is_not_waited_for_and_ended(rocassay: Rocassay, tmp_path: Path):
    ask = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    done = rocassay("bisect", "--versions", "a,b", "--outcomes", ask, "--timeout", 0.3)
    assert "no answer within 0.3 s (--timeout)" in done.complaint
    assert ended(int((tmp_path / "pid").read_text()))


OTHERS = """
import json, sys
for i in range(500):
    print(json.dumps({"id": sys.argv[1] + str(i), "correct": sys.argv[1] < "c" or i % 2 > 0}))
"""


def test_points_that_answer_other_questions_cannot_be_paired(rocassay: Rocassay, tmp_path: Path):
    (tmp_path / "ask.py").write_text(OTHERS)
    ask = f"{sys.executable} -S {tmp_path / 'ask.py'} {{point}}"
    done = rocassay("bisect", "--versions", "a,b,c,d", "--outcomes", ask)
    assert done.code == 2
    assert "the same questions in the same order" in done.err
