"""Settings of `nextword doctor`."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar


@dataclass(frozen=True)
class DoctorSettings:
    """What this machine has and lacks: versions, cores, instructions, GPU, memory, disk, and the command that installs
    what is missing. Ends with status 1 when something that nextword needs does not work."""

    RECIPE: ClassVar[str] = "nextword.recipes.doctor:main"
    EXAMPLES: ClassVar[str] = "  nextword doctor\n  nextword doctor --json"

    _: KW_ONLY
    json: bool = False
    "Print JSON instead of a table."
