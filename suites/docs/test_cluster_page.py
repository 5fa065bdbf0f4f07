"""The page on clusters: its commands parse, and its numbers are those of the code."""

from __future__ import annotations

import shlex

import typer

from rocassay.harness.cli.app import app
from rocassay.harness.cluster.driver import PATIENCE_SECONDS
from rocassay.harness.cluster.needs import needs_of, start_command
from rocassay.harness.cluster.schedule import AHEAD_SECONDS, BATCH_SECONDS, MOST_IN_FLIGHT
from rocassay.suites.docs.pages import fences, page

TEXT = page("docs/cluster.md")
LINES = [shlex.split(line, comments=True) for block in fences(TEXT, "sh") for line in block.splitlines()]


def test_every_command_parses():
    command = typer.main.get_command(app)
    verbs = [words[1:] for words in LINES if words[0] == "rocassay"]
    assert len(verbs) >= 6
    for words in verbs:
        context = command
        while hasattr(context, "commands"):
            context, words = context.commands[words[0]], words[1:]  # pyright: ignore[reportAttributeAccessIssue]
        context.make_context("rocassay", list(words))


def test_a_node_joins_by_a_line_of_the_form_that_doctor_prints():
    shown = next(words for words in LINES if words[:2] == ["ray", "start"])
    resources = {"rocassay:interpreter": 128, "rocassay:isa": 128, "rocassay:gfx942": 8}
    assert shown == shlex.split(start_command(resources))


def test_the_resources_of_the_page_are_those_that_cases_need():
    named = {(engine, arch) for engine in ("interpreter", "isa", "device") for arch in ("gfx942", "gfx950")}
    needed = {name for engine, arch in named for name in needs_of(engine, "aiter", arch)}
    assert [name for name in sorted(needed) if f"`{name}`" not in TEXT] == []


def test_the_numbers_of_the_page_are_those_of_the_code():
    assert f"in batches of about {BATCH_SECONDS:g} s" in TEXT
    assert f"more than\n  {AHEAD_SECONDS:g} s or {MOST_IN_FLIGHT} cases in hand" in TEXT
    assert f"it waits {PATIENCE_SECONDS:g} s for another" in TEXT
