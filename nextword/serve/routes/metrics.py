"""GET /metrics: the server's numbers, for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from nextword.serve.service import Service

PLACE = 6


def router(service: Service) -> APIRouter:
    """GET /metrics."""
    routes = APIRouter()

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes
