"""The embedded model for lm-eval, registered there as `rocassay`; importing this module needs the extra `gsm8k`.

    python -m rocassay.suites.gsm8k.lm_eval_cli run --model rocassay --model_args arch=gfx942 --tasks rocassay_problems

is lm-eval's own command with model and tasks made known. The plain command finds both when the task is named by its
file, for the file names a function of this package and so imports it before the model is looked up:

    lm_eval run --model rocassay --tasks .../suites/gsm8k/tasks/rocassay_problems.yaml

With `--include_path` and a task's name alone, lm-eval looks for the model before it loads the task: it then knows the
tasks (for any other model), but not the model. In Python an import of this module is all that `simple_evaluate` needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from tqdm import tqdm

from rocassay.harness.accuracy.errors import AccuracyError, AnswererError
from rocassay.harness.accuracy.questions import Answer, Question
from rocassay.harness.accuracy.tasks import GSM8K_MAX_TOKENS
from rocassay.harness.arch import fp8_format_of
from rocassay.harness.choice import default_engine
from rocassay.suites.gsm8k.embedded import EmbeddedModel, Setting
from rocassay.suites.gsm8k.model import WEIGHTS

NAME = "rocassay"
"""What `--model` calls it."""


class GenerationOnly(AccuracyError, NotImplementedError):
    """A task wants probabilities of a model that only writes."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How requests want to be continued; those that want the same are answered together."""

    until: tuple[str, ...]
    max_tokens: int

    @classmethod
    def of(cls, wishes: Mapping[str, Any]) -> Decoding:
        """From lm-eval's generation keywords; AccuracyError where they ask for samples."""
        wanted: dict[str, Any] = {**normalize_gen_kwargs(dict(wishes), GSM8K_MAX_TOKENS)}
        if wanted["do_sample"]:
            raise AccuracyError(
                f"a request asks for samples ({dict(wishes)}), but the embedded model decodes greedily; "
                "use --gen_kwargs do_sample=false"
            )
        return cls(tuple(wanted["until"]), wanted["max_gen_toks"])


class EmbeddedLM(LM):
    """The embedded model under lm-eval's contract; whatever dies is an exception, never an empty answer."""

    def __init__(
        self,
        *,
        arch: str = "gfx950",
        fp8: str = "",
        block_size: int = 16,
        provider: str = "rocassay",
        engine: str = "",
        fault: str = "",
        workers: int = 0,
        weights: str = "",
        batch_size: int | str | None = None,  # noqa: ARG002
        max_batch_size: int | None = None,  # noqa: ARG002
        device: str | None = None,  # noqa: ARG002
    ) -> None:
        """`--model_args` is any of the first eight, as `rocassay gsm8k` knows them.

        Args:
            arch: gfx architecture whose decisions are taken.
            fp8: flavour of the caches; empty for the architecture's own.
            block_size: tokens per cache page.
            provider: whose kernels.
            engine: what executes them; empty for the device where there is one.
            fault: injected defects, joined by `+`.
            workers: processes on the interpreter, 0 for one a core.
            weights: file of other weights than the shipped ones.
            batch_size: passed by lm-eval like the next two; where and how many prompts are answered together is
                the engine's affair.
            max_batch_size: see batch_size.
            device: see batch_size.

        Raises EngineUnavailable, UnknownProvider, UnknownFault or WeightsError for what cannot be had here.
        """
        super().__init__()
        self._setting = Setting(
            arch=arch,
            fp8=fp8 or fp8_format_of(arch),
            block_size=block_size,
            provider=provider,
            engine=engine or default_engine(),
            faults=tuple(fault.split("+")) if fault else (),
            weights=Path(weights) if weights else WEIGHTS,
        )
        self._model = EmbeddedModel(self._setting, workers)

    def get_model_info(self) -> dict[str, str]:
        """What lm-eval keeps in `config` of its results, beside the arguments as they were given."""
        setting = self._setting
        chip = {"arch": setting.arch, "fp8": setting.fp8, "block_size": str(setting.block_size)}
        return {**chip, "provider": setting.provider, "fault": "+".join(setting.faults), **self._model.describe()}

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations in the order of the requests, before the first stop string.

        Raises AnswererError with the words of the first request that got no answer, TaskError for a prompt that the
        model cannot read, AccuracyError for a request of samples.
        """
        groups: dict[Decoding, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(Decoding.of(request.arguments[1]), []).append(place)
        texts: dict[int, str] = {}
        bar = tqdm(total=len(requests), desc=NAME, disable=disable_tqdm)
        try:
            for decoding, places in groups.items():
                for place, answer in self._answers(requests, places, decoding):
                    texts[place] = _text(answer, place)
                    self.cache_hook.add_partial("generate_until", requests[place].arguments, answer.text)
                    bar.update()
        finally:
            bar.close()
            # lm-eval never says that it needs a model no more.
            self._model.close()
        return [texts[place] for place in range(len(requests))]

    def _answers(
        self, requests: Sequence[Instance], places: Sequence[int], decoding: Decoding
    ) -> Iterator[tuple[int, Answer]]:
        """Answers of the requests at these places, as they finish."""
        questions = [Question(str(place), requests[place].arguments[0], gold="") for place in places]
        for first in range(0, len(questions), self._model.chunk):
            part = questions[first : first + self._model.chunk]
            for question, answer in self._model.answer(part, until=decoding.until, max_tokens=decoding.max_tokens):
                yield int(question.id), answer

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:  # noqa: ARG002
        """Raises GenerationOnly."""
        raise GenerationOnly(_NO_PROBABILITIES)

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:  # noqa: ARG002
        """Raises GenerationOnly."""
        raise GenerationOnly(_NO_PROBABILITIES)


_NO_PROBABILITIES = (
    "the model `rocassay` writes texts and gives no probabilities; choose a task with `output_type: generate_until`, "
    "such as rocassay_problems"
)


def _text(answer: Answer, place: int) -> str:
    if answer.finish_reason == "error":
        raise AnswererError(f"request {place} got no answer: {answer.error}")
    return answer.text


# Called, since as a decorator it hides the class's own type. lm-eval's own models are registered by then: whoever
# imports a module of lm_eval.models has them all, and an own one that came first would keep them out.
register_model(NAME)(EmbeddedLM)
