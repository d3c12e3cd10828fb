"""A model that stops behind some of its layers: its modules put together anew, its weights shared.

Nothing is put into the model itself, which others may use at the same moment, and no layer runs in vain.
"""

import copy
from dataclasses import replace
from typing import TypeVar

from torch import nn

from nextword.core.errors import SettingsError
from nextword.models.base import LanguageModel
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.stack import Stack
from nextword.nn.dropout import unchanged

M = TypeVar("M", bound=nn.Module)


def stopped(model: LanguageModel, layer: int) -> LanguageModel:
    """The model whose hidden states are those behind so many layers (of an encoder-decoder's encoder), without a norm.

    0 is what the first layer reads; a negative number counts from the end as transformers' `hidden_states` do: -2 is
    behind all layers but the last. SettingsError for a layer that is not there, or a model without layers.
    """
    if isinstance(model, EncoderDecoder):
        whole = sibling(model)
        whole.encoder = shortened(model.encoder, layer)
        return whole
    if not isinstance(model, Stack):
        raise SettingsError("this kind of model has no layers between which its states could be seen")
    return shortened(model, layer)  # type: ignore[return-value]


def shortened(stack: Stack, layer: int) -> Stack:
    """The first layers alone."""
    depth = len(stack.layers)
    count = layer if layer >= 0 else depth + 1 + layer
    if not 0 <= count <= depth:
        raise SettingsError(f"layer must be 0 to {depth}, or -1 to {-depth - 1} from the end, received {layer}")
    short = sibling(stack)
    short.settings = replace(stack.settings, blocks=stack.settings.blocks[:count], norm=None, order=None)
    short.blocks = nn.ModuleList(stack.layers[:count])
    short.reaches, short.turned_by = stack.reaches[:count], stack.turned_by[:count]
    short._modules.pop("norm", None)
    short.norm = unchanged
    return short


def sibling(module: M) -> M:
    """The same module, with a list of parts of its own."""
    found = copy.copy(module)
    found._modules = dict(module._modules)
    return found
