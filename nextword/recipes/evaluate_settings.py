"""Settings of `nextword evaluate`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import Parameter

from nextword.core.errors import SettingsError
from nextword.evals.settings import EvaluateSection
from nextword.text.settings import TextSettings


@dataclass(frozen=True)
class EvaluateSettings:
    """Perplexity of a model on held-out text: per token, word and byte, over all and by source.

    Every text is scored alone; longer ones than the model's context in windows that overlap. Encoders and
    encoder-decoders, which do not read from left to right, are asked to fill gaps."""

    RECIPE: ClassVar[str] = "nextword.recipes.evaluate:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword evaluate runs/demo/model --perplexity --text held-out.txt\n"
        "  nextword evaluate runs/demo/model --perplexity --tokens runs/demo/tokens --split validation\n"
        "  nextword evaluate model --perplexity --tokens tokens --windows 256\n"
        "  nextword evaluate runs/bert/model --gaps --tokens runs/bert/tokens\n"
        "  nextword evaluate model --perplexity --text book.txt --evaluate.overlap=0.75 --json"
    )

    model: str
    "A model folder, or a Hugging Face id (needs the hub extra)."
    _: KW_ONLY
    perplexity: bool = False
    "Perplexity and bits per byte of a decoder."
    gaps: bool = False
    "How well an encoder or encoder-decoder fills gaps: masked accuracy and pseudo-perplexity, or the loss of spans."
    text: TextSettings = field(default_factory=TextSettings)
    tokens: Path | None = None
    "A folder of tokens, as `nextword tokenize` makes it, in place of text."
    split: str = "validation"
    "Which half of the tokens."
    evaluate: Annotated[EvaluateSection, Parameter(name=("--evaluate", "*"))] = field(default_factory=EvaluateSection)
    quiet: bool = False
    "No progress, only the result."
    json: bool = False
    "Print the result as JSON."

    def __post_init__(self) -> None:
        if self.perplexity == self.gaps:
            raise SettingsError("say what to evaluate: --perplexity of a decoder, or --gaps of another model")
        if self.gaps and self.tokens is None:
            raise SettingsError("--gaps needs --tokens FOLDER (`nextword tokenize` makes one)")
        if bool(self.text.sources) == (self.tokens is not None):
            raise SettingsError("give the held-out text either as --text FILE ... or as --tokens FOLDER")
        if self.evaluate.windows is not None and self.tokens is None:
            raise SettingsError("--windows cuts a token stream: it needs --tokens in place of --text")
