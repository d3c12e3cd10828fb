"""What the training benchmarks compare with: models and steps as one writes them with PyTorch and transformers."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AUTOCAST = {True: "bf16 autocast", False: "fp32"}


@dataclass(frozen=True)
class Sizes:
    """Of a model and its batch. ffn: of Llama's gated feed-forward; GPT-2's is four times the width."""

    layers: int = 6
    heads: int = 6
    width: int = 384
    ffn: int = 1024
    time: int = 256
    batch: int = 16
    vocabulary: int = 65


class PeerNorm(nn.Module):
    """RMSNorm as Llama's reference code writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """The norm over the last dimension."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE by halves."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class PeerBlock(nn.Module):
    """Attention and gated feed-forward, pre-norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, self.heads = sizes.width, sizes.heads
        self.norm1, self.norm2 = PeerNorm(width), PeerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, sizes.ffn, bias=False) for _ in range(2))
        self.down = nn.Linear(sizes.ffn, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """One layer."""
        h = self.norm1(x)
        q, k, v = (part(h).view(*h.shape[:2], self.heads, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = turned(q, cos, sin).to(v.dtype), turned(k, cos, sin).to(v.dtype)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    """A Llama in plain PyTorch, with a tied output as ours."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.blocks = nn.ModuleList(PeerBlock(sizes) for _ in range(sizes.layers))
        self.norm = PeerNorm(sizes.width)
        head = sizes.width // sizes.heads
        angles = torch.outer(torch.arange(sizes.time), 10000 ** (-torch.arange(0, head, 2) / head)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.linear(self.norm(x), self.embedding.weight)


class GPT2(nn.Module):
    """transformers' GPT2LMHeadModel without dropout, with the attention that it chooses (SDPA)."""

    def __init__(self, sizes: Sizes) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        super().__init__()
        shape = {"n_layer": sizes.layers, "n_head": sizes.heads, "n_embd": sizes.width, "n_positions": sizes.time}
        none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        ids = {"bos_token_id": 0, "eos_token_id": 0}
        self.inner = GPT2LMHeadModel(GPT2Config(vocab_size=sizes.vocabulary, use_cache=False, **shape, **none, **ids))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        return self.inner(ids).logits


PEERS: dict[str, Any] = {"llama": Llama, "gpt2": GPT2}


class PeerTraining:
    """The step that one writes by hand, with or without bf16 autocast; no logging, checkpoints or data loading."""

    def __init__(self, family: str, sizes: Sizes, ids: Tensor, autocast: bool) -> None:
        torch.manual_seed(0)
        self.model, self.autocast = PEERS[family](sizes).train(), autocast
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
