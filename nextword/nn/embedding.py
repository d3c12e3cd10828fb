"""What a token becomes before the first layer: its own vector, and what else is known of its place.

    x_t = W drop(norm(scale · E[w_t] + p_t + s_{type of t}))        each part but E only where a model has it

E[w]: Bengio et al., "A Neural Probabilistic Language Model" (2003); positions p: `nextword.nn.position.absolute`; token
types s (which of two sentences) and the norm: Devlin et al., "BERT" (2019). Where tokens' vectors are narrower than the
stream a matrix W widens them: a large vocabulary then costs less (Lan et al., "ALBERT", 2020).
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nextword.nn.dropout import dropout, unchanged
from nextword.nn.init import normal, zeros
from nextword.nn.norm import NormSettings, make_norm
from nextword.nn.position.absolute import LearnedPositions, ShiftedPositions, SinusoidalPositions


@dataclass(frozen=True)
class EmbeddingSettings:
    """What is added to the tokens' vectors. positions: "learned" (max_length rows), "sinusoidal",
    "sinusoidal halves" (all sines, then all cosines) or None.

    scale_rounded: the scale is rounded to the weights' type before it is used, as Gemma was trained. skipped: rows of
    learned positions before that of the first token, which no token uses (RoBERTa). narrow: the width of the tokens'
    vectors and all that is added, None where it is the stream's; tokens: that of the tokens' vectors alone, which a
    matrix without bias widens before anything is added (OPT).
    """

    positions: str | None = None
    max_length: int = 0
    types: int = 0
    norm: NormSettings | None = None
    scale: float = 1.0
    dropout: float = 0.0
    scale_rounded: bool = False
    skipped: int = 0
    narrow: int | None = None
    tokens: int | None = None


class Embedding(nn.Embedding):
    """A vector for each token, and no more."""

    typed = False  # whether token types mean something
    multiplied = 0  # numbers of a matrix that every token's vector is multiplied with

    def __init__(self, vocab_size: int, width: int) -> None:
        # PyTorch's own drawing, on the meta device, would import its compiler: two seconds at every start
        super().__init__(vocab_size, width, _weight=torch.empty(vocab_size, width))

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device that vectors have."""
        return self.weight

    def read(self, ids_BT: Tensor, positions_BT: Tensor, longest: int, types_BT: Tensor | None) -> Tensor:
        """x_BTD. positions_BT (B or 1, T) with `longest` one more than their largest; types_BT None is all 0."""
        return self(ids_BT)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²)."""
        normal(self.weight, std, generator)


class _Around:
    """What is put around the tokens' vectors of one width: the scale, what is added, the norm, the dropout."""

    def surround(self, width: int, settings: EmbeddingSettings) -> None:
        """Makes these parts, before any other."""
        self.grow = partial(torch.mul, settings.scale) if settings.scale != 1.0 else unchanged
        if settings.scale_rounded:
            self.grow = partial(_scaled, scale=settings.scale)
        if settings.positions == "learned":
            count, skipped = settings.max_length, settings.skipped
            self.positions = ShiftedPositions(count, width, skipped) if skipped else LearnedPositions(count, width)
        elif settings.positions is not None:
            self.positions = SinusoidalPositions(width, settings.positions == "sinusoidal halves")
        if settings.types:
            self.types = Types(settings.types, width)
        self.added = list(self.children())
        self.typed = bool(settings.types)
        self.norm = make_norm(settings.norm) if settings.norm else unchanged
        self.drop = dropout(settings.dropout)

    def around(self, x_BTD: Tensor, positions_BT: Tensor, longest: int, types_BT: Tensor | None) -> Tensor:
        """Scaled vectors with all else."""
        for part in self.added:
            x_BTD = x_BTD + part(positions_BT, longest, types_BT).to(x_BTD.dtype)
        return self.drop(self.norm(x_BTD))

    def draw_around(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²) for every table; the norm starts as ones."""
        for part in self.added:
            part.initialise(std, generator)
        if isinstance(self.norm, nn.Module):
            self.norm.initialise()


class FullEmbedding(_Around, Embedding):
    """Tokens with positions, types and a norm, whatever of these there is."""

    def __init__(self, vocab_size: int, width: int, settings: EmbeddingSettings) -> None:
        stream, width = width, settings.narrow or width
        tokens = settings.tokens or width
        super().__init__(vocab_size, tokens)
        self.surround(width, settings)
        self.lift = unchanged if settings.tokens is None else nn.Linear(tokens, width, bias=False)
        self.widen = unchanged if settings.narrow is None else nn.Linear(width, stream)
        self.multiplied = sum(x.weight.numel() for x in (self.lift, self.widen) if isinstance(x, nn.Linear))

    def read(self, ids_BT: Tensor, positions_BT: Tensor, longest: int, types_BT: Tensor | None) -> Tensor:
        """As Embedding's."""
        return self.widen(self.around(self.lift(self.grow(self(ids_BT))), positions_BT, longest, types_BT))

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²) for every table; the norm starts as ones."""
        super().initialise(std, generator)
        self.draw_around(std, generator)
        if isinstance(self.lift, nn.Linear):
            normal(self.lift.weight, std, generator)
        if isinstance(self.widen, nn.Linear):
            normal(self.widen.weight, std, generator)
            zeros(self.widen.bias)


class Entry(_Around, nn.Module):
    """What one half of a model puts around vectors of tokens that both halves share."""

    def __init__(self, width: int, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.surround(width, settings)

    def forward(self, x_BTD: Tensor, positions_BT: Tensor, longest: int) -> Tensor:
        """x_BTD out of the tokens' own vectors."""
        return self.around(self.grow(x_BTD), positions_BT, longest, None)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²) for every table; the norm starts as ones."""
        self.draw_around(std, generator)


class Types(nn.Module):
    """A vector for each type of token."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))

    def forward(self, positions_BT: Tensor, longest: int, types_BT: Tensor | None) -> Tensor:
        """s_BTD; that of type 0 for all where none are given."""
        return self.weight[0] if types_BT is None else nn.functional.embedding(types_BT, self.weight)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²)."""
        normal(self.weight, std, generator)


def _scaled(x_BTD: Tensor, scale: float) -> Tensor:
    return x_BTD * torch.full((), scale, dtype=x_BTD.dtype, device=x_BTD.device)


def make_embedding(vocab_size: int, width: int, settings: EmbeddingSettings | None) -> Embedding:
    """The embedding that the settings describe; without any, the tokens' vectors alone."""
    return Embedding(vocab_size, width) if settings is None else FullEmbedding(vocab_size, width, settings)
