"""The lab: what the page's panels ask. A panel is a file in `nextword/serve/lab` with `Body` and `look(served, body)`.

What they compute is bounded by each panel. One is computed at a time, beside the engine and not within it, so that who
looks inside slows down those who only want text by one thread at most.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from nextword.core.registry import names, part
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.stack import Stack
from nextword.serve.bodies import Strict
from nextword.serve.errors import Refusal
from nextword.serve.service import Served, Service

PLACE = 10
PANELS = "nextword.serve.lab"
WAITING = 16  # questions that may wait for their turn

Look = Callable[[Served, Strict], dict[str, Any]]


def router(service: Service) -> APIRouter:
    """GET /lab/about, and POST /lab/PANEL for each panel."""
    routes = APIRouter()
    turn = asyncio.Lock()
    waiting = 0

    @routes.get("/lab/about")
    async def about() -> dict[str, Any]:
        return described(service.served)

    def panel(name: str) -> None:
        body_type = cast(type[Strict], part(PANELS, name, "Body"))
        look = cast(Look, part(PANELS, name, "look"))

        @routes.post(f"/lab/{name}", name=f"lab_{name}")
        async def answer(body: body_type) -> JSONResponse:  # type: ignore[valid-type]
            nonlocal waiting
            if waiting >= WAITING:
                raise Refusal(429, "too many look into this model: try again later", headers={"Retry-After": "1"})
            waiting += 1
            try:
                async with turn:
                    return JSONResponse(await asyncio.to_thread(look, service.served, body))
            finally:
                waiting -= 1

    for name in names(PANELS):
        panel(name)
    return routes


def described(served: Served) -> dict[str, Any]:
    """What a page must know of the model before it asks anything."""
    model = served.model
    stack = model.decoder if isinstance(model, EncoderDecoder) else model
    return {
        "name": served.name,
        "family": model.config.get("model_type"),
        "kind": model.kind,
        "chat": served.chat is not None,
        "vocab_size": model.vocab_size,
        "max_length": model.max_length,
        "layers": len(stack.layers) if isinstance(stack, Stack) else 0,
    }
