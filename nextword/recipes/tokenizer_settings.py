"""Settings of `nextword tokenizer train` and `nextword tokenizer show`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import Parameter

from nextword.text.settings import SplitSettings, TextSettings
from nextword.tokenizers.settings import TokenizerSettings


@dataclass(frozen=True)
class TrainTokenizer:
    """Learn a vocabulary from text and save it as a folder that Hugging Face's AutoTokenizer opens.

    Only training text is read: what the split sets apart for validation stays unseen."""

    RECIPE: ClassVar[str] = "nextword.recipes.tokenizer_train:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword tokenizer train --text my.txt --out tokenizer\n"
        "  nextword tokenizer train --text python-docs tinyworld --vocab-size 8192 -o bpe\n"
        "  nextword tokenizer train --text my.txt --kind unigram -o unigram\n"
        "  nextword tokenizer train --text my.txt --kind character --split-at 0.9 -o chars"
    )

    _: KW_ONLY
    out: Annotated[Path, Parameter(alias="-o")]
    "Folder of the tokenizer; one that holds anything else is refused."
    quiet: bool = False
    "No progress, only the result."
    json: bool = False
    "Print the result as JSON."
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    text: TextSettings = field(default_factory=TextSettings)
    split: SplitSettings = field(default_factory=SplitSettings)


@dataclass(frozen=True)
class ShowTokenizer:
    """See the tokens of a text: each on a colour of its own, with their ids and bytes.

    Where the output is no terminal, tokens are set apart by vertical bars. Without a text, standard input is read."""

    RECIPE: ClassVar[str] = "nextword.recipes.tokenizer_show:main"
    EXAMPLES: ClassVar[str] = (
        '  nextword tokenizer show tokenizer "The cat sat on the mat."\n'
        "  nextword tokenizer show runs/demo/model --file my.txt\n"
        '  nextword tokenizer show tokenizer "naïve 🙂" --json\n'
        "  nextword tokenizer show runs/demo/model --chat talk.json"
    )

    tokenizer: Path
    "A tokenizer's folder, or a model's."
    text: str | None = None
    "The text."
    _: KW_ONLY
    file: Path | None = None
    "Read the text from this file instead."
    chat: Path | None = None
    "Show this conversation, a JSON list of messages with role and content, in the chat template."
    json: bool = False
    "Print everything as JSON."
