"""A model behind an OpenAI-compatible `/v1/completions` endpoint (vLLM, SGLang): bounded, patient, never silent.

A question that cannot be answered is an answer with `finish_reason` "error" and the reason in words; a server that
answers nothing any more ends the run with one error, and everything answered before is kept.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rocassay.harness.accuracy.asking import answers_of
from rocassay.harness.accuracy.completions import (
    SUCCESS,
    Failure,
    Patience,
    clipped,
    read_completion,
    read_failure,
    request_body,
)
from rocassay.harness.accuracy.errors import AnswererError
from rocassay.harness.accuracy.questions import Answer, Question

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
"""Most seconds until a connection stands; a server under load still accepts at once."""

ABSENT = (404, 405, 501)
"""HTTP statuses of an endpoint that a server does not have."""


class ServedModel:
    """Asks a server, at most `concurrency` requests at a time."""

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        concurrency: int = 64,
        timeout: float = 600.0,
        patience: Patience | None = None,
        give_up_after: int = 0,
        api_key: str = "",
        seed: int = 0,
    ) -> None:
        """url: of the server, with or without `/v1`. model: found by `/v1/models` when empty.

        timeout: seconds of one whole request. give_up_after: requests that fail in a row, over all questions,
        before the server counts as dead; 0 for every retry of as many questions as are asked at a time, at least
        16. seed: of the jitter.
        Raises AnswererError for values that make no sense.
        """
        self.url = _root(url)
        if concurrency < 1 or timeout <= 0:
            raise AnswererError(f"concurrency {concurrency} and timeout {timeout:g} s must be positive")
        self.concurrency = concurrency
        self.timeout = timeout
        self.patience = patience or Patience()
        self.give_up_after = give_up_after or max(16, concurrency * self.patience.retries)
        self._model = model
        self._api_key = api_key
        self._seed = seed
        self._tokenizes = True

    @property
    def chunk(self) -> int:
        """All at once: the concurrency is bounded here."""
        return 0

    @property
    def name(self) -> str:
        """The model; asked of the server, once, where it was not given. Raises AnswererError when it cannot say."""
        self._model = self._model or self._discover()
        return self._model

    def describe(self) -> dict[str, str]:
        """Address and limits; never the key."""
        return {
            "url": self.url,
            "model": self.name,
            "concurrency": str(self.concurrency),
            "timeout": f"{self.timeout:g}",
            "retries": str(self.patience.retries),
        }

    def _discover(self) -> str:
        found = self._ask("GET", "/v1/models")
        try:
            names = [str(entry["id"]) for entry in found["data"]]
        except (LookupError, TypeError) as error:
            raise AnswererError(f"{self.url}/v1/models names no model: {clipped(str(found))}; give --model") from error
        if len(names) != 1:
            raise AnswererError(f"{self.url} serves {len(names)} models ({', '.join(names)}); choose one by --model")
        return names[0]

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of one plain request; AnswererError for every other outcome."""
        import httpx

        try:
            with httpx.Client(**self._client_settings()) as client:
                response = client.request(method, self.url + path, json=body)
                response.raise_for_status()
                return response.json()
        except (httpx.HTTPError, ValueError) as error:
            words = clipped(self._safe(f"{type(error).__name__}: {error}"))
            raise AnswererError(f"{self.url}{path} does not answer ({words}); is the server up?") from error

    def count_tokens(self, text: str) -> int | None:
        """Tokens of a prompt by the `/tokenize` endpoint of vLLM and SGLang; None where the server has none."""
        if not self._tokenizes:
            return None
        try:
            found = self._ask("POST", "/tokenize", {"model": self.name, "prompt": text})
            return int(found["count"])
        except AnswererError as error:
            self._tokenizes = getattr(getattr(error.__cause__, "response", None), "status_code", 0) not in ABSENT
            return None
        except (LookupError, TypeError, ValueError):
            return None

    def _client_settings(self) -> dict[str, Any]:
        """Arguments of an httpx client: no proxy, netrc or key is taken from the environment."""
        import httpx

        return {
            "headers": {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {},
            "timeout": httpx.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout)),
            "limits": httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            "trust_env": False,
        }

    def _safe(self, words: str) -> str:
        """Words without the key, should a server repeat it."""
        return words.replace(self._api_key, "***") if self._api_key else words

    def answer(
        self, questions: Sequence[Question], *, until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        """Yield answers as they come; closing the generator cancels what is outstanding.

        Raises AnswererError when `give_up_after` requests in a row failed.
        """
        name, rng, failures = self.name, random.Random(self._seed), _Failures(self)  # noqa: S311 (waiting times)

        async def one(client: httpx.AsyncClient, question: Question) -> Answer:
            body = request_body(name, question.prompt, until, max_tokens)
            return await self._until_answered(client, body, rng, failures)

        yield from answers_of(questions, self.concurrency, self._client, one)

    async def _until_answered(
        self, client: httpx.AsyncClient, body: dict[str, Any], rng: random.Random, failures: _Failures
    ) -> Answer:
        """Ask until there is an answer or no patience is left; AnswererError when the server counts as dead."""
        began = time.monotonic()
        for attempts in itertools.count(1):
            found = await self._attempt(client, body)
            failures.count(found)
            if isinstance(found, Answer):
                return replace(found, attempts=attempts, seconds=time.monotonic() - began)
            delay = self.patience.delay(attempts, found, rng)
            if delay is None:
                words = f"{found.error} (after {attempts} requests)" if attempts > 1 else found.error
                return Answer("", "error", words, attempts=attempts, seconds=time.monotonic() - began)
            await asyncio.sleep(delay)
        raise AssertionError("unreachable: counting has no end")

    async def _attempt(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Answer | Failure:
        """Make one request and read what comes; only cancellation escapes."""
        import httpx

        try:
            sent = client.post(f"{self.url}/v1/completions", json=body)
            response = await asyncio.wait_for(sent, self.timeout)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            return Failure(f"no answer within {self.timeout:g} s", retry=True)
        except httpx.HTTPError as error:
            return Failure(clipped(self._safe(f"{type(error).__name__}: {error}")).rstrip(": "), retry=True)
        if response.status_code == SUCCESS:
            return read_completion(response.text)
        return read_failure(response.status_code, response.headers, self._safe(response.text))

    def _client(self) -> httpx.AsyncClient:
        """A client of this server; the caller closes it."""
        import httpx

        return httpx.AsyncClient(**self._client_settings())


class _Failures:
    """Counts requests that failed in a row, over all questions of one run."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._in_a_row = 0

    def count(self, found: Answer | Failure) -> None:
        """Take note of one request. Raises AnswererError once so many failed that the server counts as dead."""
        if isinstance(found, Answer) or found.alive:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row >= self._model.give_up_after:
            raise AnswererError(
                f"{self._model.url} failed {self._in_a_row} requests in a row, the last with: {found.error}; every "
                "answer so far is kept, restart the server and continue with `rocassay gsm8k --resume`"
            )


def _root(url: str) -> str:
    """The server's address without `/v1`; AnswererError for anything but plain http(s) without a password in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AnswererError(f"{url!r} is no address of a server; write it like http://localhost:8000")
    if parts.username or parts.password:
        raise AnswererError("the server's address holds a user or password; give the key by --api-key-file")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def api_key_from(path: Path) -> str:
    """The key that a file holds, alone on its first line. Raises AnswererError when there is none."""
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise AnswererError(f"cannot read the key in {path}: {error}; the file holds it alone on one line") from error
    if len(lines) != 1:
        raise AnswererError(f"{path} holds {len(lines)} words instead of one key")
    return lines[0]
