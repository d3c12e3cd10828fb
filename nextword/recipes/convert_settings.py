"""Settings of `nextword convert`."""

import re
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter

from nextword.core.errors import SettingsError

Kind = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
QUANTISED = ("q8_0", "q4_0")
UNITS = {"MB": 10**6, "GB": 10**9}
GGUF = ".gguf"


@dataclass(frozen=True)
class ConvertSettings:
    """A model to another file format: Hugging Face folder to GGUF, GGUF to folder, or a folder to one of other numbers.

    OUT ends in .gguf for the file that llama.cpp reads; anything else becomes a folder. The tokenizer and the chat
    template go along. What the other format has no words for is refused, and nothing that is there is overwritten.
    """

    RECIPE: ClassVar[str] = "nextword.recipes.convert:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword convert mine/model mine.gguf --dtype q8_0\n"
        "  nextword convert model-Q4_K_M.gguf mine/model --dtype bf16\n"
        "  nextword convert mine/model mine/small --dtype bf16 --shard-size 2GB\n"
        "  nextword convert runs/mine/model mine/published --push me/mine --licence mit"
    )

    source: Annotated[str, Parameter(name="SRC")]
    "A model folder, a .gguf file, or a Hugging Face id (needs the hub extra)."
    out: Annotated[Path, Parameter(name="OUT")]
    "A file that ends in .gguf, or a folder."
    _: KW_ONLY
    dtype: Kind | None = None
    "How numbers are stored; as in the source if left out (f32 where that is quantised). q8_0 and q4_0 are GGUF's."
    shard_size: str | None = None
    "Largest size of one safetensors file of a folder, such as 500MB or 5GB; 50GB if left out."
    card: bool = False
    "Write a model card (README.md) into the folder: what it is, data, figures and settings of the run that made it."
    licence: str | None = None
    "The licence that the card names, as the hub spells it (apache-2.0, mit, ...)."
    push: str | None = None
    "Upload the folder with its card to this Hugging Face id, OWNER/NAME (needs the hub extra and a token)."
    private: bool = False
    "Make the repository private where it does not exist yet."

    def __post_init__(self) -> None:
        gguf = self.out.suffix == GGUF
        if self.dtype in QUANTISED and not gguf:
            raise SettingsError(f"dtype {self.dtype} is a format of GGUF: let OUT end in {GGUF}, received {self.out}")
        if self.shard_size is not None and gguf:
            raise SettingsError("shard_size applies to folders; a GGUF file is written in one piece")
        if self.push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.push):
            raise SettingsError(f"--push wants OWNER/NAME, received {self.push!r}")
        if gguf and (self.push or self.card):
            raise SettingsError("a card describes a folder: let OUT be one (and add a GGUF file to it afterwards)")
        if self.licence and not (self.push or self.card):
            raise SettingsError("the licence stands in the card: add --card or --push")
        if self.private and not self.push:
            raise SettingsError("--private is about a repository on the hub: add --push OWNER/NAME")
        if self.shard_size is not None:
            shard_bytes(self.shard_size)


def shard_bytes(size: str) -> int:
    """The bytes that a size such as 5GB names.

    >>> shard_bytes("500MB")
    500000000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|GB)", size.strip(), re.IGNORECASE)
    if found is None or not float(found[1]):
        raise SettingsError(f"shard_size must be a number with MB or GB, such as 5GB, received {size!r}")
    return int(float(found[1]) * UNITS[found[2].upper()])
