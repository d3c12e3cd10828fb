"""What a model is trained for, and the sizes of the task."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cyclopts import Parameter

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range

PACKINGS = ("windows", "documents")
SHARED = ("embeddings", "all")


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What a model is trained for; what an objective has no use for is refused."""

    MAIN: ClassVar[str] = "name"  # `--objective masked` stands for `--objective.name masked`

    name: Annotated[str | None, Parameter(alias="--objective")] = None
    (
        "next-token, prefix, infill (decoders); masked, next-sentence (bert); replaced-token (electra); spans, prefix "
        "(t5). The usual one of the model's kind if left out: next-token, masked, replaced-token, spans."
    )
    packing: str | None = None
    (
        "windows: rows are cut out of the stream of text, across documents. documents: whole documents side by side, "
        "which do not see each other (next-token, masked, replaced-token, spans). windows if left out."
    )
    mask_rate: float | None = None
    "Share of the tokens that are hidden (masked, next-sentence, replaced-token, spans: 0.15)."
    whole_words: bool | None = None
    "Hide all tokens of a word together (masked, next-sentence, replaced-token: no)."
    span_mean: float | None = None
    "Mean number of tokens of a span that is taken out (spans: 3)."
    gap_rate: float | None = None
    "Share of the texts whose middle is moved to the end (infill: 0.5)."
    generator_depth: int | None = None
    "Layers of the generator (replaced-token: a quarter of the discriminator's)."
    generator_shares: str | None = None
    "What the generator has in common with the discriminator (replaced-token: embeddings; or all, its layers too)."
    discriminator_weight: float | None = None
    "Weight of the discriminator's loss beside the generator's (replaced-token: 50)."

    def __post_init__(self) -> None:
        for name, low, high in (("mask_rate", 0.001, 0.9), ("span_mean", 1, 100), ("gap_rate", 0, 1),
                                ("generator_depth", 1, 1000), ("discriminator_weight", 0, 1e6)):  # fmt: skip
            value = getattr(self, name)
            if value is not None:
                in_range(f"objective.{name}", value, low, high)
        if self.generator_shares not in {None, *SHARED}:
            raise SettingsError(
                f"objective.generator_shares must be {' or '.join(SHARED)}, received {self.generator_shares!r}"
            )
        if self.generator_shares == "all" and self.generator_depth is not None:
            raise SettingsError(
                "objective.generator_depth has no effect with generator_shares=all: the generator's layers are the "
                "discriminator's; leave it out"
            )
        if self.packing is not None and self.packing not in PACKINGS:
            raise SettingsError(f"objective.packing must be {' or '.join(PACKINGS)}, received {self.packing!r}")

    @property
    def packed(self) -> bool:
        """Whether rows are packed of whole documents."""
        return self.packing == "documents"
