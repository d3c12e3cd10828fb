"""How many texts are continued at once, and how much memory their cache has."""

from dataclasses import dataclass

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The engine, which continues many texts at once."""

    rows: int = 32
    "Texts that are continued at once; others wait."
    step_tokens: int = 256
    "Tokens that are read in one step: a long prompt is read in chunks of what running texts leave of them."
    block: int = 16
    "Places in a block of the cache; texts share whole blocks of what they begin with."
    cache_tokens: int | None = None
    "Places in the whole cache (as many as fit into a quarter of the free memory, and are of use)."

    def __post_init__(self) -> None:
        for name in ("rows", "step_tokens", "block"):
            in_range(f"engine.{name}", getattr(self, name), 1)
        if self.step_tokens < self.rows:
            raise SettingsError(
                f"engine.step_tokens ({self.step_tokens}) must be at least engine.rows ({self.rows}): each text that "
                "runs reads a token in every step"
            )
        if self.cache_tokens is not None:
            in_range("engine.cache_tokens", self.cache_tokens, self.block)
