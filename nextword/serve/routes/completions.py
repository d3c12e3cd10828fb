"""POST /v1/completions: texts that are continued."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from nextword.decode.row import Step
from nextword.serve.asking import alternatives, check_model, choices, copies, fitting, prompts_of, sampling
from nextword.serve.bodies import CompletionBody
from nextword.serve.errors import Refusal
from nextword.serve.events import EventStream, while_there
from nextword.serve.service import Service
from nextword.serve.telling import REASONS, Usage, head, text_logprobs

PLACE = 3
MOST_ALTERNATIVES = 5
Object = dict[str, Any]


class Completion:
    """One answer to POST /v1/completions, on its way."""

    def __init__(self, service: Service, body: CompletionBody) -> None:
        served = service.served
        check_model(served, body.model)
        for name in ("suffix", "best_of"):
            if getattr(body, name) not in {None, 1}:
                raise Refusal(400, f"{name} is not supported by this server", param=name)
        top = alternatives("logprobs", body.logprobs, MOST_ALTERNATIVES)
        prompts = prompts_of(served, body, sampling(body, service.limits, body.max_tokens, top))
        count = choices(body, len(prompts), service.limits)
        prompts = [fitting(service, prompt) for prompt in prompts]
        self.service, self.body, self.usage = service, body, Usage(prompts)
        self.requests = [copy for prompt in prompts for copy in copies(prompt, count)]
        self.head = head("cmpl", "text_completion", served.name)
        self.echoed = [served.tokenizer.decode(request.ids) if body.echo else "" for request in self.requests]

    def choice(self, row: int, text: str, steps: list[Step], offset: int) -> Object:
        """What is told of one answer, or of one step of it."""
        tokenizer = self.service.served.tokenizer
        logprobs = None if self.body.logprobs is None else text_logprobs(tokenizer, steps, offset)
        reason = REASONS[steps[-1].stop] if steps[-1].stop else None
        return {"index": row, "text": text, "logprobs": logprobs, "finish_reason": reason}

    async def whole(self) -> Object:
        """The finished answer."""
        with self.service.ask(self.requests) as answer:
            rows = await answer.rows()
        self.usage.new = sum(map(len, rows))
        told = [
            self.choice(row, echoed + "".join(step.text for step in steps), steps, len(echoed))
            for row, (steps, echoed) in enumerate(zip(rows, self.echoed, strict=True))
        ]
        return {**self.head, "choices": told, "usage": self.usage.told()}

    async def parts(self) -> AsyncGenerator[Object, None]:
        """An object for each step."""
        lengths = [0] * len(self.requests)
        begun: set[int] = set()
        with self.service.ask(self.requests) as answer:
            async for step in answer:
                self.usage.new += 1
                text = step.text if step.row in begun else self.echoed[step.row] + step.text
                begun.add(step.row)
                choice = self.choice(step.row, text, [step], lengths[step.row])
                lengths[step.row] += len(text)
                yield {**self.head, "choices": [choice]}
            if self.body.stream_options and self.body.stream_options.include_usage:
                yield {**self.head, "choices": [], "usage": self.usage.told()}


def router(service: Service) -> APIRouter:
    """POST /v1/completions."""
    routes = APIRouter()

    @routes.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Response:
        completion = await asyncio.to_thread(Completion, service, body)  # long texts take long to encode
        if body.stream:
            return await EventStream.begin(request, completion.parts(), service.limits.seconds)
        return JSONResponse(await while_there(request, completion.whole))

    return routes
