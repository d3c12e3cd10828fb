"""Settings of `nextword inspect`."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from nextword.core.settings import in_range


@dataclass(frozen=True)
class InspectSettings:
    """What a model weighs and what a token costs, from its description alone: no weights are read.

    Parameters by part, N without embeddings, FLOPs a token, bytes of the weights and of the state that one token adds.
    """

    RECIPE: ClassVar[str] = "nextword.recipes.inspect:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword inspect mine/model\n  nextword inspect config.json --length 4096\n"
        "  nextword inspect HuggingFaceTB/SmolLM2-135M --json"
    )

    model: str
    "A model folder, a .gguf file, a config.json, or a Hugging Face id (hub extra; only its config.json is fetched)."
    _: KW_ONLY
    length: int | None = None
    "Length in tokens of the texts whose cost is counted; the model's longest if left out."
    json: bool = False
    "Print JSON instead of tables."

    def __post_init__(self) -> None:
        if self.length is not None:
            in_range("length", self.length, 1)
