"""Settings of `nextword tokenize`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import Parameter

from nextword.core.settings import in_range
from nextword.text.settings import SplitSettings, TextSettings


@dataclass(frozen=True)
class TokenizeSettings:
    """Text to memory-mapped token shards, which `nextword pretrain` reads.

    The shards are the same whatever the number of processes. Ctrl-C leaves nothing half-written."""

    RECIPE: ClassVar[str] = "nextword.recipes.tokenize:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword tokenize --text my.txt --tokenizer tokenizer --out tokens\n"
        "  nextword tokenize --text my.txt --tokenizer chars --split-at 0.9 --out tokens\n"
        "  nextword tokenize --text python-docs tinyworld --tokenizer bpe --out tokens\n"
        "  nextword tokenize --text *.jsonl.zst --tokenizer runs/demo/model --out tokens"
    )

    _: KW_ONLY
    tokenizer: Path
    "A tokenizer's folder, or a model's."
    out: Annotated[Path, Parameter(alias="-o")]
    "Folder of the tokens; tokens that are there are replaced, anything else is refused."
    workers: int | None = None
    "Processes; one a core if left out, and none beside this one for a small text."
    quiet: bool = False
    "No progress, only the result."
    json: bool = False
    "Print the result as JSON."
    text: TextSettings = field(default_factory=TextSettings)
    split: SplitSettings = field(default_factory=SplitSettings)

    def __post_init__(self) -> None:
        if self.workers is not None:
            in_range("workers", self.workers, 1, 1024)
