"""Our Qwen 3 is transformers' Qwen 3: random tiny configs, every tensor drawn anew."""

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
    kind = st.sampled_from(["full_attention", "sliding_attention"])
    layers = sizes["num_hidden_layers"]
    used = data.draw(st.booleans())
    config = transformers.Qwen3Config(
        **sizes,
        head_dim=data.draw(st.sampled_from([4, 10])),
        attention_bias=data.draw(st.booleans()),
        rms_norm_eps=data.draw(st.sampled_from([1e-6, 1e-2])),
        use_sliding_window=used,
        sliding_window=data.draw(st.sampled_from([2, 3, 5])),
        max_window_layers=data.draw(st.integers(0, 3)),
        layer_types=data.draw(st.none() | st.lists(kind, min_size=layers, max_size=layers)) if used else None,
        rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 12},
    )
    decoders.check(transformers.Qwen3ForCausalLM(config), seed)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="qwen3", kv_heads=2, window=window, head_width=16)
    assert theirs.config.sliding_window == window


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mlp_bias": False}, "'mlp_bias' = False, which nextword does not know for model_type 'qwen3'"),
        ({"layer_types": ["sliding_attention"]}, "no sliding_window is in use; give its length, and set use_sliding"),
        ({"layer_types": ["full"]}, "layer_types has 'full'; known: full_attention, sliding_attention"),
        ({"layer_types": []}, "layer_types must list one kind for each of 1 layers"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Qwen3Config(**sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(transformers.Qwen3ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28},
        **{"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936},
        **{"max_position_embeddings": 40960, "max_window_layers": 28, "rope_theta": 1e6, "tie_word_embeddings": True},
        **{"sliding_window": None, "use_sliding_window": False, "rope_scaling": None, "attention_bias": False},
    }
    assert count(describe(config)).parameters == 596_049_920  # Qwen3-0.6B
