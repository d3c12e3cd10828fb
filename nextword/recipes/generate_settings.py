"""Settings of `nextword generate`."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter

from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy_settings import StrategySettings


@dataclass(frozen=True)
class GenerateSettings:
    """Continue a prompt; the text appears as it is made.

    The text goes to stdout, figures to stderr. Ctrl-C ends the text where it is."""

    RECIPE: ClassVar[str] = "nextword.recipes.generate:main"
    EXAMPLES: ClassVar[str] = (
        '  nextword generate runs/demo/model "Once upon a time"\n'
        '  nextword generate runs/demo/model "The" --temperature 0 --max-tokens 50\n'
        '  nextword generate model "The" --top-k 40 --top-p 0.95 --seed 7 --n 3\n'
        '  nextword generate model "The" --strategy beam --beams 4 --n 4\n'
        '  nextword generate model "The" --strategy speculative --draft small\n'
        '  nextword generate model "Ada is" --repetition-penalty 1.2 --min-p 0.05\n'
        "  nextword generate model 'When? ' --regex '[0-9]{4}'\n"
        "  nextword generate model 'As JSON: ' --json-schema person.json --max-tokens 200\n"
        "  cat letter.txt | nextword generate model - --stop Sincerely"
    )

    model: str
    "A model folder, or a Hugging Face id (needs the hub extra)."
    prompt: Annotated[str, Parameter(allow_leading_hyphen=True)] = ""
    "The text to continue; - reads it from stdin, nothing begins a new text."
    _: KW_ONLY
    sampling: Annotated[SamplingSettings, Parameter(name=("--sampling", "*"))] = field(default_factory=SamplingSettings)
    search: Annotated[StrategySettings, Parameter(name=("--search", "*"))] = field(default_factory=StrategySettings)
    draft: str | None = None
    "speculative: folder of the small model that drafts; it must have the same vocabulary."
    device: str = "auto"
    "cpu, cuda, cuda:1, mps; auto: a GPU if there is one."
    compiled: Literal["auto", "always", "never"] = "auto"
    "Whether a whole step runs as one call, compiled (models shaped as Llama or GPT-2, on the CPU) or recorded (on a "
    "GPU): auto where it pays."
    quiet: bool = False
    "No figures."
    json: bool = False
    "Print the result as JSON, not as a stream."
