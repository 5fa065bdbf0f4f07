"""The recipes of docs/ci.md: YAML and shell that parse; jobs, artifacts and commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import yaml

from rocassay.harness.cli.app import app
from rocassay.suites.selftest.children import ROOT

TEXT = (ROOT / "docs" / "ci.md").read_text()
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(kind, text) for kind, text in FENCE.findall(TEXT) if kind in ("yaml", "sh")]
RECIPES: list[Any] = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]
ACTIONS = {recipe["name"]: recipe["jobs"] for recipe in RECIPES if "jobs" in recipe}
(BUILDKITE,) = [recipe["steps"] for recipe in RECIPES if "steps" in recipe]
COMMAND = typer.main.get_command(app)
USAGE_ERROR = typer.BadParameter.__bases__[0]
"""Of the click that typer uses, which may be its own."""


def shell(text: str) -> str:
    """The script as the runner's shell gets it: expressions of the service are filled in."""
    return re.sub(r"\$\{\{.*?\}\}", "1", text).replace("$$", "$")


def scripts() -> Iterator[str]:
    """Every script of every recipe."""
    for jobs in ACTIONS.values():
        yield from (shell(step["run"]) for job in jobs.values() for step in job["steps"] if "run" in step)
    yield from (shell(step["command"]) for step in BUILDKITE)
    yield from (text for kind, text in BLOCKS if kind == "sh")


SCRIPTS = list(scripts())


def command_lines(script: str) -> list[list[str]]:
    """Arguments of every call of rocassay in a script; variables are filled in, redirections cut off."""
    script = script.replace("\\\n", " ")
    script = re.sub(r"\$\{\w+:\+([^}]*)\}", r"\1", script)
    script = re.sub(r"\$\{?\w+\}?", "1", script)
    calls = re.findall(r"(?:^|&&|;|\bdo\b|\bthen\b|\()\s*rocassay +(.*?)(?=\|\||&&|[|;>]|$)", script, re.MULTILINE)
    return [shlex.split(call) for call in calls]


def parsed(words: list[str]) -> Any:
    """The command line as it is understood; USAGE_ERROR or KeyError where it is not."""
    command: Any = COMMAND
    while hasattr(command, "commands"):
        command = command.commands[words[0]]
        words = words[1:]
    return command.make_context(command.name, list(words))


LINES = list(dict.fromkeys(shlex.join(words) for script in SCRIPTS for words in command_lines(script)))


def test_every_recipe_is_there():
    assert (set(ACTIONS), len(BUILDKITE)) == ({"kernels", "gate", "night"}, 4)
    verbs = {" ".join(word for word in line.split()[:2] if not word.startswith("-")) for line in LINES}
    assert verbs >= {"run", "report merge", "report md", "report html", "report diff", "history add", "history night"}
    assert sum(script.count("rocassay ") for script in SCRIPTS) == sum(len(command_lines(s)) for s in SCRIPTS)


@pytest.mark.parametrize("line", LINES)
def test_the_command_line_exists(line: str):
    parsed(shlex.split(line))


@pytest.mark.parametrize("line", ["run --shards 1/2", "report nothing", "report merge", "history prune --keep-days x"])
def test_a_command_line_that_does_not_exist_would_be_seen(line: str):
    with pytest.raises((USAGE_ERROR, KeyError)):
        parsed(shlex.split(line))


def test_shards_are_as_many_as_the_matrix_has():
    judge = ACTIONS["kernels"]["judge"]
    script = next(step["run"] for step in judge["steps"] if "--shard" in step.get("run", ""))
    (count,) = re.findall(r"--shard \$\{\{ matrix\.shard \}\}/(\d+)", script)
    assert judge["strategy"]["matrix"]["shard"] == list(range(1, int(count) + 1))


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_the_shell_parses_it(script: str):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ACTIONS)
def test_jobs_wait_for_jobs_that_exist_and_download_what_was_uploaded(name: str):
    jobs = ACTIONS[name]
    uploaded: set[str] = set()
    for job, wanted in jobs.items():
        needs = wanted.get("needs", [])
        assert ({needs} if isinstance(needs, str) else set(needs)) <= set(jobs), job
        for step in wanted["steps"]:
            assert ("run" in step) != ("uses" in step), step
            place = step.get("with", {})
            if "download-artifact" in step.get("uses", ""):
                assert any(_matches(one, place.get("name") or place["pattern"]) for one in uploaded), (job, place)
            if "upload-artifact" in step.get("uses", ""):
                uploaded.add(_plain(place["name"]))


def _plain(name: str) -> str:
    return re.sub(r"\$\{\{.*?\}\}", "1", name)


def _matches(uploaded: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(_plain(pattern)).replace(r"\*", ".*"), uploaded) is not None


def test_every_step_of_buildkite_waits_for_steps_that_exist():
    keys = [step["key"] for step in BUILDKITE]
    for step in BUILDKITE:
        needs = step.get("depends_on", [])
        names = [needs] if isinstance(needs, str) else [one["step"] for one in needs]
        assert set(names) <= set(keys[: keys.index(step["key"])])
    assert "$ARCH" not in "".join(text for kind, text in BLOCKS if kind == "yaml").replace("$$ARCH", "")


@pytest.mark.parametrize("script", [s for s in SCRIPTS if "make setup" in s and "--engine device" in s])
def test_where_a_device_judges_its_torch_is_compared_before_and_after(script: str):
    assert script.index("before=$(python3") < script.index("make setup") < script.index("after=$(.venv/bin/python")
    assert 'test "$before" = "$after"' in script
