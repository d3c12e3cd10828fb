"""Settings of `nextword inspect`."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range


@dataclass(frozen=True)
class InspectSettings:
    """What a model weighs and what a token costs, from its description alone: no weights are read.

    Parameters by part, N without embeddings, FLOPs a token, bytes of the weights and of the state that one token adds.
    """

    RECIPE: ClassVar[str] = "nextword.recipes.inspect:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword inspect mine/model\n  nextword inspect config.json --length 4096\n"
        "  nextword inspect HuggingFaceTB/SmolLM2-135M --json\n"
        "  nextword inspect mine/model --memory --batch 8 --length 1024 --optimizer muon"
    )

    model: str
    "A model folder, a .gguf file, a config.json, or a Hugging Face id (hub extra; only its config.json is fetched)."
    _: KW_ONLY
    length: int | None = None
    "Length in tokens of the texts whose cost is counted; the model's longest if left out."
    memory: bool = False
    "Also foretell what using and training it takes in memory, for `batch` texts of `length` tokens."
    batch: int | None = None
    "With --memory: texts at once (1)."
    micro_batch: int | None = None
    "With --memory: texts of a batch that are computed at once in training (all)."
    optimizer: str | None = None
    "With --memory: the optimizer of training, as train.optimizer (adamw)."
    recompute: bool = False
    "With --memory: activations are computed again in place of being kept, as train.recompute."
    json: bool = False
    "Print JSON instead of tables."

    def __post_init__(self) -> None:
        for name, value in (("length", self.length), ("batch", self.batch), ("micro_batch", self.micro_batch)):
            if value is not None:
                in_range(name, value, 1)
        idle = [name for name in ("batch", "micro_batch", "optimizer", "recompute") if getattr(self, name)]
        if idle and not self.memory:
            raise SettingsError(f"--{idle[0].replace('_', '-')} is about memory: add --memory")
