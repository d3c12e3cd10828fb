"""Training: tokens/s of our step against the same model in plain PyTorch, and how near it comes to matrix products.

The models: 6 layers, 6 heads, width 384, T 256, batch 16, 65 characters (10.6M parameters), AdamW, gradient clipping.
GPT-2 against transformers' own under bf16 autocast and in fp32, Llama against one written by hand. Ours goes through
the training loop's own step in the precision that `auto` chooses: 3x the fp32 peer is wanted where that is bf16, and
only as much as the peer where it is fp32 too. Of the rate of large matrix products, measured between the steps, 55 %.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import AUTOCAST, PeerTraining, Sizes
from benchmarks.ratio import Ratio, alternate
from nextword.core.device import product_rate
from nextword.data.labelled import Labelled
from nextword.models.count import count
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.objectives.next_token import NextToken
from nextword.train.loop import update
from nextword.train.optimizers.adamw import AdamW
from nextword.train.precision import Weights, choose
from nextword.train.roles import roles
from nextword.train.run import Run
from nextword.train.settings import TrainSettings

SMALL = Sizes()
ROUNDS = 3  # measurements of each side, of a step each
EMULATED = 10  # bf16 products so many times slower than fp32 ones are emulated: a whole step would take minutes
TRIAL = 32  # tokens of a step of such a peer
CPU = torch.device("cpu")


class OurTraining:
    """Steps of our model of the same sizes, in the precision that `auto` chooses here."""

    def __init__(self, family: str, sizes: Sizes, ids: Tensor) -> None:
        shape = {"width": sizes.width, "depth": sizes.layers, "heads": sizes.heads}
        ffn = {"ffn_width": sizes.ffn} if family == "llama" else {}
        model = create(ModelSettings(family=family, **shape, **ffn, max_length=sizes.time), sizes.vocabulary, 0)
        settings = TrainSettings(batch=len(ids), length=sizes.time)
        weights = Weights(model.train(), choose("auto", CPU).precision)
        optimizer = AdamW(weights.masters, settings, roles(model, weights.masters))
        self.run = Run(model, weights, optimizer, NextToken(), None, settings)
        self.rows = Labelled(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        self.precision = "bf16" if weights.low else "fp32"
        self.flops = count(model, sizes.time).flops_training * self.rows.tokens
        self.name = f"training, {sum(tensor.numel() for tensor in model.parameters()) / 1e6:.1f}M {family}"

    def step(self) -> None:
        """Gradient, clip, update."""
        update(self.run, self.rows, 1e-3)


def measure() -> list[Ratio]:
    """GPT-2 against both peers and against matrix products; Llama in fp32."""
    ids = drawn(SMALL)
    ours = OurTraining("gpt2", SMALL, ids)
    low = ours.precision == "bf16"
    rows = [against(ours, "gpt2", SMALL, ids, True, 1.2), against(ours, "gpt2", SMALL, ids, False, 3.0 if low else 1.0)]
    rows.append(share(ours))
    return [*rows, against(OurTraining("llama", SMALL, ids), "llama", SMALL, ids, False, 1.0)]


def drawn(sizes: Sizes) -> Tensor:
    """Ids (B, T + 1), drawn evenly: speed does not depend on what they say."""
    return torch.tensor(np.random.default_rng(0).integers(0, sizes.vocabulary, (sizes.batch, sizes.time + 1)))


def against(ours: OurTraining, family: str, sizes: Sizes, ids: Tensor, autocast: bool, wanted: float) -> Ratio:
    """Our tokens/s and a peer's, alternating; one whose products are emulated makes short steps instead."""
    tokens = ours.rows.tokens
    if autocast and product_rate("bf16", CPU) < product_rate("fp32", CPU) / EMULATED:
        peer_step = PeerTraining(family, sizes, ids[:1, : TRIAL + 1], autocast).step
        mine, theirs = timed(ours.step), timed(peer_step) / TRIAL * tokens
        note = f"peer: one step of {TRIAL} tokens, its products are emulated"
    else:
        mine, theirs = alternate(ours.step, PeerTraining(family, sizes, ids, autocast).step, ROUNDS)
        note = f"{ROUNDS} rounds"
    peer = f"{'transformers' if family == 'gpt2' else 'plain PyTorch'}, {AUTOCAST[autocast]}"
    figures = {"unit": "tokens/s", "peer_name": peer, "wanted": wanted, "note": f"ours {ours.precision}; {note}"}
    return Ratio(ours.name, tokens / mine, tokens / theirs, **figures)


def share(ours: OurTraining) -> Ratio:
    """A step's FLOP/s beside those of square products in the same precision, alternating."""
    rates: list[float] = []
    seconds, _ = alternate(ours.step, lambda: rates.append(product_rate(ours.precision, CPU)), ROUNDS)
    rate = float(np.median(rates))
    figures = (ours.flops / seconds / 1e9, rate / 1e9, "GFLOP/s", f"{ours.precision} matrix products")
    return Ratio(ours.name, *figures, 0.55, note="the share that training makes use of")


def timed(work: Callable[[], object]) -> float:
    """Seconds of a second call of `work`."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
