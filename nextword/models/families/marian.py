"""Marian: the transformer of 2017, as OPUS-MT translates with it: waves for positions, the norm behind each part.

Vaswani et al., "Attention Is All You Need" (2017); Junczys-Dowmunt et al., "Marian: Fast Neural Machine Translation in
C++" (2018), whose waves have all sines before the cosines. Fresh ones have the paper's ReLU and embeddings times √D;
see `nextword.models.bart_like`.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import bart_like
from nextword.models.bart_like import Kin
from nextword.models.encoder_decoder import EncoderDecoderSettings
from nextword.models.family import check_value

OWN_KEYS = frozenset({"decoder_vocab_size", "share_encoder_decoder_embeddings"})


def describe(config: Mapping[str, Any], kin: Kin) -> EncoderDecoderSettings:
    """As the others'; CheckpointError for a decoder with a vocabulary of its own."""
    check_value(config, "share_encoder_decoder_embeddings", True)
    if config.get("decoder_vocab_size") is not None:
        check_value(config, "decoder_vocab_size", config.get("vocab_size"))
    return bart_like.describe(config, kin)


FAMILY = bart_like.family(Kin("MarianMTModel", "MarianModel", False, False, "relu", OWN_KEYS), "marian", describe)
