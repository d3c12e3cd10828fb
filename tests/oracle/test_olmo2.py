"""Our OLMo 2 is transformers' OLMo 2: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.count import count, describe

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    config = transformers.Olmo2Config(
        **decoders.sizes(data.draw),
        attention_bias=data.draw(st.booleans()),
        hidden_act=data.draw(st.sampled_from(["silu", "gelu"])),
        rms_norm_eps=data.draw(st.sampled_from([1e-6, 1e-2])),
    )
    decoders.check(transformers.Olmo2ForCausalLM(config), seed)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="olmo2", kv_heads=2, norm_eps=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clip_qkv": 8.0}, "'clip_qkv' = 8.0, which nextword does not know for model_type 'olmo2'"),
        ({"sliding_window": 8}, "'sliding_window' = 8, which nextword does not know"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Olmo2Config(**sizes, num_key_value_heads=1, vocab_size=12, pad_token_id=0)
    decoders.refused(transformers.Olmo2ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "olmo2", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
        **{"num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 100352, "rms_norm_eps": 1e-6},
        **{"max_position_embeddings": 4096, "rope_theta": 500000, "rope_scaling": None, "attention_bias": False},
    }
    assert count(describe(config)).parameters == 7_298_617_344  # OLMo 2 7B
