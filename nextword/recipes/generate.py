"""`nextword generate`: continue a prompt, as a stream."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nextword.assembly.folder import Assembled, load
from nextword.core.errors import DataError, SettingsError
from nextword.core.progress import duration
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy import Tools, honours
from nextword.engine.draft import check_asked, check_vocabulary, with_draft
from nextword.engine.generate import NO_TOOLS, generate, steps_for, stream
from nextword.engine.request import Generation, Request, ask
from nextword.recipes.generate_settings import GenerateSettings

SCHEMA = re.compile(r"\s*(\{|(true|false)\s*$)")
GRAMMAR = re.compile(r"::=|^\s*(start\s*:|%llguidance)", re.MULTILINE)
INTERRUPTED = 130  # the exit status of what Ctrl-C ended


def main(settings: GenerateSettings) -> int:
    """Prints the prompt's continuations; 130 when Ctrl-C ended them."""
    prompt = read_stdin() if settings.prompt == "-" else settings.prompt
    sampling = with_files(settings.sampling)
    assembled = load(settings.model, device=settings.device)
    first = ask(assembled.model, assembled.tokenizer, prompt, sampling)
    requests = several(replace(first, strategy=settings.search))
    tools = tools_of(settings, assembled, requests)
    if settings.json:
        results = generate(assembled.model, requests, settings.compiled, tools)
        print(json.dumps({"prompt": prompt, "continuations": [plain(result) for result in results]}, indent=2))
        return 0
    steps = steps_for(assembled.model, requests, settings.compiled)
    for number, request in enumerate(requests, 1):
        if len(requests) > 1:
            print(("\n" if number > 1 else "") + f"--- {number} of {len(requests)}, seed {request.settings.seed}")
        results = []
        try:
            print(prompt if first.source is None else "", end="", flush=True)
            for step in stream(assembled.model, [request], results, steps, tools):
                print(step.text, end="", flush=bool(step.text))
            print(flush=True)
            for place, other in enumerate(results[0].best[1:], 2):
                print(f"\n--- {place} of {len(results[0].best)}, score {other.score:.3f}\n{prompt}{other.text}")
        except KeyboardInterrupt:
            print(flush=True)
            if results and not settings.quiet:
                print(figures(results[0], "interrupted"), file=sys.stderr)
            return INTERRUPTED
        if not settings.quiet:
            print(figures(results[0], results[0].reason), file=sys.stderr)
    return 0


def tools_of(settings: GenerateSettings, assembled: Assembled, requests: Sequence[Request]) -> Tools:
    """The draft, if there is one; SettingsError where the strategy does not ask it or it has another vocabulary."""
    if settings.draft is None:
        return NO_TOOLS
    check_asked(requests)
    draft = load(settings.draft, device=settings.device)
    check_vocabulary(assembled.tokenizer, draft.tokenizer)
    tokens = sum(request.limit(assembled.model.max_length) for request in requests)
    return with_draft(NO_TOOLS, assembled.model, draft.model, tokens, settings.compiled)


def several(request: Request) -> list[Request]:
    """A request for each text: a strategy that gives the n best has one, the others count up from the seed."""
    name = request.strategy.strategy or "sample"
    if "n" in honours(name):
        return [request]
    seed, count = request.seed(), request.strategy.n or 1
    alone = replace(request, strategy=replace(request.strategy, n=None))
    return [replace(alone, settings=replace(request.settings, seed=seed + i)) for i in range(count)]


def with_files(settings: SamplingSettings) -> SamplingSettings:
    """The settings with what is in the files that stand in place of a JSON Schema or a grammar."""
    found = settings
    if settings.json_schema is not None and not SCHEMA.match(settings.json_schema):
        found = replace(found, json_schema=read_file("json_schema", settings.json_schema))
    if settings.grammar is not None and not GRAMMAR.search(settings.grammar):
        found = replace(found, grammar=read_file("grammar", settings.grammar))
    return found


def read_file(name: str, path: str) -> str:
    """The text of a file that a setting names; SettingsError where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise SettingsError(
            f"{name} is neither one itself nor a file that can be read: {path[:100]} ({error})"
        ) from None


def read_stdin() -> str:
    """The prompt from stdin, without the line end that a shell puts behind it; DataError when it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"the prompt on stdin is not UTF-8 ({error.reason} at byte {error.start})") from None


def plain(result: Generation) -> dict[str, Any]:
    """A result as JSON has it."""
    return asdict(result)


def figures(result: Generation, reason: str) -> str:
    """One line: how many tokens, how fast, why it ended, and the seed that gives the same text again."""
    why = {"eos": "the text ended", "stop": "a stop text", "length": "max_tokens reached", "interrupted": "interrupted"}
    if result.complete is not None:
        why |= {"stop": "the text is complete" if result.complete else "a stop text"}
        why |= {"length": "max_tokens reached" + ("" if result.complete else " before the text was complete")}
    speed = f", {result.tokens_per_second:.0f} tokens/s" if result.tokens_per_second else ""
    first = f"first after {duration(result.seconds_to_first)}"
    return f"[{len(result.ids)} tokens{speed}, {first}; {why[reason]}; seed {result.seed}]"
