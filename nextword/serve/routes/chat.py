"""POST /v1/chat/completions: the next message of a conversation, in the words of the model's own template."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from nextword.core.errors import DataError
from nextword.decode.row import Step
from nextword.engine.request import Request as Asked
from nextword.serve.asking import alternatives, check_model, choices, copies, fitting, sampling, schema_asked
from nextword.serve.bodies import ChatBody, MessageBody
from nextword.serve.errors import Refusal, data_refusal
from nextword.serve.events import EventStream, while_there
from nextword.serve.service import Service
from nextword.serve.telling import REASONS, Usage, chat_logprobs, head
from nextword.serve.tools import BEGIN, END, Call, Calls, as_template_knows, demanded, schema_of_call
from nextword.serve.tools import check as check_tools
from nextword.tokenizers.chat_prompt import prompt_ids

PLACE = 4
MOST_ALTERNATIVES = 20
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
        self.tools = body.tools if body.tools and body.tool_choice != "none" else None
        if self.tools:
            check_tools(served.chat, self.tools)
        self.demanded = demanded(self.tools or [], body.tool_choice)
        schema = schema_asked(body.response_format)
        if self.demanded:
            if schema is not None:
                raise Refusal(400, "an answer is a call or has a response_format, not both", param="response_format")
            schema = schema_of_call(self.demanded)
        limit = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
        top = alternatives("top_logprobs", body.top_logprobs, MOST_ALTERNATIVES)
        settings = sampling(body, service.limits, limit, top, schema)
        count = choices(body, 1, service.limits)
        try:
            ids = prompt_ids(served.chat, [spoken(message) for message in body.messages], self.tools)
        except DataError as error:
            raise data_refusal(error, "messages") from None
        ids += served.tokenizer.encode(BEGIN + "\n") if self.demanded else []  # the model has begun to call
        ends = [] if served.tokenizer.eos_id is None else [served.tokenizer.eos_id]
        prompt = fitting(service, Asked(tuple(ids), settings, frozenset(ends), served.tokenizer))
        self.service, self.body, self.usage = service, body, Usage([prompt])
        self.requests = copies(prompt, count)
        self.head = head("chatcmpl", "", served.name)

    def check(self, body: ChatBody) -> None:
        """Refusal for what this server does not do."""
        if body.top_logprobs and not body.logprobs:
            raise Refusal(400, "top_logprobs has no effect without logprobs: true", param="top_logprobs")

    def logprobs(self, steps: list[Step]) -> Object | None:
        """The log-probabilities, where they were asked for."""
        return chat_logprobs(self.service.served.tokenizer, steps) if self.body.logprobs else None

    def pieces(self, calls: Calls, step: Step) -> list[str | Call]:
        """What a step lets be said: text, and calls of functions where there are any."""
        if not self.tools:
            return [step.text]
        text = step.text
        if self.demanded:
            text = (BEGIN if calls.fresh else "") + text + (END if step.stop == "eos" else "")
        return [*calls.push(text), *(calls.flush() if step.stop else ())]

    def message(self, steps: list[Step]) -> tuple[Object, str]:
        """A finished answer, and why it ended."""
        calls = Calls()
        said = [piece for step in steps for piece in self.pieces(calls, step)]
        message: Object = {"role": "assistant", "content": "".join(p for p in said if isinstance(p, str))}
        found = [piece.told() for piece in said if not isinstance(piece, str)]
        if found:
            message |= {"content": message["content"].strip() or None, "tool_calls": found}
        return {**message, "refusal": None}, reason(steps[-1], calls)

    async def whole(self) -> Object:
        """The finished answers."""
        with self.service.ask(self.requests) as answer:
            rows = await answer.rows()
        self.usage.new = sum(map(len, rows))
        choices = []
        for row, steps in enumerate(rows):
            message, why = self.message(steps)
            choices.append({"index": row, "message": message, "logprobs": self.logprobs(steps), "finish_reason": why})
        return {**self.head, "object": "chat.completion", "choices": choices, "usage": self.usage.told()}

    async def parts(self) -> AsyncGenerator[Object, None]:
        """An object for each step."""
        calls = [Calls() for _ in self.requests]
        begun: set[int] = set()
        about = {**self.head, "object": "chat.completion.chunk"}
        with self.service.ask(self.requests) as answer:
            async for step in answer:
                self.usage.new += 1
                deltas = [delta(piece) for piece in self.pieces(calls[step.row], step)]
                deltas = deltas or ([{}] if step.stop or self.body.logprobs else [])
                for place, part in enumerate(deltas):
                    last = place == len(deltas) - 1
                    choice = {
                        "index": step.row,
                        "delta": part if step.row in begun else {"role": "assistant", **part},
                        "logprobs": None if place else self.logprobs([step]),
                        "finish_reason": reason(step, calls[step.row]) if step.stop and last else None,
                    }
                    begun.add(step.row)
                    yield {**about, "choices": [choice]}
            if self.body.stream_options and self.body.stream_options.include_usage:
                yield {**about, "choices": [], "usage": self.usage.told()}


def reason(step: Step, calls: Calls) -> str:
    """Why an answer ended."""
    why = REASONS[step.stop or "length"]
    return "tool_calls" if calls.count and why == "stop" else why


def delta(piece: str | Call) -> Object:
    """A piece of a streamed answer."""
    return {"content": piece} if isinstance(piece, str) else {"tool_calls": [{"index": piece.index, **piece.told()}]}


def spoken(message: MessageBody) -> Object:
    """A message as templates know it."""
    role = "system" if message.role == "developer" else message.role
    found: Object = {"role": role, "content": text_of(message.content)}
    if message.tool_calls:
        found["tool_calls"] = as_template_knows(message.tool_calls)
    given = {"name": message.name, "tool_call_id": message.tool_call_id}
    return found | {name: value for name, value in given.items() if value is not None}


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
