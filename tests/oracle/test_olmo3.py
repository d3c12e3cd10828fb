"""Our OLMo 3 is transformers' OLMo 3: random tiny configs, every tensor drawn anew."""

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
    yarn = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 12}
    config = transformers.Olmo3Config(
        **sizes,
        attention_bias=data.draw(st.booleans()),
        rms_norm_eps=data.draw(st.sampled_from([1e-6, 1e-2])),
        sliding_window=data.draw(st.sampled_from([2, 3, 30])),
        layer_types=data.draw(st.none() | st.lists(kind, min_size=layers, max_size=layers)),
        rope_parameters={
            "full_attention": {"rope_theta": 1e5, **data.draw(st.sampled_from([{"rope_type": "default"}, yarn]))},
            "sliding_attention": {"rope_theta": 1e5, "rope_type": "default"},
        },
    )
    decoders.check(transformers.Olmo3ForCausalLM(config), seed)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="olmo3", depth=5, kv_heads=2, window=window, rope_base=1e3)
    assert theirs.config.layer_types == ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"]
    assert theirs.config.rope_parameters["sliding_attention"]["rope_theta"] == 1e3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sliding_window": None}, "layer_types has 'sliding_attention', but no sliding_window is in use"),
        ({"rope_theta": 7.0}, "rope_theta = 7.0 is not known to model_type 'olmo3'"),
        ({"rope_parameters": {"full": {}}}, "rope_parameters must have a table for each of full_attention"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Olmo3Config(**sizes, num_key_value_heads=1, vocab_size=12, pad_token_id=0)
    decoders.refused(transformers.Olmo3ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "olmo3", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
        **{"num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 100278, "rms_norm_eps": 1e-6},
        **{"max_position_embeddings": 65536, "rope_theta": 500000, "sliding_window": 4096},
        "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192},
    }
    assert count(describe(config)).parameters == 7_298_011_136  # Olmo 3 7B
