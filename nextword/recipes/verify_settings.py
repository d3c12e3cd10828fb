"""Settings of `nextword verify`."""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from nextword.text.settings import TextSettings


@dataclass(frozen=True)
class VerifySettings:
    """Checks on your own model that what must be equal is equal: cached and uncached, batched and single, packed and
    separate, micro-batches and batch, resumed and uninterrupted, saved and loaded, quantised and what rounding allows.

    Takes seconds. The result is stored beside the model as verify.json. Ends with status 1 when an equality fails."""

    RECIPE: ClassVar[str] = "nextword.recipes.verify:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword verify runs/demo/model\n"
        "  nextword verify runs/demo/model --only cached packed\n"
        "  nextword verify model --text held-out.txt --json"
    )

    model: str
    "A model folder, or a Hugging Face id (needs the hub extra)."
    _: KW_ONLY
    only: tuple[str, ...] = ()
    "Which to check: batched, cached, micro-batches, packed, quantised, resumed, saved, served; all if left out."
    text: TextSettings = field(default_factory=TextSettings)
    quiet: bool = False
    "No progress, only the result."
    json: bool = False
    "Print the result as JSON."
