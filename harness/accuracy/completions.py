"""What a `/v1/completions` endpoint (OpenAI-compatible) says, read strictly, and when to ask it again."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from rocassay.harness.accuracy.questions import Answer

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed; every other 5xx is treated alike."""
SUCCESS = 200
"""The only HTTP status that carries an answer."""
TOO_MANY = 429
"""The server lives and asks for patience."""
WORDS = 300
"""Most characters of a server's words that a record keeps."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that brought no answer."""

    error: str
    """In words: HTTP status and the server's words, or the exception."""
    retry: bool
    """Whether asking again may help."""
    alive: bool = False
    """Whether the server showed that it lives: it asked for patience."""
    wait: float | None = None
    """Seconds that the server asks to wait."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When to ask again, and when not to."""

    retries: int = 5
    """Requests after the first one."""
    base: float = 0.5
    """Seconds before the first retry; doubled with each further one."""
    longest: float = 30.0
    """Most seconds between two requests, unless the server asks for more."""
    longest_asked: float = 600.0
    """Most seconds that a server may ask for; beyond, the question is given up."""

    def delay(self, attempt: int, failure: Failure, rng: random.Random) -> float | None:
        """Seconds before the next request after `attempt` of them; None to give up.

        Exponential with jitter (half to all of the step, so that clients do not return in step), and never less
        than the server's Retry-After.
        """
        if not failure.retry or attempt > self.retries or (failure.wait or 0.0) > self.longest_asked:
            return None
        step = min(self.longest, self.base * 2 ** (attempt - 1))
        return max(step * (0.5 + rng.random() / 2), failure.wait or 0.0)


def request_body(model: str, prompt: str, until: Sequence[str], max_tokens: int) -> dict[str, Any]:
    """Body of a greedy completion request."""
    return {
        "model": model,
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": max_tokens,
        "stop": list(until),
        "stream": False,
    }


def read_failure(status: int, headers: Mapping[str, str], body: str) -> Failure:
    """What a response other than 200 means: 429 and 5xx may be asked again, everything else fails at once."""
    error = f"HTTP {status}: {clipped(_words(body))}"
    if status == TOO_MANY:
        return Failure(error, retry=True, alive=True, wait=_seconds(headers.get("retry-after")))
    retry = status in RETRIED or status >= 500
    return Failure(error, retry=retry, wait=_seconds(headers.get("retry-after")) if retry else None)


def read_completion(body: str) -> Answer | Failure:
    """The answer that the body of a 200 holds, or in words why it holds none."""
    try:
        found: Any = json.loads(body)
        choice: Any = found["choices"][0]
        text, reason = choice["text"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        kind = f"{type(error).__name__}: {error}"
        return Failure(f"malformed answer ({clipped(kind)}): {clipped(body)!r}", retry=False)
    if not isinstance(text, str):
        return Failure(f"malformed answer (text is {type(text).__name__}): {clipped(body)!r}", retry=False)
    usage = found.get("usage")
    tokens, prompt_tokens = _count(usage, "completion_tokens"), _count(usage, "prompt_tokens")
    if reason == "stop" or reason == "length":
        return Answer(text, reason, tokens=tokens, prompt_tokens=prompt_tokens)
    return Answer(text, "error", f"the server ended it with {reason!r}", tokens=tokens, prompt_tokens=prompt_tokens)


def _count(usage: Any, name: str) -> int | None:
    value: object = as_object(usage).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _words(body: str) -> str:
    """The message of an error object, in the forms that vLLM, SGLang and OpenAI use, else the body itself."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return body
    inner = as_object(found).get("error", found)
    return str(as_object(inner).get("message", inner))


def as_object(value: Any) -> dict[str, Any]:
    """A JSON object as it is, and an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def clipped(words: str) -> str:
    """One line of at most 300 characters."""
    line = " ".join(words.split())
    return line if len(line) <= WORDS else line[: WORDS - 3] + "..."


def _seconds(header: str | None) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110, 10.2.3); None where there is none or it cannot be read."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
