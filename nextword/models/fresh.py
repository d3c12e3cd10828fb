"""What the config.json of fresh decoders says alike, and the sizes that follow from others."""

from typing import Any

from nextword.core.errors import SettingsError
from nextword.models.family import Special, divided
from nextword.models.settings import ModelSettings
from nextword.nn.init import STANDARD_DEVIATION

WIDTH, DEPTH, LENGTH = 256, 4, 512
HEAD_WIDTH = 64


def width_and_heads(settings: ModelSettings) -> tuple[int, int]:
    """The width and its heads, which all together fill it; SettingsError where they cannot."""
    width = settings.width or WIDTH
    heads = settings.heads or max(1, width // HEAD_WIDTH)
    divided(width, heads, ("model.width", "model.heads"), SettingsError)
    return width, heads


def even_heads(settings: ModelSettings) -> tuple[int, int]:
    """The same for heads whose coordinates turn in pairs."""
    width, heads = width_and_heads(settings)
    if width // heads % 2:
        raise SettingsError(f"model.width {width} over model.heads {heads} must be even: rotary positions turn pairs")
    return width, heads


def common(settings: ModelSettings, vocab_size: int, special: Special, tied: bool) -> dict[str, Any]:
    """The keys that every family writes under the same names; `tied` where the settings leave it open."""
    return {
        "bos_token_id": special.bos_id,
        "dtype": "float32",
        "eos_token_id": special.eos_id,
        "initializer_range": STANDARD_DEVIATION,
        "pad_token_id": special.pad_id,
        "tie_word_embeddings": tied if settings.tied is None else settings.tied,
        "use_cache": True,
        "vocab_size": vocab_size,
    }
