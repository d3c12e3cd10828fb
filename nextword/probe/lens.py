"""The logit lens: what each layer would say if it were the last.

    x₀ = embedding;  x_l = layer_l(x_{l-1});  lens_l = head(norm(x_l))          lens_L is what the model says

All layers write into one stream, and only its end is read out over the vocabulary. Reading it out earlier shows how a
prediction comes about: guesses at the token itself first, then at the next one, then sure of it (nostalgebraist,
"interpreting GPT: the logit lens", 2020). Early layers were not trained to be read this way, so a lens that says
nonsense there proves nothing; a lens with learnt corrections for each layer (Belrose et al., "Tuned Lens", 2023) is
left out.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nextword.models.base import LanguageModel
from nextword.probe.watched import batch_of, watched, writer


@torch.inference_mode()
def lens(model: LanguageModel, ids: Sequence[int], source: Sequence[int] | None = None) -> Iterator[Tensor]:
    """logits_TV fp32 of the embedding, and then behind each layer: L + 1 of them, one at a time, since each is large.

    Of an encoder-decoder the layers that write. SettingsError for a model without layers of attention, or without
    scores over the vocabulary.
    """
    *early, last_TD = streams(model, ids, source)
    norm = writer(model).norm
    for x_TD in early:
        yield model.logits(norm(x_TD))
    yield model.logits(last_TD)


@torch.inference_mode()
def streams(model: LanguageModel, ids: Sequence[int], source: Sequence[int] | None = None) -> list[Tensor]:
    """x_TD as each layer reads it, and behind them all what the model itself reads out (hidden_TD, normed)."""
    seen = watched(model, "a logit lens")
    batch = batch_of(seen, ids, source)
    found: list[Tensor] = []
    for block in {id(block): block for block in writer(seen).layers}.values():  # layers may share one block
        block.register_forward_pre_hook(lambda _, read: found.append(read[0][0]))
    last_TD = seen.hidden(batch).hidden_BTD[0]
    return [*found, last_TD]
