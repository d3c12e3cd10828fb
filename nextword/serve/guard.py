"""At the door: who may call, and how much may be sent, before anything else looks at a request.

A server on one's own machine is reached by every web page that one's browser shows. So a page of another origin is
refused unless its origin was named, and while bound to the loopback address the server answers only to the loopback's
names: a page whose own name is made to point here (DNS rebinding) calls it by that name. Keys are compared in a time
that does not depend on how much of them is right.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from nextword.serve.errors import Refusal, content
from nextword.serve.settings import AccessSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_SECONDS = 30.0  # in which a body must have arrived
OPEN = ("/health",)  # asked by machines that watch machines
OPEN_BELOW = ("/page/",)  # the static files of the page, which asks for the key itself


class Guard:
    """An ASGI application around another: it lets through what may pass."""

    def __init__(self, app: App, access: AccessSettings, body_bytes: int, count: Callable[[str, int], None]) -> None:
        self.app, self.access, self.body_bytes, self.count = app, access, body_bytes, count
        self.key = None if access.api_key is None else f"Bearer {access.api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with an error, or hands the request on with its body counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")  # known once the application has found it
                self.count("other" if route is None else route.path, message["status"])
            await send(message)

        await self.answer(scope, receive, counting)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As the call, for a request."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        try:
            self.check_caller(scope, headers)
            size = headers.get(b"content-length", b"0")
            self.check_size(int(size) if size.isdigit() else 0)
            async with asyncio.timeout(BODY_SECONDS):
                first = await self.whole(receive)
        except TimeoutError:
            await refuse(Refusal(408, f"the body did not arrive within {BODY_SECONDS:g} seconds"), send)
        except Refusal as error:
            await refuse(error, send)
        else:
            await self.app(scope, replayed(first, receive), send)

    def check_caller(self, scope: Scope, headers: MutableMapping[bytes, bytes]) -> None:
        """Refusal unless host, origin and key are right."""
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin", b"").decode("latin-1")
        if self.access.hosts and name_of(f"//{host}") not in self.access.hosts:
            raise Refusal(421, f"this server does not answer to the name {host!r}: call it {self.access.hosts[0]}")
        if origin and origin not in self.access.origins and urlsplit(origin).netloc != host:
            raise Refusal(403, f"pages of {origin} may not call this server: start it with --origins {origin}")
        path = scope["path"]
        if self.key is None or path == "/" or path in OPEN or path.startswith(OPEN_BELOW):
            return
        if scope["method"] != "OPTIONS" and not hmac.compare_digest(headers.get(b"authorization", b""), self.key):
            raise Refusal(401, "the API key is missing or wrong: send it as Authorization: Bearer KEY")

    def check_size(self, size: int) -> None:
        """Refusal for a body that is too large."""
        if size > self.body_bytes:
            raise Refusal(413, f"the body has more than {self.body_bytes} bytes, the most that is accepted")

    async def whole(self, receive: Receive) -> Message:
        """The whole body as one message; also of a sender who did not say how long it is, no more than is allowed."""
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self.check_size(size)
            if not message.get("more_body"):
                return {"type": "http.request", "body": b"".join(parts), "more_body": False}


def replayed(first: Message, receive: Receive) -> Receive:
    """`receive` that begins with a message which was taken from it."""
    kept = [first]

    async def again() -> Message:
        return kept.pop() if kept else await receive()

    return again


def name_of(address: str) -> str | None:
    """The host of an address without port; None where it cannot be read."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


async def refuse(error: Refusal, send: Send) -> None:
    """Sends an error as the whole answer."""
    body = json.dumps(content(error)).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": kind})
    await send({"type": "http.response.body", "body": body})
