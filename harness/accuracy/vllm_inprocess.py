"""vLLM in this process: the same questions without a server in between."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rocassay.harness.accuracy.errors import AnswererError
from rocassay.harness.accuracy.questions import Answer, Question

CHUNK = 256
"""Questions per call: vLLM fills its batches, and a sequential test may stop the run in between."""


class VllmModel:
    """Answers through `vllm.LLM.generate`."""

    def __init__(
        self,
        model: str,
        *,
        tensor_parallel_size: int = 1,
        block_size: int | None = None,
        kv_cache_dtype: str = "auto",
        max_model_len: int | None = None,
        seed: int = 0,
    ) -> None:
        """Load the model; the arguments are those of `vllm.LLM`, None leaves vLLM's own default.

        Raises AnswererError when vLLM is not installed or refuses the model.
        """
        self._vllm = _import_vllm()
        self.name = model
        self.arguments = engine_arguments(
            model,
            tensor_parallel_size=tensor_parallel_size,
            block_size=block_size,
            kv_cache_dtype=kv_cache_dtype,
            max_model_len=max_model_len,
            seed=seed,
        )
        try:
            self._llm: Any = self._vllm.LLM(**self.arguments)
        except Exception as error:  # vLLM raises whatever its platform, its weights or its kernels do
            raise AnswererError(f"vLLM cannot load {model}: {type(error).__name__}: {error}") from error

    @property
    def chunk(self) -> int:
        """Questions at once."""
        return CHUNK

    def describe(self) -> dict[str, str]:
        """Version and engine arguments."""
        return {"vllm": str(self._vllm.__version__), **{name: str(value) for name, value in self.arguments.items()}}

    def answer(
        self, questions: Sequence[Question], *, until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        """Yield the answers of one batch, in order, once all of it is done; raises AnswererError when vLLM fails."""
        sampling = self._vllm.SamplingParams(temperature=0.0, max_tokens=max_tokens, stop=list(until))
        began = time.monotonic()
        try:
            outputs: Any = self._llm.generate([question.prompt for question in questions], sampling)
        except Exception as error:  # a failed engine answers nothing any more
            raise AnswererError(
                f"vLLM failed ({type(error).__name__}: {error}); every answer so far is kept, continue with "
                "`rocassay gsm8k --resume`"
            ) from error
        seconds = (time.monotonic() - began) / max(1, len(questions))
        for question, output in zip(questions, outputs, strict=True):
            yield question, _read(output, seconds)

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, special tokens included."""
        return len(self._llm.get_tokenizer().encode(text))


def engine_arguments(model: str, **settings: Any) -> dict[str, Any]:
    """Arguments of `vllm.LLM`: what is None is left to vLLM."""
    return {"model": model, **{name: value for name, value in settings.items() if value is not None}}


def _read(output: Any, seconds: float) -> Answer:
    """One RequestOutput, with the mean time of its batch."""
    found = output.outputs[0]
    counts: dict[str, Any] = {"tokens": len(found.token_ids), "prompt_tokens": len(output.prompt_token_ids)}
    if found.finish_reason in ("stop", "length"):
        return Answer(found.text, found.finish_reason, seconds=seconds, **counts)
    return Answer(found.text, "error", f"vLLM ended it with {found.finish_reason!r}", seconds=seconds, **counts)


def _import_vllm() -> Any:
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise AnswererError(
            f"vLLM cannot be imported ({error}); install the extra `vllm`, or serve the model and name it by --url"
        ) from error
