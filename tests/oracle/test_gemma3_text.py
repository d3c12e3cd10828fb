"""Our Gemma 3 is transformers' Gemma 3: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.count import count, describe
from nextword.models.families.gemma3_text import FAMILY

transformers = pytest.importorskip("transformers")


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    sizes = decoders.sizes(data.draw)
    far = data.draw(st.sampled_from([{"rope_type": "default"}, {"rope_type": "linear", "factor": 8.0}]))
    config = transformers.Gemma3TextConfig(
        **sizes,
        head_dim=data.draw(st.sampled_from([4, 6])),
        hidden_activation=data.draw(st.sampled_from(["gelu_pytorch_tanh", "silu"])),
        attention_bias=data.draw(st.booleans()),
        query_pre_attn_scalar=data.draw(st.sampled_from([4, 9])),
        sliding_window=data.draw(st.sampled_from([2, 3, 30])),
        sliding_window_pattern=data.draw(st.integers(1, 3)),
        final_logit_softcapping=data.draw(st.sampled_from([None, 20.0])),
        rope_parameters={
            "full_attention": {"rope_theta": 1e5, **far},
            "sliding_attention": {"rope_theta": 100.0, "rope_type": "default"},
        },
    )
    decoders.check(transformers.Gemma3ForCausalLM(config), seed)


@pytest.mark.parametrize("window", [None, 3])
def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, window: int | None, tmp_path: Path) -> None:
    theirs = decoders.check_fresh(tmp_path, family="gemma3_text", depth=7, kv_heads=2, window=window, rope_base=1e5)
    assert theirs.config.layer_types == ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    assert theirs.config.rope_parameters["full_attention"]["rope_theta"] == 1e5


def test_the_older_layout_of_angles_means_the_same() -> None:
    both: dict[str, Any] = {"model_type": "gemma3_text", "hidden_size": 8, "num_attention_heads": 2, "vocab_size": 9}
    both |= {"num_hidden_layers": 7, "intermediate_size": 8, "num_key_value_heads": 1, "head_dim": 4}
    older = {"rope_theta": 5e5, "rope_local_base_freq": 200.0, "rope_scaling": {"type": "linear", "factor": 8.0}}
    tables = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 200.0},
    }
    one, other = (FAMILY.build(both | more).settings for more in (older, {"rope_parameters": tables}))
    assert one == other
    assert one.near_rope.base == 200.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention = True is not known"),
        ({"attn_logit_softcapping": 5.0}, "attn_logit_softcapping = 5.0 is not known"),
        ({"rope_parameters": {"rope_theta": 5.0}}, "rope_parameters must have a table for each of full_attention"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3TextConfig(**sizes, num_key_value_heads=1, vocab_size=12)
    decoders.refused(transformers.Gemma3ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26},
        **{"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144},
        **{"hidden_activation": "gelu_pytorch_tanh", "rope_local_base_freq": 10000, "rope_theta": 1000000},
        **{"sliding_window": 512, "sliding_window_pattern": 6, "rope_scaling": None, "max_position_embeddings": 32768},
    }
    assert count(describe(config)).parameters == 999_885_952  # Gemma 3 1B
