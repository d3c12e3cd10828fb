"""One block of a transformer: attention, then feed-forward, each added to the stream that runs through all blocks.

    pre        x ← x + attention(norm(x));     x ← x + feedforward(norm(x))
    post       x ← norm(x + attention(x));     x ← norm(x + feedforward(x))
    output     x ← x + norm(attention(x));     x ← x + norm(feedforward(x))
    sandwich   x ← x + norm'(attention(norm(x)));     x ← x + norm'(feedforward(norm(x)))
    parallel   x ← x + attention(norm(x)) + feedforward(norm'(x))
    restarted  n = norm(x); x ← n + attention(n);     n = norm(x); x ← n + feedforward(n)
    mixture    as pre, the feed-forward a mixture of experts (`nextword.nn.moe`)
    mixed      x ← a x + b x₀, then as pre           x₀: what entered the first block; a, b learnt, 1 and 0 at first

The first transformers normed behind each part ("post"; Vaswani et al., 2017; BERT). With the norm before each part the
stream itself is never rescaled and gradients reach the first layer unhindered (Xiong et al., "On Layer Normalization in
the Transformer Architecture", 2020; GPT-2, LLaMA, T5). A norm on what each part adds keeps it from growing with depth
while the stream stays untouched: alone (Liu et al., "Swin Transformer V2", 2022; OLMo 2) or beside the norm before the
part (Ding et al., "CogView", 2021; Gemma 2 and 3). In parallel both parts read the same stream, which is faster on
many devices (GPT-NeoX with a norm for each, GPT-J and PaLM with one norm for both). A restarted stream goes on from the
norm itself (an option of Megatron's, which BLOOM may have). The decoder of an encoder-decoder asks the source between
the two. Mixed blocks hand the embedding on to every layer (modded-nanogpt, nanochat, 2025), and their attention may be
given values of the token itself (`nextword.nn.valued`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nextword.nn.attention import Attention, AttentionSettings, CrossAttention
from nextword.nn.cache import LayerCache, View
from nextword.nn.disentangled import DisentangledAttention
from nextword.nn.dropout import dropout
from nextword.nn.feedforward import FeedForwardSettings, make_feedforward
from nextword.nn.mask import Sight
from nextword.nn.moe import Mixture
from nextword.nn.norm import NormSettings, make_norm
from nextword.nn.valued import ValuedAttention

Angles = tuple[Tensor, ...]
Source = tuple[LayerCache, Sight]  # a source's keys and values in a layer, and what may be seen of them


@dataclass(frozen=True)
class BlockSettings:
    """The parts of one block and their arrangement, a key of ARRANGEMENTS.

    cross: the attention to a source, between the other two (pre and post). dropout: on what each part adds. zero: what
    writes into the stream starts at 0, so that a fresh block changes nothing (Zhang et al., "Fixup", 2019).
    """

    norm: NormSettings
    attention: AttentionSettings
    feedforward: FeedForwardSettings
    arrangement: str = "pre"
    cross: AttentionSettings | None = None
    dropout: float = 0.0
    zero: bool = False


class Block(nn.Module):
    """x_BTD -> x_BTD, one layer further; the norm before each part."""

    ATTENTION: ClassVar[type[Attention]] = Attention
    FEEDFORWARD: ClassVar[Callable[[FeedForwardSettings], nn.Module]] = staticmethod(make_feedforward)

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        self.settings = settings
        self.attention_norm = make_norm(settings.norm)
        self.attention = self.ATTENTION(settings.attention)
        if settings.cross is not None:
            self.cross_norm = make_norm(settings.norm)
            self.cross = CrossAttention(settings.cross)
        if settings.arrangement != "parallel-shared":
            self.feedforward_norm = make_norm(settings.norm)
        self.feedforward = self.FEEDFORWARD(settings.feedforward)
        self.drop = dropout(settings.dropout)

    def forward(
        self,
        x_BTD: Tensor,
        angles: Angles,
        sight: Sight,
        view: View | None = None,
        cache: LayerCache | None = None,
        source: Source | None = None,
    ) -> Tensor:
        """`angles`, `sight`, `view` and `cache` are the attention's; `source` the cross-attention's, where there is."""
        x_BTD = x_BTD + self.drop(self.attention(self.attention_norm(x_BTD), angles, sight, view, cache))
        return x_BTD + self.drop(self.feedforward(self.feedforward_norm(x_BTD)))

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """Draws the weights of all parts; the norms start as ones."""
        for name, part in self.named_children():
            if name.endswith("norm"):
                part.initialise()
            elif name != "drop":
                part.initialise(std, 0.0 if self.settings.zero else output_std, generator)


class CrossBlock(Block):
    """The norm before each of the three parts."""

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        x_BTD = x_BTD + self.drop(self.attention(self.attention_norm(x_BTD), angles, sight, view, cache))
        x_BTD = x_BTD + self.drop(self.cross(self.cross_norm(x_BTD), *source))
        return x_BTD + self.drop(self.feedforward(self.feedforward_norm(x_BTD)))


class PostBlock(Block):
    """The norm behind each part."""

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        x_BTD = self.attention_norm(x_BTD + self.drop(self.attention(x_BTD, angles, sight, view, cache)))
        return self.feedforward_norm(x_BTD + self.drop(self.feedforward(x_BTD)))


class NormedBlock(Block):
    """As Block, of a stream that is normed already: the first layer's, behind a norm of the embedding."""

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__(settings)
        del self.attention_norm

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        x_BTD = x_BTD + self.drop(self.attention(x_BTD, angles, sight, view, cache))
        return x_BTD + self.drop(self.feedforward(self.feedforward_norm(x_BTD)))


class OutputBlock(Block):
    """The norm on what each part adds."""

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        x_BTD = x_BTD + self.drop(self.attention_norm(self.attention(x_BTD, angles, sight, view, cache)))
        return x_BTD + self.drop(self.feedforward_norm(self.feedforward(x_BTD)))


class SandwichBlock(Block):
    """A norm before each part, and another on what it adds."""

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__(settings)
        self.attention_output_norm = make_norm(settings.norm)
        self.feedforward_output_norm = make_norm(settings.norm)

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        taken_BTD = self.attention(self.attention_norm(x_BTD), angles, sight, view, cache)
        x_BTD = x_BTD + self.drop(self.attention_output_norm(taken_BTD))
        made_BTD = self.feedforward(self.feedforward_norm(x_BTD))
        return x_BTD + self.drop(self.feedforward_output_norm(made_BTD))


class PostCrossBlock(Block):
    """The norm behind each of the three parts."""

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        x_BTD = self.attention_norm(x_BTD + self.drop(self.attention(x_BTD, angles, sight, view, cache)))
        x_BTD = self.cross_norm(x_BTD + self.drop(self.cross(x_BTD, *source)))
        return self.feedforward_norm(x_BTD + self.drop(self.feedforward(x_BTD)))


class DisentangledBlock(PostBlock):
    """The norm behind each part; content and position are apart in the attention."""

    ATTENTION = DisentangledAttention


class ParallelBlock(Block):
    """Both parts side by side, a norm for each."""

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        taken_BTD = self.attention(self.attention_norm(x_BTD), angles, sight, view, cache)
        return x_BTD + self.drop(taken_BTD) + self.drop(self.feedforward(self.feedforward_norm(x_BTD)))


class ParallelSharedBlock(Block):
    """Both parts side by side behind one norm."""

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        n_BTD = self.attention_norm(x_BTD)
        return x_BTD + self.drop(self.attention(n_BTD, angles, sight, view, cache)) + self.drop(self.feedforward(n_BTD))


class RestartedBlock(Block):
    """The stream goes on from the norm before each part."""

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        n_BTD = self.attention_norm(x_BTD)
        n_BTD = self.feedforward_norm(n_BTD + self.drop(self.attention(n_BTD, angles, sight, view, cache)))
        return n_BTD + self.drop(self.feedforward(n_BTD))


class MixtureBlock(Block):
    """The norm before each part; the feed-forward's experts tell the first of `source`, where there is one."""

    FEEDFORWARD = Mixture

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        x_BTD = x_BTD + self.drop(self.attention(self.attention_norm(x_BTD), angles, sight, view, cache))
        balance = None if source is None else source[0]
        return x_BTD + self.drop(self.feedforward(self.feedforward_norm(x_BTD), balance))


class ValuedBlock(Block):
    """The attention takes values of the token itself, the second of `source`."""

    ATTENTION = ValuedAttention

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        taken_BTD = self.attention(self.attention_norm(x_BTD), angles, sight, view, cache, source[1])
        x_BTD = x_BTD + self.drop(taken_BTD)
        return x_BTD + self.drop(self.feedforward(self.feedforward_norm(x_BTD)))


class MixedBlock(Block):
    """The stream is mixed with what entered the first block, the first of `source`, before all else."""

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__(settings)
        self.mix = nn.Parameter(torch.empty(2))

    def forward(self, x_BTD, angles, sight, view=None, cache=None, source=None):  # noqa: D102 - as Block's
        x_BTD = torch.addcmul(self.mix[0] * x_BTD, self.mix[1], source[0])
        return super().forward(x_BTD, angles, sight, view, cache, source)

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """As Block's; the stream alone at first."""
        super().initialise(std, output_std, generator)
        with torch.no_grad():
            self.mix.copy_(torch.tensor([1.0, 0.0]))


class ValuedMixedBlock(MixedBlock, ValuedBlock):
    """Both: the stream is mixed, and the attention takes values of the token itself."""


# arrangements in which all that is added passes a norm
NORMED = frozenset({"post", "disentangled", "output", "sandwich", "restarted"})
# by arrangement, and whether a source is asked
ARRANGEMENTS: dict[tuple[str, bool], type[Block]] = {
    ("pre", False): Block,
    ("pre-normed", False): NormedBlock,
    ("pre", True): CrossBlock,
    ("post", False): PostBlock,
    ("output", False): OutputBlock,
    ("sandwich", False): SandwichBlock,
    ("post", True): PostCrossBlock,
    ("disentangled", False): DisentangledBlock,
    ("parallel", False): ParallelBlock,
    ("parallel-shared", False): ParallelSharedBlock,
    ("restarted", False): RestartedBlock,
    ("mixture", False): MixtureBlock,
    ("valued", False): ValuedBlock,
    ("mixed", False): MixedBlock,
    ("mixed-valued", False): ValuedMixedBlock,
}


def make_block(settings: BlockSettings) -> Block:
    """The block that the settings describe."""
    return ARRANGEMENTS[settings.arrangement, settings.cross is not None](settings)
