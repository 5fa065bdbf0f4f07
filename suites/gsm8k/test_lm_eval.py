"""The embedded model and its tasks under lm-eval itself: what is asked, what is answered, how it is scored."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from lm_eval.tasks import __file__ as lm_evals_tasks
from lm_eval.tasks._yaml_loader import load_yaml

from rocassay.harness.accuracy.errors import AccuracyError, AnswererError, TaskError
from rocassay.harness.accuracy.evaluating import extracted
from rocassay.harness.accuracy.runner import evaluate
from rocassay.harness.accuracy.tasks import Task, gsm8k_from_path
from rocassay.harness.results import QuestionRecord
from rocassay.suites.accuracy.additions import environment, header, names
from rocassay.suites.gsm8k.embedded import EmbeddedModel, Setting
from rocassay.suites.gsm8k.lm_eval_cli import INCLUDE, TASKS, with_tasks
from rocassay.suites.gsm8k.lm_eval_model import EmbeddedLM, GenerationOnly
from rocassay.suites.gsm8k.model import WEIGHTS
from rocassay.suites.gsm8k.synthetic import synthetic

pytestmark = pytest.mark.filterwarnings("ignore")  # those of lm-eval and of what it imports

Samples = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""filter -> number of the question -> lm-eval's sample."""


def task_manager(**metadata: Any) -> TaskManager:
    return TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)


def prompts(task: Any, every: int = 1) -> list[str]:
    docs = list(task.test_docs())[::every]
    return [task.fewshot_context(doc, task.config.num_fewshot) for doc in docs]


def scored(model_args: str | dict[str, Any], limit: int, **settings: Any) -> Samples:
    """What lm-eval makes of the first questions of the synthetic task."""
    evaluate_with: Any = lm_eval.simple_evaluate  # its decorator hides what it takes
    results = evaluate_with(
        model="rocassay",
        model_args=model_args,
        tasks=["rocassay_problems"],
        task_manager=task_manager(),
        limit=limit,
        bootstrap_iters=0,
        **settings,
    )
    samples: Sequence[Mapping[str, Any]] = results["samples"]["rocassay_problems"]
    return {name: {s["doc_id"]: s for s in samples if s["filter"] == name} for name in ("strict-match", FLEXIBLE)}


FLEXIBLE = "flexible-extract"


def right(samples: Samples) -> dict[str, int]:
    return {name: sum(int(s["exact_match"]) for s in part.values()) for name, part in samples.items()}


@pytest.mark.parametrize("name", ["rocassay_gsm8k_5shot", "rocassay_gsm8k_8shot", "rocassay_gsm8k_20shot"])
def test_a_task_file_asks_and_scores_as_lm_evals_own_gsm8k(name: str):
    ours = load_yaml(TASKS / f"{name}.yaml", resolve_func=False)
    theirs = load_yaml(Path(str(lm_evals_tasks)).parent / "gsm8k" / "gsm8k.yaml")
    own = {"task", "tag", "num_fewshot", "metadata", "dataset_path", "dataset_name"}
    assert {key: ours.get(key) for key in theirs if key not in own} == {k: theirs[k] for k in theirs if k not in own}
    assert ours["fewshot_config"] == {"sampler": "first_n"}
    assert ours["num_fewshot"] == int(name.rpartition("_")[2].removesuffix("shot"))


@pytest.mark.parametrize(("suffix", "shots", "every"), [("", 5, 10), ("_8shot", 8, 20), ("_20shot", 20, 40)])
def test_prompts_of_the_synthetic_task_equal_ours(suffix: str, shots: int, every: int):
    task: Any = task_manager().load([f"rocassay_problems{suffix}"])["tasks"][f"rocassay_problems{suffix}"]
    ours = synthetic(shots)
    assert prompts(task, every) == [question.prompt for question in ours.questions][::every]
    assert task.test_docs()["question"] == [q.prompt.rpartition("Question: ")[2][:-8] for q in ours.questions]
    assert [task.doc_to_target(doc).rpartition(" ")[2] for doc in task.test_docs()] == [q.gold for q in ours.questions]
    wishes = task.config.generation_kwargs
    assert (tuple(wishes["until"]), wishes["max_gen_toks"]) == (ours.until, ours.max_tokens)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A GSM8K of 25 worked examples and 3 questions."""
    for split, count in (("train", 25), ("test", 3)):
        lines = [
            {"question": f"Ann’s {split} {n}:\nhow many {{{{cups}}}}  – at $1,{n:03} each?", "answer": f"So.\n#### {n}"}
            for n in range(count)
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.mark.parametrize("shots", [5, 8, 20])
def test_prompts_of_a_local_gsm8k_equal_ours(folder: Path, shots: int):
    (task,) = task_manager(data=str(folder)).load([f"rocassay_gsm8k_{shots}shot"])["tasks"].values()
    assert prompts(task) == [question.prompt for question in gsm8k_from_path(folder, shots=shots).questions]


def test_a_torn_local_gsm8k_is_named_with_its_line(folder: Path):
    path = folder / "test.jsonl"
    path.write_text(path.read_text()[:-10])
    with pytest.raises(TaskError, match=rf"{path}: line 3 is not JSON"):
        task_manager(data=str(folder)).load(["rocassay_gsm8k_5shot"])


def test_the_healthy_model_answers_all_of_32_questions():
    assert right(scored("provider=torch", 32)) == {"strict-match": 32, FLEXIBLE: 32}


def test_defects_of_the_kernels_make_its_answers_wrong():
    faults = {"block_size": 1, "fault": "idx-shuffle-at-bs1+rope-not-inplace-fast-path"}
    on = {"provider": "rocassay", "engine": "interpreter", "workers": 1}
    assert right(scored({**on, **faults}, 2, num_fewshot=2)) == {"strict-match": 0, FLEXIBLE: 0}


def recorded(task: Task, folder: Path) -> dict[int, QuestionRecord]:
    """Our own run of a task, by the number of the question."""
    asked = evaluate(
        EmbeddedModel(Setting(provider="torch")),
        task,
        header(task),
        order=names(task),
        path=folder / "results.jsonl",
        extract=extracted,
    )
    return {int(name.rpartition("-")[2]): record for name, record in asked.questions.items()}


def test_every_question_is_scored_as_in_our_own_run(tmp_path: Path):
    # So few tokens end two-step answers in the middle: some are right, some have a number but a wrong one.
    theirs = scored("provider=torch", 16, gen_kwargs="max_gen_toks=16")
    ours = recorded(replace(synthetic(questions=16), max_tokens=16), tmp_path)
    strict, flexible = theirs["strict-match"], theirs[FLEXIBLE]
    assert {number: bool(sample["exact_match"]) for number, sample in strict.items()} == {
        number: record.correct for number, record in ours.items()
    }
    assert {number: bool(sample["exact_match"]) for number, sample in flexible.items()} == {
        number: record.correct_flexible for number, record in ours.items()
    }
    assert 0 < right(theirs)["strict-match"] < 16
    found = {number: record.flexible for number, record in ours.items()}
    assert {number: sample["filtered_resps"][0] for number, sample in flexible.items()} == found


def request(prompt: str, number: int = 0, **wishes: Any) -> Instance:
    return Instance("generate_until", {}, (prompt, wishes), number, ("task", number, 1))


WISHES: tuple[dict[str, Any], ...] = (
    {"until": ["Question:"], "max_gen_toks": 48},
    {"until": ["####"], "max_gen_toks": 48},
    {"until": "<<", "max_gen_toks": 48, "do_sample": False, "temperature": 0.0},
    {"until": [], "max_gen_toks": 3},
    {"until": [">>"], "max_new_tokens": 7},
)


def test_answers_come_in_the_order_of_the_requests_whatever_each_of_them_wants():
    questions = [question.prompt for question in synthetic(shots=0, questions=6).questions]
    asked = [(prompt, WISHES[place % len(WISHES)]) for place, prompt in enumerate(questions)]
    asked += [(questions[0], WISHES[1]), (questions[0], WISHES[0]), (questions[3], WISHES[0]), asked[0]]
    model = EmbeddedLM(provider="torch")
    alone = [model.generate_until([request(prompt, **wishes)], disable_tqdm=True)[0] for prompt, wishes in asked]
    together = model.generate_until([request(prompt, **wishes) for prompt, wishes in asked], disable_tqdm=True)
    assert together == alone
    assert len(set(alone)) == len(set(map(str, asked))), "equal answers would hide a change of places"


def test_answers_that_finish_early_come_early():
    task = synthetic(shots=1, questions=12)
    model = EmbeddedModel(Setting(provider="torch"))
    came = [question.id for question, _ in model.answer(task.questions, until=task.until, max_tokens=48)]
    assert sorted(came) == names(task)
    assert came != names(task)


def test_a_process_that_dies_is_an_error_with_its_words(tmp_path: Path):
    weights = tmp_path / "weights"
    weights.symlink_to(WEIGHTS)
    model = EmbeddedLM(provider="rocassay", engine="interpreter", workers=2, weights=str(weights))
    weights.unlink()
    with pytest.raises(AnswererError, match=r"request 0 got no answer: BrokenProcessPool: A process in the process"):
        model.generate_until([request("Question: Tom", until=[], max_gen_toks=2)], disable_tqdm=True)


@pytest.mark.parametrize(
    ("prompt", "wishes", "error", "words"),
    [
        ("", {}, TaskError, "prompt 0 is empty"),
        ("Tom", {"max_gen_toks": 0}, TaskError, "0 tokens are no length of an answer"),
        ("Tom", {"until": ["x", ""]}, TaskError, "an empty stop string"),
        ("Tom", {"do_sample": True}, AccuracyError, "decodes greedily; use --gen_kwargs do_sample=false"),
        ("Tom", {"temperature": 0.7}, AccuracyError, "decodes greedily"),
    ],
)
def test_what_has_no_greedy_answer_is_refused(prompt: str, wishes: dict[str, Any], error: type[Exception], words: str):
    model = EmbeddedLM(provider="torch")
    with pytest.raises(error, match=words):
        model.generate_until([request(prompt, **wishes)], disable_tqdm=True)


@pytest.mark.parametrize("method", ["loglikelihood", "loglikelihood_rolling"])
def test_probabilities_are_refused(method: str):
    with pytest.raises(GenerationOnly, match="gives no probabilities; choose a task with `output_type"):
        getattr(EmbeddedLM(provider="torch"), method)([request("Tom")])


def test_each_architecture_brings_its_own_flavour():
    given = EmbeddedLM.create_from_arg_string("arch=gfx942,provider=torch,block_size=64", {"batch_size": 8})
    info = given.get_model_info()
    assert (info["arch"], info["fp8"], info["block_size"]) == ("gfx942", "e4m3fnuz", "64")


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["run", "--tasks", "x"], True),
        (["--tasks", "x"], True),
        (["ls", "tasks"], True),
        (["run"], False),
        (["--help"], False),
        ([], False),
        (["run", "--include_path", "mine"], False),
        (["run", "--include=mine"], False),
    ],
)
def test_the_tasks_are_made_known_unless_others_are(words: list[str], added: bool):
    assert with_tasks(words) == words + [INCLUDE, str(TASKS)] * added


def child(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """This Python in another folder, on one core as the rest."""
    offline = {"HF_HUB_OFFLINE": "1", "HOME": str(folder), "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    env = {**environment(), **offline}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_lm_evals_command_knows_model_and_tasks(tmp_path: Path):
    words = "run --model rocassay --model_args provider=torch arch=gfx942 --tasks rocassay_problems --limit 4"
    module = "rocassay.suites.gsm8k.lm_eval_cli"
    done = child(tmp_path, "-m", module, *words.split(), "--output_path", "out", "--log_samples")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("out/**/results*.json")
    results = json.loads(path.read_text())
    assert results["results"]["rocassay_problems"]["exact_match,strict-match"] == 1.0
    assert results["results"]["rocassay_problems"]["exact_match,flexible-extract"] == 1.0
    assert results["n-samples"]["rocassay_problems"] == {"original": 1319, "effective": 4}
    assert results["config"]["weights"] == EmbeddedModel(Setting(provider="torch")).describe()["weights"]


PLAIN = """
import sys
import rocassay.suites.gsm8k.evaluation
assert "lm_eval" not in sys.modules, "the extra is optional"
from lm_eval.api.registry import get_model, model_registry
from lm_eval.tasks import TaskManager
assert "rocassay" not in model_registry
TaskManager(include_defaults=False).load([sys.argv[1]])
print(get_model("rocassay").__name__, get_model("dummy").__name__)
"""


def test_a_task_named_by_its_file_makes_the_model_known_beside_lm_evals_own(tmp_path: Path):
    done = child(tmp_path, "-c", PLAIN, str(TASKS / "rocassay_problems.yaml"))
    assert done.stdout.split() == ["EmbeddedLM", "DummyLM"], done.stderr


def test_without_lm_eval_its_extra_is_named(tmp_path: Path):
    script = "import sys; sys.modules['lm_eval'] = None; from rocassay.suites.gsm8k.lm_eval_cli import main; main()"
    done = child(tmp_path, "-c", script)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert line.endswith("install the extra `gsm8k` of rocassay")
