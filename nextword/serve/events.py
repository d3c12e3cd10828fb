"""Answers as they come: server-sent events, "data: {...}" and an empty line each, "data: [DONE]" at the end.

(WHATWG, "HTML", server-sent events.) What is asked must stop when nobody listens any more, so both ways to answer
watch for the end of the connection: it cancels the work, and the generator's `finally` takes it out of the engine.
A reader who does not read holds up nobody but himself, and only until his time is over.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from fastapi.responses import Response
from starlette.requests import ClientDisconnect, Request

from nextword.core.errors import NextwordError
from nextword.serve.errors import content, refusal_of

T = TypeVar("T")
Object = dict[str, Any]
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def line(value: Object | str) -> bytes:
    """One event."""
    text = value if isinstance(value, str) else ENCODER.encode(value)
    return f"data: {text}\n\n".encode("utf-8", "replace")


class EventStream(Response):
    """Sends the objects of a generator as events. The first is waited for: what fails before has a status of its own.

    seconds: after which a reader who does not take what is sent is left.
    """

    media_type = "text/event-stream"

    def __init__(self, objects: AsyncGenerator[Object, None], first: Object, seconds: float) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self.objects, self.first, self.seconds = objects, first, seconds

    @classmethod
    async def begin(cls, request: Request, objects: AsyncGenerator[Object, None], seconds: float) -> "EventStream":
        """Waits for the first object; NextwordError where there will be none."""
        return cls(objects, await while_there(request, lambda: anext(objects)), seconds)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends, and stops when the reader is gone."""

        async def body() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for part in self.lines():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        async with aclosing(self.objects):
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(self.seconds):
                    await until_gone(receive, body())

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The events; an error that comes late is one of them, and the last."""
        yield line(self.first)
        try:
            async for value in self.objects:
                yield line(value)
        except NextwordError as error:
            yield line(content(refusal_of(error)))
            return
        yield line("[DONE]")


async def while_there(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """The result of work, which is cancelled when the reader goes (ClientDisconnect)."""
    found: list[T] = []

    async def keep() -> None:
        found.append(await work())

    await until_gone(request.receive, keep())
    if not found:
        raise ClientDisconnect
    return found[0]


async def until_gone(receive: Callable[[], Awaitable[Any]], work: Any) -> None:
    """Does work to its end, or to that of the connection."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
