"""The server as an application: routes over a service, behind a guard.

Routes are found by file name in `nextword/serve/routes`: a file with `PLACE` (where it stands in the order; what
catches all paths comes last) and `router(service) -> APIRouter`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from nextword.core.registry import names, part
from nextword.serve.errors import add_handlers
from nextword.serve.guard import Guard
from nextword.serve.service import Service
from nextword.serve.settings import AccessSettings

ROUTES = "nextword.serve.routes"


def create_app(service: Service, access: AccessSettings = AccessSettings()) -> FastAPI:  # noqa: B008 - frozen
    """The application; it starts and stops the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(title="nextword", docs_url=None, redoc_url=None, lifespan=lifespan)
    add_handlers(app)
    for name in sorted(names(ROUTES), key=lambda name: cast(int, part(ROUTES, name, "PLACE"))):
        app.include_router(cast(Callable[[Service], APIRouter], part(ROUTES, name, "router"))(service))
    if access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=access.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )

    def count(path: str, status: int) -> None:
        service.metrics.requests.labels(path, status).inc()

    app.add_middleware(Guard, access=access, body_bytes=service.limits.body_bytes, count=count)
    return app
