"""POST /v1/chat/completions: the next message of a conversation, in the words of the model's own template."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from nextword.core.errors import DataError
from nextword.engine.request import Request as Asked
from nextword.engine.request import Step
from nextword.serve.asking import check_model, choices, copies, fitting, sampling
from nextword.serve.bodies import ChatBody, MessageBody
from nextword.serve.errors import Refusal, data_refusal
from nextword.serve.events import EventStream, while_there
from nextword.serve.service import Service
from nextword.serve.telling import REASONS, Usage, chat_logprobs, head
from nextword.tokenizers.chat_prompt import prompt_ids

PLACE = 4
Object = dict[str, Any]


class Talk:
    """One answer to POST /v1/chat/completions, on its way."""

    def __init__(self, service: Service, body: ChatBody) -> None:
        served = service.served
        check_model(served, body.model)
        if served.chat is None:
            raise Refusal(
                400,
                f"{served.name} has no conversation template (chat_template.jinja), so it was not trained to converse: "
                "use /v1/completions, or put the template there that it was trained with",
            )
        self.check(body)
        limit = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
        settings = sampling(body, service.limits, limit)
        count = choices(body, 1, service.limits)
        try:
            ids = prompt_ids(served.chat, [spoken(message) for message in body.messages], body.tools)
        except DataError as error:
            raise data_refusal(error, "messages") from None
        end = served.tokenizer.eos_id
        prompt = fitting(service, Asked(tuple(ids), settings, frozenset({end} - {None}), served.tokenizer))
        self.service, self.body, self.usage = service, body, Usage([prompt])
        self.requests = copies(prompt, count)
        self.id = head("chatcmpl", "", served.name)

    def check(self, body: ChatBody) -> None:
        """Refusal for what this server does not do."""
        if body.top_logprobs:
            raise Refusal(400, "top_logprobs is not supported by this server", param="top_logprobs")
        for name in ("tools", "tool_choice", "response_format"):
            if getattr(body, name) not in (None, [], "none", {"type": "text"}):
                raise Refusal(400, f"{name} is not supported by this server", param=name)

    def logprobs(self, steps: list[Step]) -> Object | None:
        """The log-probabilities, where they were asked for."""
        return chat_logprobs(self.service.served.tokenizer, steps) if self.body.logprobs else None

    async def whole(self) -> Object:
        """The finished answer."""
        rows: list[list[Step]] = [[] for _ in self.requests]
        answer = self.service.ask(self.requests)
        try:
            async for step in answer:
                rows[step.row].append(step)
        finally:
            answer.close()
        self.usage.new = sum(map(len, rows))
        told = [
            {
                "index": row,
                "message": {"role": "assistant", "content": "".join(step.text for step in steps), "refusal": None},
                "logprobs": self.logprobs(steps),
                "finish_reason": REASONS[steps[-1].stop or "length"],
            }
            for row, steps in enumerate(rows)
        ]
        return {**self.id, "object": "chat.completion", "choices": told, "usage": self.usage.told()}

    async def parts(self) -> AsyncGenerator[Object, None]:
        """An object for each step."""
        answer = self.service.ask(self.requests)
        begun: set[int] = set()
        about = {**self.id, "object": "chat.completion.chunk"}
        try:
            async for step in answer:
                self.usage.new += 1
                delta = {"content": step.text} if step.row in begun else {"role": "assistant", "content": step.text}
                begun.add(step.row)
                reason = REASONS[step.stop] if step.stop else None
                choice = {
                    "index": step.row,
                    "delta": delta,
                    "logprobs": self.logprobs([step]),
                    "finish_reason": reason,
                }
                yield {**about, "choices": [choice]}
            if self.body.stream_options and self.body.stream_options.include_usage:
                yield {**about, "choices": [], "usage": self.usage.told()}
        finally:
            answer.close()


def spoken(message: MessageBody) -> Object:
    """A message as templates know it: its text, and of the rest what was given."""
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": text_of(message.content)}


def text_of(content: str | list[Object] | None) -> str:
    """The text of a content, which may come in parts; Refusal for a part that is not text."""
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise Refusal(
                400, f"a message has a part of type {part.get('type')!r}: this model reads text only", param="messages"
            )
    return "".join(part["text"] for part in content)


def router(service: Service) -> APIRouter:
    """POST /v1/chat/completions."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        talk = await asyncio.to_thread(Talk, service, body)
        if body.stream:
            return await EventStream.begin(request, talk.parts(), service.limits.seconds)
        return JSONResponse(await while_there(request, talk.whole))

    return routes
