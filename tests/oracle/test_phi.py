"""Our Phi is transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
LENGTH = 16
ROPES = [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.5}, {"rope_type": "dynamic", "factor": 3.0}]
ROPES += [{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}]


def config(**fields: Any) -> Any:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 20}
    more = {"vocab_size": 30, "max_position_embeddings": LENGTH}
    return transformers.PhiConfig(**(sizes | more | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    kv_heads, ratio = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    rope = {"rope_theta": draw(st.sampled_from([100.0, 10_000.0])), **draw(st.sampled_from(ROPES))}
    return config(
        **{"hidden_size": 16 * kv_heads * ratio, "num_attention_heads": kv_heads * ratio},
        **{"num_key_value_heads": kv_heads, "num_hidden_layers": draw(st.integers(1, 2))},
        intermediate_size=draw(st.integers(3, 40)),
        hidden_act=draw(st.sampled_from(["gelu", "gelu_new", "relu", "silu"])),
        layer_norm_eps=draw(st.sampled_from([1e-5, 1e-2])),
        tie_word_embeddings=draw(st.booleans()),
        qk_layernorm=draw(st.booleans()),
        rope_parameters=rope | {"partial_rotary_factor": draw(st.sampled_from([0.25, 0.5, 1.0]))},
    )


@given(configs(), st.integers(0, 1000), st.integers(1, 2 * LENGTH))
@settings(max_examples=12, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.PhiForCausalLM(config), seed, time)


@pytest.mark.parametrize("fields", [{}, {"qk_layernorm": True, "num_key_value_heads": 2}])
def test_texts_and_padded_rows_are_the_same(decoders: Any, fields: Any) -> None:
    decoders.check(transformers.PhiForCausalLM(config(**fields)), 15)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="phi", width=48, depth=2, heads=2, kv_heads=1, ffn_width=50, rope_base=500.0)
    decoders.check_fresh(tmp_path, family="phi", width=36, depth=1, heads=2, tied=True, norm_eps=1e-3)


def test_the_older_config_layout_means_the_same(decoders: Any, tmp_path: Path) -> None:
    older = {"rope_parameters": None, "rope_theta": 100.0, "partial_rotary_factor": 0.25, "rope_scaling": None}
    rope = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.25}
    decoders.reads_alike(transformers.PhiForCausalLM(config(rope_parameters=rope)), older, tmp_path)
    decoders.reads_alike(transformers.PhiForCausalLM(config()), {"rope_parameters": None}, tmp_path)  # half turns


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'phi'"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3 must divide num_attention_heads 4"),
        ({"hidden_act": "gelo"}, "did you mean 'gelu'"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 must divide hidden_size 32"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.PhiForCausalLM(config()), change, said, tmp_path)
