"""Masked tokens and spans against the next token: FLOP/s of a whole training step, of models of the same sizes.

A token costs more in an encoder-decoder than in a decoder and less where only one in seven is predicted, so tokens/s
alone do not compare. What is compared is tokens/s x FLOPs a token, the FLOPs being those that the task needs: only
labelled positions are scored, a target asks a source whose keys and values are computed once. A step takes its rows
from the source, hides or takes out, computes, and updates, as in `nextword pretrain`. Each objective stands beside the
next token with blocks like its own: GPT-2's (LayerNorm, plain feed-forward) for BERT, Llama's (RMSNorm, gated) for T5.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.ratio import Ratio, alternate
from nextword.data.labelled import Ids, Labelled
from nextword.models.costs import Costs
from nextword.models.create import create
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.settings import ModelSettings
from nextword.objectives.choose import choose
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train
from nextword.train import precision
from nextword.train.loop import update
from nextword.train.optimizers.adamw import AdamW
from nextword.train.roles import roles
from nextword.train.run import Run
from nextword.train.settings import TrainSettings

WIDTH, DEPTH, HEADS, LENGTH, BATCH = 384, 4, 6, 256, 8
ROUNDS = 5
TOKENS = 200_000
PAIRS = (("bert", "masked", "bert", "gpt2"), ("t5", "spans", "t5", "llama"))  # family, objective, purpose, beside


@dataclass
class Drawn:
    """A split whose tokens are drawn evenly: speed does not depend on what they say."""

    vocabulary: int
    documents: Any = field(default_factory=lambda: np.array([[TOKENS, TOKENS, TOKENS, 0]]))
    sources: tuple[str, ...] = ("drawn",)

    def __post_init__(self) -> None:
        self.ids = np.random.default_rng(0).integers(0, self.vocabulary, TOKENS)

    def __len__(self) -> int:
        return TOKENS

    def read(self, start: int, stop: int) -> Ids:
        """The ids from `start` to `stop`."""
        return self.ids[start:stop]


class Training:
    """Steps of a family on an objective, and what they need in FLOPs."""

    def __init__(self, family: str, objective: str, purpose: str) -> None:
        tokenizer = train(TokenizerSettings(kind="byte", purpose=purpose), iter(["text"]))
        sizes = ModelSettings(family=family, width=WIDTH, depth=DEPTH, heads=HEADS)
        ids = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
        self.model = create(sizes, tokenizer.vocab_size, 0, **ids)
        settings = TrainSettings(batch=BATCH, length=LENGTH)
        device = torch.device("cpu")
        weights = precision.Weights(self.model.train(), precision.choose("auto", device).precision)
        optimizer = AdamW(weights.masters, settings, roles(self.model, weights.masters))
        wanted = choose(ObjectiveSettings(name=objective), self.model, tokenizer)
        self.run = Run(self.model, weights, optimizer, wanted, Drawn(256), settings)
        self.feed = self.run.feed()
        self.needed = flops(self.model, self.feed.take(BATCH))

    def step(self) -> None:
        """Rows, gradient, update."""
        update(self.run, self.feed.take(BATCH), 1e-4)


def flops(model: Any, rows: Labelled) -> float:
    """FLOPs of a training step on such rows: three times the forward's."""
    size, length = rows.ids_BT.shape
    output = model.output_VD.numel()
    if isinstance(model, EncoderDecoder):
        source = rows.source.ids_BT.shape[1]
        crosses = [block.cross for block in model.decoder.blocks]
        read = sum(cross.key.weight.numel() + cross.value.weight.numel() for cross in crosses)
        written = forward(model.decoder.costs(), length, source) - 2 * read
        whole = size * (source * (forward(model.encoder.costs(), source, source) + 2 * read) + length * written)
    else:
        whole = size * length * (forward(model.costs(), length, length) - 2 * output)
    return 3 * (whole + 2 * output * rows.labels)


def forward(costs: Costs, length: int, others: int) -> float:
    """Of a token in a text of `length` that sees those before it, and all of `others`."""
    return 2 * costs.matrices + costs.flops_per_key * (length + 1) / 2 + costs.flops_per_key_of_all * others


def measure() -> list[Ratio]:
    """One row for each objective, in GFLOP/s."""
    rows = []
    for family, objective, purpose, beside in PAIRS:
        ours, peer = Training(family, objective, purpose), Training(beside, "next-token", "gpt")
        seconds = alternate(ours.step, peer.step, ROUNDS)
        rates = ours.needed / seconds[0] / 1e9, peer.needed / seconds[1] / 1e9
        note = f"width {WIDTH}, {DEPTH} layers, {BATCH} rows of {LENGTH}, {'bf16' if ours.run.weights.low else 'fp32'}"
        rows.append(Ratio(f"{objective} ({family})", *rates, "GFLOP/s", f"next-token ({beside})", 0.9, note=note))
    return rows
