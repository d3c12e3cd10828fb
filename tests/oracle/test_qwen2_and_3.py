"""Our Qwen 2 is transformers' Qwen 2: random tiny configs, every tensor drawn anew."""

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
    config = transformers.Qwen2Config(
        **sizes,
        use_sliding_window=used,
        sliding_window=data.draw(st.sampled_from([2, 3, 5])),
        max_window_layers=data.draw(st.integers(0, 3)),
        layer_types=data.draw(st.none() | st.lists(kind, min_size=layers, max_size=layers)) if used else None,
        rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 12},
    )
    decoders.check(transformers.Qwen2ForCausalLM(config), seed)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="qwen2", kv_heads=2, window=window)
    assert theirs.config.sliding_window == window


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_bias": False}, "'attention_bias' = False, which nextword does not know for model_type 'qwen2'"),
        ({"layer_types": ["sliding_attention"]}, "no sliding_window is in use; give its length, and set use_sliding"),
        ({"layer_types": ["full"]}, "layer_types has 'full'; known: full_attention, sliding_attention"),
        ({"layer_types": []}, "layer_types must list one kind for each of 1 layers"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Qwen2Config(**sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(transformers.Qwen2ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24},
        **{"num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
        **{"max_position_embeddings": 32768, "max_window_layers": 21, "rms_norm_eps": 1e-6, "rope_theta": 1e6},
        **{"sliding_window": 32768, "use_sliding_window": False, "attention_dropout": 0.0, "hidden_act": "silu"},
    }
    assert count(describe(config)).parameters == 494_032_768  # Qwen2.5-0.5B
