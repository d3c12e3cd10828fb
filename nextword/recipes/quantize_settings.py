"""Settings of `nextword quantize`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range
from nextword.text.settings import TextSettings

GROUP = 64


@dataclass(frozen=True)
class QuantizeSettings:
    """A model's weights in 8 or 4 bits: a folder that loads as any other, a half to a quarter of bf16's size.

    With --calibrate, 4 bits lose less: each layer is rounded so that its outputs on that text stay near what they were
    (GPTQ). Give text of the kind that the model is for; a few hundred kB are enough, the labels of a test set are not.
    """

    RECIPE: ClassVar[str] = "nextword.recipes.quantize:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword quantize mine/model --bits 8 --out mine/int8\n"
        "  nextword quantize mine/model --bits 4 --calibrate train.txt --out mine/int4\n"
        "  nextword quantize mine/model --bits 4 --group 32 --calibrate python-docs --windows 256 --out mine/int4"
    )

    model: str
    "A model folder, a .gguf file, or a Hugging Face id (needs the hub extra)."
    _: KW_ONLY
    out: Path
    "The folder to write; it must not exist."
    bits: Literal[4, 8] = 8
    "Bits of a weight in the layers."
    group: Literal[32, 64, 128] | None = None
    "Weights of a row that share a scale, with 4 bits: 64 if left out. Fewer cost bytes and lose less."
    edges: Literal[8, 16] = 8
    "Bits of embedding and output matrix; 16 leaves them as they are."
    calibrate: Annotated[TextSettings, Parameter(name="--calibrate")] = field(default_factory=TextSettings)
    windows: int | None = None
    "Pieces of the text to calibrate with: 128 if left out."
    length: int | None = None
    "Tokens of a piece: 512 if left out, or the model's longest where that is less."
    quiet: bool = False
    "No progress, only the result."

    def __post_init__(self) -> None:
        if self.bits == 8 and self.group is not None:
            raise SettingsError("group applies to 4 bits; with 8 bits a row has one scale")
        for name in ("windows", "length"):
            value = getattr(self, name)
            if value is not None and not self.calibrate.sources:
                raise SettingsError(f"{name} says how to calibrate: it needs --calibrate TEXT")
            if value is not None:
                in_range(name, value, 1)
