"""Our SmolLM 3 is transformers' SmolLM 3: random tiny configs, every tensor drawn anew."""

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
    used = data.draw(st.booleans())
    config = transformers.SmolLM3Config(
        **sizes,
        attention_bias=data.draw(st.booleans()),
        mlp_bias=data.draw(st.booleans()),
        no_rope_layers=data.draw(st.none() | st.lists(st.integers(0, 1), min_size=layers, max_size=layers)),
        no_rope_layer_interval=data.draw(st.integers(1, 3)),
        use_sliding_window=used,
        sliding_window=3 if used else None,
        layer_types=data.draw(st.none() | st.lists(kind, min_size=layers, max_size=layers)) if used else None,
    )
    decoders.check(transformers.SmolLM3ForCausalLM(config), seed)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="smollm3", depth=4, kv_heads=2, window=window)
    assert theirs.config.no_rope_layers == [1, 1, 1, 0]
    assert theirs.config.layer_types[3] == ("sliding_attention" if window else "full_attention")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"no_rope_layers": [2]}, "no_rope_layers must list 1 (positions) or 0 (none) for each of 1 layers: [2]"),
        ({"no_rope_layers": []}, "no_rope_layers must list 1 (positions) or 0 (none) for each of 1 layers: []"),
        ({"layer_types": ["sliding_attention"]}, "no sliding_window is in use; give its length, and set use_sliding"),
        ({"qk_norm": True}, "'qk_norm' = True, which nextword does not know"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.SmolLM3Config(**sizes, num_key_value_heads=1, vocab_size=12, pad_token_id=0)
    decoders.refused(transformers.SmolLM3ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36},
        **{"num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 128256, "rope_theta": 5000000.0},
        **{"max_position_embeddings": 65536, "no_rope_layer_interval": 4, "max_window_layers": 28},
        **{"layer_types": ["full_attention"] * 36, "sliding_window": None, "use_sliding_window": False},
    }
    assert count(describe(config)).parameters == 3_075_098_624  # SmolLM3 3B
