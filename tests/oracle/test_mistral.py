"""Our Mistral is transformers' Mistral: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    config = transformers.MistralConfig(
        **decoders.sizes(data.draw),
        head_dim=data.draw(st.sampled_from([4, 6])),
        sliding_window=data.draw(st.sampled_from([None, 2, 3, 4, 30])),
        hidden_act=data.draw(st.sampled_from(["silu", "gelu"])),
        rms_norm_eps=data.draw(st.sampled_from([1e-6, 1e-2])),
        rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0},
    )
    decoders.check(transformers.MistralForCausalLM(config), seed)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="mistral", kv_heads=2, window=window)
    assert theirs.config.sliding_window == window


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_bias": True}, "'attention_bias' = True, which nextword does not know for model_type 'mistral'"),
        ({"sliding_window": 0}, "'sliding_window' must be at least 1"),
        ({"layer_types": ["full_attention"]}, "'layer_types' = ['full_attention'], which nextword does not know"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    config = transformers.MistralConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=8, vocab_size=12)
    decoders.refused(transformers.MistralForCausalLM(config), change, said, tmp_path)
