"""Many questions at a time, answered by coroutines in a thread of their own, read one by one where they are wanted."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from rocassay.harness.accuracy.questions import Answer, Question

Client = TypeVar("Client")


def answers_of(
    questions: Sequence[Question],
    concurrency: int,
    client: Callable[[], AbstractAsyncContextManager[Client]],
    ask: Callable[[Client, Question], Awaitable[Answer]],
) -> Iterator[tuple[Question, Answer]]:
    """Yield each question with its answer as they come, at most `concurrency` being asked at a time.

    `client` opens, within the event loop, what all of them share. The first error of `ask` cancels the others and is
    raised here after the answers that came before it; so does closing this generator, silently.
    """
    crew = _Crew(questions, concurrency, client, ask)
    crew.start()
    try:
        while (item := crew.items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        crew.stop()


class _Crew(Generic[Client]):
    """An event loop in a thread, whose workers take the questions in turn."""

    def __init__(
        self,
        questions: Sequence[Question],
        concurrency: int,
        client: Callable[[], AbstractAsyncContextManager[Client]],
        ask: Callable[[Client, Question], Awaitable[Answer]],
    ) -> None:
        self.items: queue.SimpleQueue[tuple[Question, Answer] | BaseException | None] = queue.SimpleQueue()
        self._left = iter(questions)
        self._workers = min(concurrency, len(questions))
        self._client = client
        self._ask = ask
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="rocassay-questions", daemon=True)

    def start(self) -> None:
        """Begin asking."""
        self._main = self._loop.create_task(self._work())
        self._thread.start()

    def stop(self) -> None:
        """Cancel what is outstanding and wait until it is gone."""
        with contextlib.suppress(RuntimeError):  # the loop has closed by itself: nothing is outstanding
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def _live(self) -> None:
        last: BaseException | None = None
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # it is raised again where the answers are read
            last = error
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self.items.put(last)

    async def _work(self) -> None:
        async with self._client() as client:
            tasks = [asyncio.ensure_future(self._worker(client)) for _ in range(self._workers)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _worker(self, client: Client) -> None:
        for question in self._left:
            self.items.put((question, await self._ask(client, question)))
