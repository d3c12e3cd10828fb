"""Whether the server is well: 200 while it takes requests, 503 while it stops."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from nextword.serve.service import Service

PLACE = 1


def router(service: Service) -> APIRouter:
    """GET /health."""
    routes = APIRouter()

    @routes.get("/health")
    async def health() -> JSONResponse:
        state = "stopping" if service.closing else "ok"
        return JSONResponse({"status": state, "open": service.open}, 503 if service.closing else 200)

    return routes
