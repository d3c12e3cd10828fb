"""Speculation against plain steps of the same model: prompt lookup on text that is copied, and on text that is not.

Llamas of 125M and 15M parameters in bf16 with random weights, as in `decoding`, by their compiled steps. What such a
model would say shows nothing of real text, so the text is given (`Script`): a "model" whose scores are those of the
real one, computed in full, but for the token of a script, which is made the likeliest. The time is that of the model;
how often a guess is right is that of the script. Copied: the script is the prompt over again, as in an edited file.
Prose: Python's own help, in which runs of words come again as they do in prose.

The last row is a draft: of an eighth of the width and a third of the layers, made right four times in five.
"""

import pydoc_data.topics
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.ratio import Ratio, alternate
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine.generate import generate
from nextword.engine.reader import Reader
from nextword.engine.request import Request
from nextword.engine.step import Stepper, stepper
from nextword.models.base import State
from nextword.models.create import create
from nextword.models.settings import ModelSettings

SIZES = ModelSettings(width=768, depth=12, heads=12, ffn_width=2560, max_length=1024, tied=False)  # 126M parameters
SMALL = ModelSettings(width=288, depth=6, heads=6, ffn_width=768, max_length=1024, tied=True)  # 15M parameters
DRAFT = ModelSettings(width=96, depth=4, heads=4, ffn_width=320, max_length=1024, tied=False)
VOCABULARY = 32_000
PROMPT_TOKENS, TOKENS, ROUNDS = 256, 192, 3
SURE = 30.0  # a score that no other token reaches; e^-30 is still a normal float32, with others sums are slow


class Script:
    """Steps of a model whose next tokens are given: those of a text, of which `wrong` are others, by place."""

    def __init__(self, steps: Stepper, text: Sequence[int], wrong: Sequence[int] = ()) -> None:
        self.steps, self.draw, self.text = steps, steps.draw, list(text)
        for place in wrong:
            self.text[place] = (self.text[place] + 1) % VOCABULARY

    @torch.inference_mode()
    def scripted(self, logits_NV: Tensor, places: Sequence[int]) -> Tensor:
        """The scores with the text's own token the likeliest behind each place."""
        following = [self.text[place] if place < len(self.text) else 0 for place in places]
        logits_NV[range(len(following)), following] = SURE
        return logits_NV

    def prefill(self, rows: Sequence[Sequence[int]], length: int, sources: object = None) -> tuple[Tensor, State]:
        """As Stepper."""
        logits_BV, state = self.steps.prefill(rows, length)
        return self.scripted(logits_BV, [len(row) for row in rows]), state

    def step(self, ids: Sequence[int], state: State) -> tuple[Tensor, State]:
        """As Stepper."""
        logits_BV, after = self.steps.step(ids, state)
        return self.scripted(logits_BV, after.lengths_B.tolist()), after

    def extend(self, rows: Sequence[Sequence[int]], state: State) -> tuple[Tensor, State]:
        """As Stepper."""
        logits_NV, after = self.steps.extend(rows, state)
        begins = state.lengths_B.tolist()
        places = [begin + n + 1 for row, begin in zip(rows, begins, strict=True) for n in range(len(row))]
        return self.scripted(logits_NV, places), after


def copied() -> list[int]:
    """A prompt of random tokens, and the same again with every fortieth token changed."""
    draw = random.Random(0)
    prompt = [draw.randrange(VOCABULARY) for _ in range(PROMPT_TOKENS)]
    return prompt + [draw.randrange(VOCABULARY) if place % 40 == 39 else prompt[place] for place in range(TOKENS)]


def prose() -> list[int]:
    """Words of Python's own help, as ids."""
    words = " ".join(pydoc_data.topics.topics[name] for name in ("import", "class", "yield")).split()
    numbers: dict[str, int] = {}
    ids = [numbers.setdefault(word, len(numbers)) for word in words]
    return ids[: PROMPT_TOKENS + TOKENS]


def measure() -> list[Ratio]:
    """Tokens a second with and without guesses."""
    steps, small = compiled(SIZES), compiled(DRAFT)
    again, other = copied(), prose()
    wrong = random.Random(1).sample(range(PROMPT_TOKENS, len(other)), TOKENS // 5)
    lookup, drafted = StrategySettings(strategy="lookup"), StrategySettings(strategy="speculative")
    draft = Script(small, other, wrong)
    return [
        compare("prompt lookup, copied text, 125M", Script(steps, again), lookup, None, 2.0),
        compare("prompt lookup, prose, 125M", Script(steps, other), lookup, None, 0.97),
        compare("prompt lookup, copied text, 15M", Script(compiled(SMALL), again), lookup, None, 1.0),
        compare("prompt lookup, prose, 15M", Script(compiled(SMALL), other), lookup, None, 0.97),
        compare("draft, right four times in five, 125M", Script(steps, other), drafted, draft, 1.0),
    ]


def compiled(sizes: ModelSettings) -> Stepper:
    """The compiled steps of a model with random weights."""
    return stepper(create(sizes, VOCABULARY, seed=0).to(torch.bfloat16), TOKENS, "always")


def compare(name: str, steps: Script, strategy: StrategySettings, draft: Script | None, wanted: float) -> Ratio:
    """One row of the table."""
    text = steps.text
    model = steps.steps.model  # type: ignore[attr-defined]
    settings = SamplingSettings(max_tokens=TOKENS, temperature=0)
    trace: list[object] = []

    def run(strategy: StrategySettings) -> None:
        request = Request(tuple(text[:PROMPT_TOKENS]), settings, strategy=strategy)
        tools = Tools(draft=None if draft is None else Reader(draft), cost=0.05, trace=trace)
        [found] = generate(model, [request], steps, tools)
        assert found.ids == list(text[PROMPT_TOKENS : PROMPT_TOKENS + TOKENS])

    ours, plain = alternate(lambda: run(strategy), lambda: run(StrategySettings()), ROUNDS)
    guessed = [entry for entry in trace if entry.tokens]  # type: ignore[attr-defined]
    accepted = sum(entry.accepted for entry in guessed)  # type: ignore[attr-defined]
    made = sum(len(entry.tokens) for entry in guessed)  # type: ignore[attr-defined]
    note = f"{TOKENS} tokens, {accepted / max(1, made):.0%} of guesses accepted"
    return Ratio(name, TOKENS / ours, TOKENS / plain, "tokens/s", "plain steps", wanted, note=note)
