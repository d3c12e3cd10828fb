"""Settings of `nextword pretrain`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import Parameter

from nextword.models.settings import ModelSettings
from nextword.objectives.settings import ObjectiveSettings
from nextword.train.settings import TrainSettings


@dataclass(frozen=True)
class PretrainSettings:
    """Train a model on a folder of tokens: to predict the next token, or whatever fits its kind.

    Writes checkpoints, log.jsonl and the finished model below --out. The same command goes on where it stopped, after
    Ctrl-C or a kill, and ends exactly where an uninterrupted run ends."""

    RECIPE: ClassVar[str] = "nextword.recipes.pretrain:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword pretrain tokens --out runs/small\n"
        "  nextword pretrain tokens --out runs/wide --model.width=384 --model.depth=6 --train.steps=2000\n"
        "  nextword pretrain tokens --model lstm --out runs/lstm --max-time 10m --seed 1\n"
        "  nextword pretrain tokens --model ngram --model.order=5 --out runs/ngram\n"
        "  nextword pretrain tokens --model bert --objective next-sentence --out runs/bert\n"
        "  nextword pretrain tokens --model t5 --out runs/t5\n"
        "  nextword pretrain tokens --init-from runs/small/model --train.learning_rate=1e-4 --out runs/more"
    )

    tokens: Path
    "A folder of tokens, as `nextword tokenize` makes it."
    _: KW_ONLY
    out: Annotated[Path, Parameter(alias="-o")]
    "Folder of the run; one that holds another run is refused."
    init_from: str | None = None
    "A model folder (or a Hugging Face id) whose weights training begins with; it must have the tokens' tokenizer."
    quiet: bool = False
    "No progress, only the result."
    json: bool = False
    "Print the result as JSON."
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
