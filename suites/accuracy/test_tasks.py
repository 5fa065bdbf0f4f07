"""GSM8K: prompts equal to those of lm-eval, and one clear error for every way in which the data can be wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.accuracy.errors import TaskError
from rocassay.harness.accuracy.questions import Question
from rocassay.harness.accuracy.tasks import GSM8K_UNTIL, Doc, Task, gold_of, gsm8k, gsm8k_from_path
from rocassay.suites.accuracy.additions import additions, environment

TRAIN = tuple(
    Doc(
        f"Tom has {n} apples and buys {n}  more.\nHow many – in total?",
        f"{n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}",
    )
    for n in range(1, 31)
)
TEST = (
    Doc("Ann's café sells 1,000 cups for $2 each. Revenue?", "1000*2=$2000\n#### 2,000"),
    Doc("What is {{braces}} minus nothing?", "It stays.\n#### -3"),
    TRAIN[0],
)


def write(folder: Path, name: str, docs: Sequence[Doc]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({"question": d.question, "answer": d.answer}) + "\n" for d in docs))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "train.jsonl", TRAIN)
    write(tmp_path, "test.jsonl", TEST)
    return tmp_path


def prompts_of_lm_eval(folder: Path, shots: int) -> list[str]:
    """What lm-eval builds of these files with GSM8K's own configuration and its `first_n` sampler."""
    import yaml
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks import __file__ as tasks

    config: dict[str, Any] = yaml.safe_load((Path(str(tasks)).parent / "gsm8k" / "gsm8k.yaml").read_text())
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}
    config |= {"task": "local_gsm8k", "dataset_path": "json", "dataset_name": None, "num_fewshot": shots}
    config |= {"dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")}}
    config |= {"fewshot_config": {"sampler": "first_n", "split": "train"}}
    (task,) = TaskManager(include_defaults=False).load([config])["tasks"].values()
    assert tuple(config["generation_kwargs"]["until"]) == GSM8K_UNTIL
    return [task.fewshot_context(doc, shots) for doc in task.test_docs()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shots", [0, 1, 5, 20])
def test_prompts_equal_those_of_lm_eval(folder: Path, shots: int):
    task = gsm8k_from_path(folder, shots=shots)
    assert [question.prompt for question in task.questions] == prompts_of_lm_eval(folder, shots)


def test_a_prompt_has_exactly_this_form():
    task = gsm8k((Doc("q1", "a1\n#### 1"), Doc("q2", "a2\n#### 2")), (Doc("q3", "a3\n#### 3"),), shots=2)
    (question,) = task.questions
    assert question.prompt == (
        "Question: q1\nAnswer: a1\n#### 1\n\nQuestion: q2\nAnswer: a2\n#### 2\n\nQuestion: q3\nAnswer:"
    )
    assert (question.id, question.gold) == ("gsm8k-0000", "3")


def test_all_questions_share_the_worked_examples_as_a_prefix(folder: Path):
    prompts = [question.prompt for question in gsm8k_from_path(folder, shots=5).questions]
    prefix = prompts[0][: prompts[0].index("Question: Ann's")]
    assert prefix.count("Answer: ") == 5
    assert all(prompt.startswith(prefix) for prompt in prompts)


def test_a_file_is_read_with_the_train_split_beside_it(folder: Path):
    other = write(folder, "held-out.jsonl", TEST[:1])
    assert [q.prompt for q in gsm8k_from_path(other).questions] == [gsm8k(TRAIN, TEST).questions[0].prompt]


def test_without_shots_no_train_split_is_needed(tmp_path: Path):
    assert len(gsm8k_from_path(write(tmp_path, "test.jsonl", TEST), shots=0).questions) == 3


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("a\n#### 18", "18"), ("#### 1,234", "1234"), ("#### $5.", "5"), ("#### -3 ", "-3"), ("#### 1\n#### 2", "2")],
)
def test_the_gold_number_is_normalised(answer: str, gold: str):
    assert gold_of(answer) == gold


BROKEN = {
    "cut off": ('{"question": "q", "answ', "is not JSON"),
    "empty": ("", "is not JSON"),
    "no question": ('{"answer": "#### 1"}', "has no text called 'question'"),
    "no answer": ('{"question": "q"}', "has no text called 'answer'"),
    "a number for a question": ('{"question": 3, "answer": "#### 1"}', "has no text called 'question'"),
    "a blank question": ('{"question": " ", "answer": "#### 1"}', "has no text called 'question'"),
    "a list": ("[1]", "has no text called 'question'"),
    "no number": ('{"question": "q", "answer": "seven"}', "the worked answer 'seven' has no number"),
    "no unicode": ("\udcff", "is not JSON"),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", BROKEN)
def test_one_clear_error_names_file_and_line_of_a_line_with(folder: Path, split: str, kind: str):
    line, complaint = BROKEN[kind]
    path = folder / f"{split}.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    path.write_bytes("".join([*whole[:2], f"{line}\n", *whole[2:]]).encode(errors="surrogateescape"))
    with pytest.raises(TaskError) as caught:
        gsm8k_from_path(folder)
    assert f"{path}: line 3" in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_split_is_named_with_the_next_step(folder: Path, missing: str):
    (folder / f"{missing}.jsonl").unlink()
    with pytest.raises(TaskError, match=rf"cannot read .*{missing}.jsonl: No such file or directory; --data names"):
        gsm8k_from_path(folder)


def test_an_empty_split_is_an_error(folder: Path):
    (folder / "test.jsonl").write_text("")
    with pytest.raises(TaskError, match=r"test.jsonl is empty"):
        gsm8k_from_path(folder)


@pytest.mark.parametrize("shots", [-1, 31])
def test_shots_that_the_train_split_does_not_hold_are_refused(folder: Path, shots: int):
    with pytest.raises(TaskError, match=f"{shots} shots cannot be taken from a train split of 30; choose 0 to 30"):
        gsm8k_from_path(folder, shots=shots)


def test_doubled_names_are_refused():
    question = Question("a", "p", "1")
    with pytest.raises(TaskError, match=r"1 doubled question names, such as 'a'"):
        Task("t", (question, question), 0, (), 1)


def test_the_shortest_prompt_is_counted_in_tokens_and_not_in_characters():
    short = Question("few words", "x" * 40, "1")
    task = Task("t", (Question("many words", "a b c d e f", "1"), short), 0, (), 1)
    assert task.shortest_prompt(lambda text: len(text.split())) == 1


def test_the_shortest_prompt_is_unknown_as_soon_as_one_count_is():
    counts = iter([3, None, 2, 5, 6, 7, 8, 9])
    assert additions(8).shortest_prompt(lambda _: next(counts)) is None


HUB = """
import sys
from rocassay.harness.accuracy.errors import TaskError
from rocassay.harness.accuracy.tasks import gsm8k_from_hub
sys.modules.update(dict.fromkeys(sys.argv[1:]))
try:
    gsm8k_from_hub()
except TaskError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("hidden", "complaint"),
    [(["lm_eval"], "lm-eval cannot be imported"), ([], "the hub did not give openai/gsm8k")],
    ids=["without lm-eval", "without a hub"],
)
def test_one_clear_error_names_local_files_as_the_way_out(tmp_path: Path, hidden: list[str], complaint: str):
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", HUB, *hidden],
        cwd=tmp_path,
        env={**environment(), **offline},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stdout.strip().splitlines()
    assert line.startswith(complaint), done.stderr
    assert line.endswith("name local files by --data PATH")
    assert "Traceback" not in done.stderr
