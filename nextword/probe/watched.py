"""A model that can be watched from inside while others use it.

Whoever looks inside puts something of his own into the model's modules: a function that keeps what passes. In a server
the same modules answer other requests at the same moment, so that is done to a copy: modules anew, weights shared.
"""

import copy
from collections.abc import Sequence
from itertools import chain

import torch
from torch import nn

from nextword.core.errors import SettingsError
from nextword.models.base import Batch, LanguageModel
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.stack import Stack


def watched(model: LanguageModel, what: str) -> Stack | EncoderDecoder:
    """A copy of a transformer that shares its weights; SettingsError, which names `what`, for any other model."""
    if not isinstance(model, Stack | EncoderDecoder):
        kind = model.config.get("model_type")
        raise SettingsError(f"{what} needs a transformer; this model ({kind}) has no layers of attention")
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared).eval()


def writer(model: nn.Module) -> Stack:
    """The stack whose last layer predicts: the decoder of an encoder-decoder, else the model itself."""
    return model.decoder if isinstance(model, EncoderDecoder) else model


def batch_of(model: nn.Module, ids: Sequence[int], source: Sequence[int] | None) -> Batch:
    """One text as a batch, with the source where the model is an encoder-decoder."""
    if not ids:
        raise SettingsError("there is nothing to look at: the text has no tokens")
    if (source is not None) != isinstance(model, EncoderDecoder):
        raise SettingsError("a source is for an encoder-decoder, which needs one")
    device = next(model.parameters()).device
    read = None if source is None else Batch(torch.tensor([list(source)], device=device))
    return Batch(torch.tensor([list(ids)], device=device), source=read)
