"""A probe leaves the model as it was, and refuses what has no inside of that kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nextword as nw
from nextword.core.errors import SettingsError
from nextword.models.base import Batch
from nextword.probe.attention import attention_maps
from nextword.probe.lens import lens, streams
from nextword.probe.watched import watched

IDS = [5, 6, 7, 8]


def test_the_model_is_not_touched_and_its_weights_are_not_copied(tiny: Callable[[str], Path]) -> None:
    model = nw.load(tiny("llama")).model
    attends = [block.attention.attend for block in model.blocks]
    model.train()
    attention_maps(model, IDS)
    list(lens(model, IDS))
    assert [block.attention.attend for block in model.blocks] == attends and model.training
    assert not any(block._forward_pre_hooks for block in model.blocks)
    seen = watched(model, "a test")
    assert not seen.training
    pairs = list(zip(model.parameters(), seen.parameters(), strict=True))
    assert pairs and all(own is theirs for own, theirs in pairs)


@pytest.mark.parametrize("family", ["llama", "gpt2", "nextword", "bert"])
def test_probabilities_and_the_last_layer(tiny: Callable[[str], Path], family: str) -> None:
    model = nw.load(tiny(family)).model
    p_LHTT = attention_maps(model, IDS).own_LHTT
    assert p_LHTT.shape == (2, 4, 4, 4) and p_LHTT.dtype == torch.float32
    torch.testing.assert_close(p_LHTT.sum(-1), torch.ones(2, 4, 4))
    causal = model.kind == "decoder"
    assert bool((p_LHTT.triu(1) == 0).all()) == causal
    with torch.no_grad():
        hidden_TD = model.hidden(Batch(torch.tensor([IDS]))).hidden_BTD[0]
        torch.testing.assert_close(list(lens(model, IDS))[-1], model.logits(hidden_TD))
    assert len(streams(model, IDS)) == 3


@pytest.mark.parametrize("family", ["lstm", "ngram"])
def test_models_without_layers_of_attention(tiny: Callable[[str], Path], family: str) -> None:
    model = nw.load(tiny(family)).model
    with pytest.raises(SettingsError, match=f"needs a transformer; this model \\(\\w*{family}\\)"):
        attention_maps(model, IDS)
    with pytest.raises(SettingsError, match="a logit lens needs a transformer"):
        list(lens(model, IDS))


def test_sources_and_empty_texts(tiny: Callable[[str], Path]) -> None:
    llama, t5 = nw.load(tiny("llama")).model, nw.load(tiny("t5")).model
    with pytest.raises(SettingsError, match="a source is for an encoder-decoder"):
        attention_maps(llama, IDS, IDS)
    with pytest.raises(SettingsError, match="which needs one"):
        attention_maps(t5, IDS)
    with pytest.raises(SettingsError, match="no tokens"):
        attention_maps(llama, [])
