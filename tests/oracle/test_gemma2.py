"""Our Gemma 2 is transformers' Gemma 2: random tiny configs, every tensor drawn anew."""

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
    sizes = decoders.sizes(data.draw)
    layers = sizes["num_hidden_layers"]
    kind = st.sampled_from(["full_attention", "sliding_attention"])
    config = transformers.Gemma2Config(
        **sizes,
        head_dim=data.draw(st.sampled_from([4, 6])),
        hidden_activation=data.draw(st.sampled_from(["gelu_pytorch_tanh", "silu"])),
        attention_bias=data.draw(st.booleans()),
        query_pre_attn_scalar=data.draw(st.sampled_from([4, 9])),
        sliding_window=data.draw(st.sampled_from([2, 3, 30])),
        layer_types=data.draw(st.none() | st.lists(kind, min_size=layers, max_size=layers)),
        attn_logit_softcapping=data.draw(st.sampled_from([None, 2.0, 50.0])),
        final_logit_softcapping=data.draw(st.sampled_from([None, 20.0])),
    )
    decoders.check(transformers.Gemma2ForCausalLM(config), seed)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="gemma2", kv_heads=2, head_width=8, window=window)
    assert theirs.config.query_pre_attn_scalar == 8
    assert theirs.config.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention = True is not known"),
        ({"sliding_window": None}, "layer_types has 'sliding_attention', but no sliding_window is in use"),
        ({"sliding_window_size": 7}, "sliding_window_size = 7 is not known"),
        ({"attn_logit_softcapping": 0}, "'attn_logit_softcapping' must be above 0"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma2Config(**sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(transformers.Gemma2ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26},
        **{"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000},
        **{"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096},
        **{"query_pre_attn_scalar": 256, "cache_implementation": "hybrid", "attn_logit_softcapping": 50.0},
    }
    assert count(describe(config)).parameters == 2_614_341_888  # Gemma 2 2B
