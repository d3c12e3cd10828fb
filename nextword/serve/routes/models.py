"""Which models there are: the one that is served."""

from typing import Any

from fastapi import APIRouter

from nextword.serve.asking import check_model
from nextword.serve.service import Service

PLACE = 2


def router(service: Service) -> APIRouter:
    """GET /v1/models, GET /v1/models/NAME."""
    routes = APIRouter()
    served = service.served

    def described() -> dict[str, Any]:
        length = served.model.max_length
        return {
            "id": served.name,
            "object": "model",
            "created": served.created,
            "owned_by": "nextword",
            "max_model_len": length,
        }

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [described()]}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        check_model(served, name)
        return described()

    return routes
