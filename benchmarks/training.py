"""Training a 10.6M Llama on characters: tokens/s of our step against the same model in plain PyTorch.

The model: 6 layers, 6 heads, width 384, T 256, batch 16, 65 characters, AdamW, gradient clipping. The peer is what one
writes by hand: nn.Linear, F.scaled_dot_product_attention, F.cross_entropy, torch.optim.AdamW; once under bf16 autocast,
once in fp32. The peer does no logging, checkpoints or data loading, ours goes through the loop's own step.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ratio import Ratio, alternate
from nextword.data.stream import Windows
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.objectives.next_token import NextToken
from nextword.train.loop import update
from nextword.train.optimizers.adamw import AdamW
from nextword.train.precision import Weights, choose
from nextword.train.roles import roles
from nextword.train.run import Run
from nextword.train.settings import TrainSettings

LAYERS, HEADS, WIDTH, FFN, TIME, BATCH, VOCABULARY = 6, 6, 384, 1024, 256, 16, 65
STEPS, ROUNDS = 1, 3  # steps of one measurement, measurements of each side
PATIENCE_SECONDS = 20.0  # a peer whose step takes longer is measured on fewer rows


class PeerNorm(nn.Module):
    """RMSNorm as Llama's reference code writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """The norm over the last dimension."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE by halves."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class PeerBlock(nn.Module):
    """Attention and gated feed-forward, pre-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = PeerNorm(), PeerNorm()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(WIDTH, FFN, bias=False), nn.Linear(WIDTH, FFN, bias=False)
        self.down = nn.Linear(FFN, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """One layer."""
        h = self.norm1(x)
        q, k, v = (part(h).view(*h.shape[:2], HEADS, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = turned(q, cos, sin).to(v.dtype), turned(k, cos, sin).to(v.dtype)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Peer(nn.Module):
    """A Llama in plain PyTorch, with a tied output as ours."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(PeerBlock() for _ in range(LAYERS))
        self.norm = PeerNorm()
        theta = 10000 ** (-torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
        angles = torch.outer(torch.arange(TIME), theta).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.linear(self.norm(x), self.embedding.weight)


class PeerTraining:
    """The peer's step, with or without bf16 autocast."""

    def __init__(self, ids: Tensor, autocast: bool) -> None:
        torch.manual_seed(0)
        self.model, self.autocast = Peer(), autocast
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.inputs, self.labels = ids[:, :-1], ids[:, 1:]

    def step(self) -> float:
        """Forward, backward, clip, update; the loss."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            logits = self.model(self.inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), self.labels.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


def our_run(batch: int) -> Run:
    """Our run of the same model, in the precision that `auto` chooses here."""
    settings = TrainSettings(batch=batch, length=TIME)
    model = create(ModelSettings(width=WIDTH, depth=LAYERS, heads=HEADS, ffn_width=FFN, tied=True), VOCABULARY, 0)
    weights = Weights(model.train(), choose("auto", torch.device("cpu")).precision)
    optimizer = AdamW(weights.masters, settings, roles(model, weights.masters))
    return Run(model, weights, optimizer, NextToken(), None, settings)


def measure() -> list[Ratio]:
    """Two rows: against bf16 autocast (the aim) and against plain fp32."""
    draw = np.random.default_rng(0)
    ids = torch.tensor(draw.integers(0, VOCABULARY, (BATCH, TIME + 1)))
    windows, run = Windows(ids, (0,) * BATCH), our_run(BATCH)
    parameters = sum(tensor.numel() for tensor in run.model.parameters())
    precision = "bf16" if run.weights.low else "fp32"
    rows = []
    for name, autocast in (("plain PyTorch, bf16 autocast", True), ("plain PyTorch, fp32", False)):
        peer_rows, seconds = fitting(ids, autocast)
        if seconds > PATIENCE_SECONDS:  # so slow that one step of it says enough
            ours = timed(lambda: update(run, windows, 1e-3))
            theirs, note = seconds * BATCH / peer_rows, f"peer: 1 step of {peer_rows} row(s)"
        else:
            peer = PeerTraining(ids, autocast)
            pair = alternate(
                lambda: [update(run, windows, 1e-3) for _ in range(STEPS)],
                lambda peer=peer: [peer.step() for _ in range(STEPS)],
                ROUNDS,
            )
            ours, theirs = pair[0] / STEPS, pair[1] / STEPS
            note = f"{ROUNDS} rounds of {STEPS} steps"
        tokens = BATCH * TIME
        figures = {"unit": "tokens/s", "peer_name": name, "wanted": 1.0, "note": f"ours {precision}; {note}"}
        rows.append(Ratio(f"training, {parameters / 1e6:.1f}M Llama", tokens / ours, tokens / theirs, **figures))
    return rows


def timed(work: Callable[[], object]) -> float:
    """Seconds of a second call of `work`."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def fitting(ids: Tensor, autocast: bool) -> tuple[int, float]:
    """How many rows of the batch the peer can be measured on in reasonable time, and the seconds of a step of these."""
    began = time.perf_counter()
    PeerTraining(ids[:1], autocast).step()
    one = time.perf_counter() - began
    return (1, one) if one * BATCH > PATIENCE_SECONDS else (BATCH, 0.0)
