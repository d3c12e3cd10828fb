"""Settings of `nextword run`: one section a stage, from a recipe file and from flags above it."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cyclopts import Parameter

from nextword.core.errors import SettingsError
from nextword.core.settings import check_keys, load_toml
from nextword.decode.settings import SamplingSettings
from nextword.evals.settings import EvaluateSection
from nextword.models.settings import ModelSettings
from nextword.objectives.settings import ObjectiveSettings
from nextword.text.settings import SplitSettings, TextSettings
from nextword.tokenizers.settings import TokenizerSettings
from nextword.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What is generated at the end of a run, to look at."""

    prompts: tuple[str, ...] = ("The", "Once upon a time")
    "Prompts that the finished model continues; for an encoder or encoder-decoder texts with gaps that it fills."
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    "How each continuation is drawn."


@dataclass(frozen=True)
class RunSettings:
    """The whole life in one command: text, tokenizer, tokens, pretraining, evaluation, samples, report.

    Stages: tokenizer, tokenize, pretrain, evaluate, sample. A finished stage with unchanged inputs is skipped, a
    changed one reruns with all after it. Ctrl-C saves; the same command goes on."""

    RECIPE: ClassVar[str] = "nextword.recipes.run:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword run recipes/demo.toml\n"
        "  nextword run recipes/demo.toml --text my.txt notes/ --out runs/mine\n"
        "  nextword run recipes/demo.toml --dry-run\n"
        "  nextword run demo --train.steps=2000 --model.width=384 --out runs/wider"
    )

    recipe: Path
    "A recipe file, or the name of a shipped one (`nextword recipes list`); it stands first."
    _: KW_ONLY
    name: Annotated[str, Parameter(show=False)] = ""
    "The recipe's name; the file's name where the recipe gives none."
    out: Annotated[Path | None, Parameter(alias="-o")] = None
    "Folder of the run; runs/NAME if left out."
    dry_run: bool = False
    "Print stages, parameters, and the memory, disk and time to expect; do nothing."
    quiet: bool = False
    "No progress, only the result."
    text: TextSettings = field(default_factory=TextSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSection = field(default_factory=EvaluateSection)
    sample: SampleSettings = field(default_factory=SampleSettings)

    @classmethod
    def base(cls, arguments: Sequence[str]) -> tuple[dict[str, Any], str]:
        """The recipe file's tree, which the flags then change, and its name for errors."""
        if not arguments or arguments[0].startswith("-"):
            raise SettingsError(
                "name a recipe first: nextword run RECIPE.toml [...]; `nextword recipes list` shows some"
            )
        path = recipe_file(arguments[0])
        tree = load_toml(path)
        check_keys(cls, tree, str(path))
        for key in ("recipe", "dry_run", "quiet", "out"):
            if key in tree:
                raise SettingsError(f"{path}: {key!r} belongs on the command line, not into a recipe")
        tree.setdefault("name", path.stem)
        return tree, str(path)


def recipe_file(name: str) -> Path:
    """The file that `name` means: a path, or the name of a shipped recipe."""
    path = Path(name)
    shipped = Path(__file__).parent / "shipped" / f"{name}.toml"
    return shipped if not path.exists() and shipped.is_file() else path
