"""The engine in a thread of its own, and the way in and out for the handlers of requests.

Handlers live in an event loop and must never compute; the engine computes all the time and must never wait for a slow
reader. Between them stand a list of what came in, which the thread empties between two steps, and a queue for each
request, which the event loop fills from what a step gave. A reader who leaves takes the request with it: it is
cancelled, and what it held in the engine is free with the next step.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

from nextword.assembly.sentence import Sentence
from nextword.core.errors import NextwordError
from nextword.decode.row import Step
from nextword.engine.request import Request
from nextword.models.family import Storable
from nextword.serve.errors import Refusal
from nextword.serve.metrics import Metrics
from nextword.serve.settings import LimitSettings
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.conversations import Chat

T = TypeVar("T")
Event = tuple[int, Step | NextwordError]  # the number of a request, and what became of it
SHARE_OF_LAST = 0.125  # of the last request in the running mean of how long one takes
RETRY_SECONDS = 1  # after which to try again where nothing is known of how long requests take


class Engine(Protocol):
    """What continues many requests at once, step by step."""

    def add(self, request: Request) -> int:
        """Takes a request; its number."""
        ...

    def cancel(self, number: int) -> None:
        """Forgets a request, wherever it is."""
        ...

    def step(self) -> list[Event]:
        """One step of all that run; nothing when there is nothing to do."""
        ...

    def figures(self) -> Mapping[str, float]:
        """What it does, as `metrics.ENGINE` names it."""
        ...


@dataclass
class Served:
    """A model that is served. created: in seconds since 1970.

    chat: its conversation template. sentence: what its folder says of vectors for texts. Either may be missing.
    """

    name: str
    model: Storable
    tokenizer: Tokenizer
    chat: Chat | None = None
    sentence: Sentence | None = None
    created: int = field(default_factory=lambda: int(time.time()))


class Answer:
    """The steps of requests that were asked together, as they come; `row` of each says of which.

    An error of one ends them all. A context: at its end what still runs is taken out of the engine.
    """

    def __init__(self, service: "Service", requests: Sequence[Request]) -> None:
        self.service, self.requests = service, requests
        self.asked = service.loop.time()
        self.latest: dict[int, float] = {}  # when each row got its last token
        self.came: asyncio.Queue[tuple[int, Step | NextwordError]] = asyncio.Queue()
        self.going = set(range(len(requests)))

    async def __aiter__(self) -> AsyncIterator[Step]:
        """The steps; Refusal 504 when the time is over."""
        while self.going:
            row, found = await self.came.get()
            if isinstance(found, NextwordError):
                raise found
            if found.stop is not None:
                self.going.discard(row)
            yield found

    async def rows(self) -> list[list[Step]]:
        """All steps, request by request."""
        found: list[list[Step]] = [[] for _ in self.requests]
        async for step in self:
            found[step.row].append(step)
        return found

    def __enter__(self) -> Self:
        limit = self.service.limits.seconds
        late = Refusal(504, f"the request has taken {limit:g} seconds, the most it may", code="timeout")
        self.clock = self.service.loop.call_at(self.asked + limit, self.came.put_nowait, (0, late))
        return self

    def __exit__(self, *error: object) -> None:
        self.clock.cancel()
        self.service.leave(self)


class Service:
    """Takes requests, and brings their steps to whoever asked. `start` it within the event loop that will ask."""

    def __init__(self, served: Served, engine: Engine, limits: LimitSettings) -> None:
        self.served, self.engine, self.limits = served, engine, limits
        self.metrics = Metrics(engine.figures)
        self.closing = False
        self.open = 0  # requests that wait or run
        self.seconds_each = 0.0  # a running mean of how long one takes
        self.work = threading.Condition()
        self.inbox: deque[Callable[[], None]] = deque()  # to be done by the engine's thread, between two steps
        self.places: dict[int, tuple[Answer, int]] = {}  # whose requests the engine's numbers are; of its thread alone
        self.ended = False

    def start(self) -> None:
        """Begins to work."""
        self.loop = asyncio.get_running_loop()
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)
        self.thread.start()

    async def stop(self) -> None:
        """Refuses what comes, lets what runs finish within the grace, and ends the thread."""
        self.closing = True
        end = self.loop.time() + self.limits.grace
        while self.open and self.loop.time() < end:
            await asyncio.sleep(0.02)
        with self.work:
            self.ended = True
            self.work.notify()
        await asyncio.to_thread(self.thread.join)

    def ask(self, requests: Sequence[Request]) -> Answer:
        """Puts requests into the engine; their steps come through the answer.

        Refusal as `admit`.
        """
        self.admit(len(requests))
        answer = Answer(self, requests)
        self.do(lambda: self.enter(answer))
        return answer

    def admit(self, count: int) -> None:
        """Counts requests that come; Refusal 503 while stopping, 429 when too many wait."""
        if self.closing:
            raise Refusal(503, "the server is stopping", headers={"Retry-After": str(RETRY_SECONDS)})
        if self.open + count > self.limits.queue:
            wait = max(RETRY_SECONDS, round(self.seconds_each))
            raise Refusal(
                429,
                f"{self.open} requests are waiting or running, the most is {self.limits.queue}: try again later",
                code="queue_full",
                headers={"Retry-After": str(wait)},
            )
        self.open += count

    async def compute(self, work: Callable[[], T]) -> T:
        """The result of something that the engine's thread does between two steps; Refusal as `admit`.

        It holds up all texts: keep it short.
        """
        self.admit(1)
        result: asyncio.Future[T] = self.loop.create_future()

        def settle(how: Callable[[Any], None], what: Any) -> None:
            if not result.done():
                how(what)

        def run() -> None:
            if result.cancelled():
                return
            try:
                found: Any = work()
            except Exception as error:
                self.loop.call_soon_threadsafe(settle, result.set_exception, error)
            else:
                self.loop.call_soon_threadsafe(settle, result.set_result, found)

        self.do(run)
        try:
            return await result
        finally:
            self.open -= 1

    def leave(self, answer: Answer) -> None:
        """Takes an answer's requests out of the count, and out of the engine where they still run."""
        self.seconds_each += (self.loop.time() - answer.asked - self.seconds_each) * SHARE_OF_LAST
        self.open -= len(answer.requests)
        if answer.going:
            self.do(lambda: self.take_out(answer))

    def do(self, what: Callable[[], None]) -> None:
        """Has something done by the engine's thread."""
        with self.work:
            self.inbox.append(what)
            self.work.notify()

    def enter(self, answer: Answer) -> None:
        """In the engine's thread: adds an answer's requests."""
        for row, request in enumerate(answer.requests):
            try:
                self.places[self.engine.add(request)] = answer, row
            except Exception as error:  # one that is not the user's to mend is this request's alone, too
                known = error if isinstance(error, NextwordError) else failure(error)
                self.loop.call_soon_threadsafe(answer.came.put_nowait, (row, known))

    def take_out(self, answer: Answer) -> None:
        """In the engine's thread: cancels what still runs of an answer."""
        for number in [number for number, (whose, _) in self.places.items() if whose is answer]:
            del self.places[number]
            self.engine.cancel(number)

    def run(self) -> None:
        """The engine's thread: what came in, then a step, until told to end."""
        while True:
            with self.work:
                while not (self.inbox or self.places or self.ended):
                    self.work.wait()
                if self.ended:
                    return
                todo = list(self.inbox)
                self.inbox.clear()
            for one in todo:
                one()
            if events := self.advance():
                self.loop.call_soon_threadsafe(self.deliver, events)

    def advance(self) -> list[tuple[Answer, int, Step | NextwordError]]:
        """A step of the engine; whose the events are."""
        try:
            events = self.engine.step()
        except Exception as error:  # a fault of ours: who runs is told so, the engine goes on with who comes
            events = [(number, failure(error)) for number in self.places]
            for number in self.places:
                self.engine.cancel(number)
        found = []
        for number, what in events:
            answer, row = self.places[number]
            found.append((answer, row, what if isinstance(what, NextwordError) else replace(what, row=row)))
            if isinstance(what, NextwordError) or what.stop is not None:
                del self.places[number]
        return found

    def deliver(self, events: list[tuple[Answer, int, Step | NextwordError]]) -> None:
        """In the event loop: hands each event to who waits for it."""
        now = self.loop.time()
        for answer, row, what in events:
            answer.came.put_nowait((row, what))
            if isinstance(what, NextwordError):
                continue
            self.metrics.tokens.inc()
            if row in answer.latest:
                self.metrics.next.observe(now - answer.latest[row])
            else:
                self.metrics.first.observe(now - answer.asked)
            answer.latest[row] = now


def failure(error: Exception) -> Refusal:
    """A fault of the server, as clients are told."""
    return Refusal(500, f"the server failed: {type(error).__name__}: {error}")
