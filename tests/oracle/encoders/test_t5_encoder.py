"""T5's and mT5's encoders alone, which image generators read, are transformers', and equal those of whole models."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nextword as nw
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
TEXTS = ["a photo of a cat", "a dog", "my red hat is on the bed by the red house"]


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    return {
        **{"d_model": draw(st.integers(3, 20)), "d_kv": draw(st.integers(2, 8)), "d_ff": draw(st.integers(3, 30))},
        **{"num_layers": draw(st.integers(1, 3)), "num_heads": draw(st.integers(1, 3)), "vocab_size": 40},
        **{"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16},
        "feed_forward_proj": draw(st.sampled_from(["relu", "gated-gelu", "gated-silu"])),
    }


@pytest.mark.parametrize("stem", ["T5", "MT5"])
@given(configs(), st.integers(0, 1000))
@settings(max_examples=6, deadline=None)
def test_same_states_and_bytes(stem: str, encoders: Any, sizes: dict[str, Any], seed: int) -> None:
    encoders.agree(stem, "EncoderModel", getattr(transformers, f"{stem}Config")(**sizes), seed)


@torch.no_grad()
def test_states_of_a_text(encoders: Any, parity: Any, tmp_path: Path) -> None:
    """The end token is read; padded to a length, the padding is, too, as FLUX and Stable Diffusion 3 do."""
    made = train(TokenizerSettings(vocab_size=370, min_frequency=1, purpose="t5"), TEXTS)
    sizes = {"d_model": 12, "d_kv": 5, "d_ff": 17, "num_layers": 3, "num_heads": 2, "vocab_size": made.vocab_size}
    theirs = encoders.drawn("T5", "EncoderModel", transformers.T5Config(**sizes, feed_forward_proj="gated-gelu"), 3)
    theirs.save_pretrained(tmp_path)
    made.save(tmp_path)
    lm = nw.load(tmp_path)
    for text in TEXTS:
        ids = [*made.encode(text), made.eos_id]
        said = theirs(torch.tensor([ids]), output_hidden_states=True)
        parity.same(lm.states(text).vectors_TD, said.last_hidden_state[0])
        parity.same(lm.states(text, layer=-2).vectors_TD, said.hidden_states[-2][0])
        padded = ids + [made.pad_id] * (24 - len(ids))
        assert lm.states(text, length=24).ids == tuple(padded)
        wanted = theirs(torch.tensor([padded])).last_hidden_state[0]
        parity.same(lm.states(text, length=24).vectors_TD, wanted)
    alone = torch.stack([lm.states(text).vectors_TD.mean(0) for text in TEXTS])
    torch.testing.assert_close(lm.embed(TEXTS), alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_encoder_gives_what_the_whole_gives(parity: Any, tmp_path: Path) -> None:
    made = train(TokenizerSettings(vocab_size=370, min_frequency=1, purpose="t5"), TEXTS)
    sizes = {"d_model": 12, "d_kv": 5, "d_ff": 17, "num_layers": 3, "num_heads": 2, "vocab_size": made.vocab_size}
    whole = parity.drawn(transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes)), 3)
    half = transformers.T5EncoderModel(copy.deepcopy(whole.config))
    half.load_state_dict({name: x for name, x in whole.state_dict().items() if name in half.state_dict()})
    for name, model in (("whole", whole), ("half", half)):
        model.save_pretrained(tmp_path / name)
        made.save(tmp_path / name)
    both = [nw.load(tmp_path / name) for name in ("whole", "half")]
    for layer in (None, 0, 1, -2):
        first, second = (lm.states(TEXTS[2], layer=layer) for lm in both)
        assert first.ids == second.ids
        assert torch.equal(first.vectors_TD, second.vectors_TD)
