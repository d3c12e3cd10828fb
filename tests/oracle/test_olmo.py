"""Our OLMo is transformers' OLMo: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import SettingsError
from nextword.models.count import count, describe

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    config = transformers.OlmoConfig(
        **decoders.sizes(data.draw),
        attention_bias=data.draw(st.booleans()),
        clip_qkv=data.draw(st.sampled_from([None, 0.3, 2.0])),
        hidden_act=data.draw(st.sampled_from(["silu", "gelu"])),
    )
    decoders.check(transformers.OlmoForCausalLM(config), seed)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="olmo", kv_heads=2, rope_base=500.0)
    with pytest.raises(SettingsError, match="model.norm_eps does not apply to the family 'olmo'"):
        decoders.check_fresh(tmp_path, family="olmo", norm_eps=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps = 1e-06 is not known to model_type 'olmo'"),
        ({"clip_qkv": -1.0}, "'clip_qkv' must be above 0"),
        ({"mlp_bias": True}, "'mlp_bias' = True, which nextword does not know"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.OlmoConfig(**sizes, num_key_value_heads=1, vocab_size=12, pad_token_id=0)
    decoders.refused(transformers.OlmoForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "olmo", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
        **{"num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 50304, "tie_word_embeddings": True},
        **{"max_position_embeddings": 2048, "clip_qkv": None, "rope_scaling": None, "attention_bias": False},
    }
    assert count(describe(config)).parameters == 1_176_764_416  # OLMo 1B
