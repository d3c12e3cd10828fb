"""The settings of a fresh model: its family and its sizes, in the same words for every kind.

A setting that is left out is the family's default; one that the family has no use for is refused by name (a width for
an n-gram), because a setting that is silently ignored is a mistake that nobody sees.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cyclopts import Parameter

from nextword.core.registry import names
from nextword.core.settings import in_range

FAMILIES = "nextword.models.families"
READ_ALONE = frozenset({"clip", "clip_text_model"})  # families that cannot be made fresh
MADE = tuple(name for name in names(FAMILIES) if name not in READ_ALONE)
KINDS = f"The kind of model (nextword learns fastest; docs/models.md says what they are): {', '.join(MADE)}."
LARGEST_ORDER = 10  # an n-gram of a higher order is its own training text


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A fresh model: the family and its sizes."""

    MAIN: ClassVar[str] = "family"  # `--model lstm` stands for `--model.family lstm`

    family: Annotated[str, Parameter(alias="--model", help=KINDS)] = "llama"
    "The kind of model: one of MADE, all of which the help lists."
    width: int | None = None
    "Width of the residual stream, d_model (256)."
    depth: int | None = None
    "Number of layers, of each stack in a t5 (4; lstm: 2)."
    heads: int | None = None
    "Number of query heads (one for every 64 of width)."
    kv_heads: int | None = None
    "Number of key-value heads, a divisor of heads (llama: as many as heads)."
    head_width: int | None = None
    "Width of one head (llama: width / heads; t5: 64)."
    ffn_width: int | None = None
    "Width in the middle of the feed-forward (llama, t5: 8/3 of width, rounded up to a multiple of 64; gpt2, bert: 4x)."
    experts: int | None = None
    "Experts of each layer in a mixture (mixtral, qwen2_moe, qwen3_moe, olmoe: 8)."
    experts_per_token: int | None = None
    "Experts that each token passes (2); ffn_width is the width of one (together as wide as a llama's)."
    max_length: int | None = None
    "Longest text in tokens that the model can read at once (512; t5: no limit)."
    tied: bool | None = None
    "Whether the output matrix is the embedding (yes)."
    window: int | None = None
    "Tokens that a position sees, itself included, in layers with a sliding window (families that have such layers)."
    rope_base: float | None = None
    "Base of the rotary angles (llama: 10000)."
    norm_eps: float | None = None
    "The epsilon inside the root of the norms (llama, gpt2: 1e-5, t5: 1e-6, bert: 1e-12)."
    dropout: float | None = None
    "Share of the attention weights (llama), of layer outputs (lstm), or of both (others) dropped while training (0)."
    next_sentence: bool | None = None
    "Whether a head judges if a second sentence follows the first (bert: yes)."
    order: int | None = None
    "Length of the longest counted sequence (ngram: 3), or of the longest that has a vector (nextword: 3; 1 for none)."
    buckets: int | None = None
    "Rows of a table of n-grams (nextword: 32768, or all n-grams where they are fewer)."
    without: tuple[str, ...] = ()
    "nextword: parts left out to see their worth: relu2 qk-norm zero-outputs value-embeddings ngrams mixing cap."

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "kv_heads", "head_width", "ffn_width", "max_length", "window", "order",
                     "buckets", "experts", "experts_per_token"):  # fmt: skip
            value = getattr(self, name)
            if value is not None:
                in_range(f"model.{name}", value, 1, LARGEST_ORDER if name == "order" else float("inf"))
        for name, low, high in (("dropout", 0, 0.9), ("norm_eps", 0, 1), ("rope_base", 1, float("inf"))):
            value = getattr(self, name)
            if value is not None:
                in_range(f"model.{name}", value, low, high)
