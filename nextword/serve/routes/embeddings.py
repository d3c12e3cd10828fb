"""POST /v1/embeddings: texts as vectors."""

import base64
from typing import Any

from fastapi import APIRouter, Request
from torch import Tensor

from nextword.engine.vectors import embed
from nextword.serve.asking import check_model
from nextword.serve.bodies import EmbeddingBody
from nextword.serve.errors import Refusal
from nextword.serve.events import while_there
from nextword.serve.service import Served, Service

PLACE = 5
TOGETHER = 16  # texts between which others get their turn
MOST_TEXTS = 2048
Object = dict[str, Any]


def texts_of(body: EmbeddingBody) -> list[str]:
    """The texts; Refusal for none, too many, or tokens."""
    texts = [body.input] if isinstance(body.input, str) else list(body.input)
    if not texts or len(texts) > MOST_TEXTS:
        raise Refusal(400, f"input has {len(texts)} texts: give 1 to {MOST_TEXTS}", param="input")
    if not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "input is tokens: give texts, which this server encodes itself", param="input")
    return texts  # type: ignore[return-value]


def vectors(served: Served, texts: list[str]) -> Tensor:
    """The vectors of texts, (N, D), pooled as the model's folder says."""
    return embed(served.model, served.tokenizer, texts, served.sentence, rows=TOGETHER)


def told(vector_D: Tensor, form: str | None) -> list[float] | str:
    """A vector as JSON has it: numbers, or the bytes of fp32 as base64."""
    if form == "base64":
        return base64.b64encode(vector_D.cpu().numpy().astype("<f4").tobytes()).decode()
    numbers: list[float] = vector_D.tolist()
    return numbers


def router(service: Service) -> APIRouter:
    """POST /v1/embeddings."""
    routes = APIRouter()
    served = service.served

    @routes.post("/v1/embeddings")
    async def embeddings(body: EmbeddingBody, request: Request) -> Object:
        check_model(served, body.model)
        if body.dimensions is not None:
            raise Refusal(400, "dimensions is not supported: the model's vectors are whole", param="dimensions")
        texts = texts_of(body)

        async def work() -> list[Object]:
            data: list[Object] = []
            for start in range(0, len(texts), TOGETHER):
                part = texts[start : start + TOGETHER]
                found_ND = await service.compute(lambda part=part: vectors(served, part))  # type: ignore[misc]
                for vector_D in found_ND:
                    numbers = told(vector_D, body.encoding_format)
                    data.append({"object": "embedding", "index": len(data), "embedding": numbers})
            return data

        data = await while_there(request, work)
        tokens = sum(map(len, served.tokenizer.encode_batch(texts)))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": served.name, "data": data, "usage": usage}

    return routes
