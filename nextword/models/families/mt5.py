"""mT5: T5 1.1 for a hundred languages, with a vocabulary to match; what stands before its output is never divided.

Xue et al., "mT5: A Massively Multilingual Pre-trained Text-to-Text Transformer" (2021). Read and written as
transformers' `MT5ForConditionalGeneration` and `MT5EncoderModel` do.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.models.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from nextword.models.families import t5
from nextword.models.family import Special, check_off
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer
from nextword.nn.head import HeadSettings


def describe(config: Mapping[str, Any]) -> EncoderDecoderSettings:
    """As T5's, with the gate that T5 1.1 has unless the config says otherwise."""
    check_off(config, "scale_decoder_outputs")
    return replace(t5.describe(gated(config)), head=HeadSettings())


def gated(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the feed-forward that mT5 has where it names none."""
    return {"feed_forward_proj": "gated-gelu"} | dict(config)


def build(config: dict[str, Any]) -> EncoderDecoder | Transformer:
    """The model that a config.json describes."""
    return t5.made(describe(config), config)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh mT5, in transformers' layout."""
    names = {"architectures": ["MT5ForConditionalGeneration"], "model_type": "mt5"}
    return t5.fresh(settings, vocab_size, special) | names


FAMILY = replace(t5.FAMILY, config=fresh, build=build, rules=lambda config: t5.rules(gated(config)))
