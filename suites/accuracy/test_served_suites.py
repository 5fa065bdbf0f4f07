"""The suites of served models: commands, sources, and prompts that are too short to see anything."""

from __future__ import annotations

import re
import shlex

import pytest

from rocassay.harness.accuracy.errors import TaskError
from rocassay.harness.accuracy.served_suites import ServedSuite, blindness, served_suite, served_suites
from rocassay.harness.arch import profile

each_suite = pytest.mark.parametrize("suite", served_suites().values(), ids=lambda suite: suite.name)


def test_the_three_families_are_there():
    assert list(served_suites()) == ["deepseek-v3.2", "glm-5", "deepseek-v4-flash", "deepseek-v4-pro"]


def test_an_unknown_suite_is_refused_with_the_known_ones():
    with pytest.raises(TaskError, match=r"there is no suite 'v3'; choose one of deepseek-v3.2, glm-5, deepseek-v4"):
        served_suite("v3")


@each_suite
def test_a_command_serves_the_model_in_the_configuration_that_is_named(suite: ServedSuite):
    words = shlex.split(suite.command(block_size=suite.block_sizes[-1], kv_dtype=suite.kv_dtypes[-1]))
    start = words.index("vllm")
    assert words[:start] == [f"{name}={value}" for name, value in suite.environment.items()]
    assert words[start : start + 3] == ["vllm", "serve", suite.model]
    for option, value in {
        "--tensor-parallel-size": "8",
        "--block-size": str(suite.block_sizes[-1]),
        "--kv-cache-dtype": suite.kv_dtypes[-1],
    }.items():
        assert words[words.index(option) + 1] == value


@each_suite
def test_a_configuration_that_the_suite_does_not_list_is_refused(suite: ServedSuite):
    with pytest.raises(TaskError, match=f"{suite.name} is not served with block size 7; choose of"):
        suite.command(block_size=7)
    with pytest.raises(TaskError, match="is not served with cache type int1; choose of"):
        suite.command(kv_dtype="int1")


@each_suite
def test_every_arch_is_one_of_the_profiles(suite: ServedSuite):
    assert [profile(arch).name for arch in suite.archs] == list(suite.archs)


@each_suite
def test_every_figure_has_a_source_that_can_be_looked_up(suite: ServedSuite):
    source = re.compile(r"^[\w.-]+/[\w.-]+(#\d+| [\w./-]+\.(md|yaml))")
    assert suite.published
    assert [one.source for one in suite.published if not source.match(one.source)] == []
    assert all((suite.serve_source, suite.topk_source, suite.selecting_source))


@each_suite
def test_an_accuracy_is_to_its_four_places_a_number_of_right_answers(suite: ServedSuite):
    for one in suite.published:
        right = round(one.accuracy * one.questions)
        assert round(right / one.questions, 4) == one.accuracy, one


@each_suite
def test_what_is_run_includes_prompts_that_select_unless_the_sweep_has_to_show_it(suite: ServedSuite):
    assert list(suite.shots) == sorted(set(suite.shots))
    assert {5, 8, 20} <= set(suite.shots)
    if suite.selecting_shots is not None:
        assert suite.selecting_shots <= max(suite.shots)


def test_the_reach_of_a_compressed_indexer_is_counted_in_prompt_tokens():
    reaches = {name: suite.reach for name, suite in served_suites().items()}
    assert reaches == {"deepseek-v3.2": 2048, "glm-5": 2048, "deepseek-v4-flash": 2048, "deepseek-v4-pro": 4096}


def test_a_baseline_is_of_this_model_with_these_shots_over_all_questions():
    flash = served_suite("deepseek-v4-flash")
    assert flash.baseline_words(8).startswith("0.9431 (strict; MI355X, TP 4; vllm-project/vllm#40871")
    assert flash.baseline_words(5) == "no published figure", "a figure over 200 questions is no baseline"
    assert served_suite("deepseek-v3.2").baseline_words(20) == "no published figure", "V3.2-Exp is another checkpoint"


@pytest.mark.parametrize(("tokens", "topk"), [(2049, 2048), (100_000, 2048), (1, None), (None, None)])
def test_an_evaluation_sees_where_prompts_exceed_the_reach_or_nothing_is_selected(tokens, topk):
    assert blindness(tokens, topk) is None


@pytest.mark.parametrize("tokens", [2048, 990, 0])
def test_an_evaluation_is_blind_where_every_key_of_a_prompt_is_selected(tokens: int):
    reason = blindness(tokens, 2048)
    assert reason is not None
    assert f"the shortest prompt has {tokens} tokens and up to 2048 every key is selected" in reason
    assert "retrieval sweep" in reason


def test_an_evaluation_whose_prompts_cannot_be_counted_is_blind_rather_than_trusted():
    assert "the server cannot count tokens" in str(blindness(None, 2048))
