"""What a finished model makes of a few prompts: it continues them, fills gaps, or tells what is out of place."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from nextword.assembly.folder import Assembled
from nextword.decode.settings import DEFAULT_TOKENS, SamplingSettings
from nextword.engine.fill import fill, framed
from nextword.engine.generate import generate
from nextword.engine.request import Request
from nextword.models.base import Batch
from nextword.models.transformer import Transformer
from nextword.objectives.choose import heads

CANDIDATES = 3  # that are shown for a mask


def draw(assembled: Assembled, prompts: Sequence[str], settings: SamplingSettings) -> list[dict[str, Any]]:
    """For every prompt what comes of it: `prompt`, `text`, and why it ended."""
    model, tokenizer = assembled.model, assembled.tokenizer
    if model.kind == "decoder":
        requests = [fitting(assembled, prompt, settings) for prompt in prompts]
        return [
            {"prompt": prompt, "text": generation.text, "ended": generation.reason}
            for prompt, generation in zip(prompts, generate(model, requests), strict=True)
        ]
    if "replaced_token" in heads(model):
        return [{"prompt": prompt, "text": judged(assembled, prompt), "ended": "judged"} for prompt in prompts]
    found = []
    for prompt in prompts:
        filled = fill(model, tokenizer, prompt, CANDIDATES, settings.max_tokens or DEFAULT_TOKENS)
        gaps = [", ".join(f"{one.text} ({one.probability:.0%})" for one in gap) for gap in filled.gaps]
        found.append({"prompt": prompt, "text": " → " + "; ".join(gaps), "ended": "filled"})
    return found


def fitting(assembled: Assembled, prompt: str, settings: SamplingSettings) -> Request:
    """The request to continue a prompt, no longer than the model's context leaves room for."""
    free = Request.of(assembled.tokenizer, prompt, replace(settings, max_tokens=None))
    room = free.limit(assembled.model.max_length)
    return replace(free, settings=replace(settings, max_tokens=min(settings.max_tokens or room, room)))


@torch.inference_mode()
def judged(assembled: Assembled, text: str) -> str:
    """How likely each token is to be out of place, for those with more than an even chance."""
    model, tokenizer = cast(Transformer, assembled.model), assembled.tokenizer
    ids = framed(tokenizer, tokenizer.encode(text))
    batch = Batch(torch.tensor([ids]))
    odds_T = model.heads["replaced_token"](model.hidden(batch).hidden_BTD, batch)[0]
    chances = zip(ids, odds_T.sigmoid().tolist(), strict=True)
    wrong = [f"{tokenizer.decode([number]).strip()} ({p:.0%})" for number, p in chances if p > 1 / 2]
    return " → out of place: " + (", ".join(wrong) or "nothing")
