"""Our GPT-NeoX is transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
LENGTH = 16
ROPES = [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.5}, {"rope_type": "dynamic", "factor": 3.0}]
ROPES += [{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12}]


def config(**fields: Any) -> Any:
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20}
    more = {"vocab_size": 30, "max_position_embeddings": LENGTH, "rotary_pct": 0.5}
    return transformers.GPTNeoXConfig(**(sizes | more | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads = draw(st.integers(1, 3))
    return config(
        **{"hidden_size": 16 * heads, "num_attention_heads": heads, "num_hidden_layers": draw(st.integers(1, 2))},
        intermediate_size=draw(st.integers(3, 40)),
        hidden_act=draw(st.sampled_from(["gelu", "gelu_new", "relu", "silu"])),
        layer_norm_eps=draw(st.sampled_from([1e-5, 1e-2])),
        attention_bias=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        use_parallel_residual=draw(st.booleans()),
        rotary_pct=draw(st.sampled_from([0.25, 0.5, 1.0])),
        rotary_emb_base=draw(st.sampled_from([100, 10_000])),
        rope_parameters=dict(draw(st.sampled_from(ROPES))),
    )


@given(configs(), st.integers(0, 1000), st.integers(1, 2 * LENGTH))
@settings(max_examples=12, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.GPTNeoXForCausalLM(config), seed, time)


@pytest.mark.parametrize("parallel", [True, False])
def test_texts_and_padded_rows_are_the_same(decoders: Any, parallel: bool) -> None:
    decoders.check(transformers.GPTNeoXForCausalLM(config(use_parallel_residual=parallel)), 15)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="gpt_neox", width=48, depth=2, heads=2, ffn_width=50, rope_base=500.0)
    decoders.check_fresh(tmp_path, family="gpt_neox", width=36, depth=1, heads=2, tied=True, norm_eps=1e-3)


OLDER = {"rope_parameters": None, "rotary_emb_base": 100, "rotary_pct": 0.25, "rope_theta": 100}


def test_the_older_config_layout_means_the_same(decoders: Any, tmp_path: Path) -> None:
    decoders.reads_alike(transformers.GPTNeoXForCausalLM(config(rotary_pct=0.25, rotary_emb_base=100)), OLDER, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'gpt_neox'"),
        ({**OLDER, "rope_theta": 50}, "rotary_emb_base = 100, but rope_theta = 50, which is the same"),
        ({"rope_parameters": None, "rotary_pct": 0.4}, "partial_rotary_factor 0.4 turns 3 of the 8 coordinates"),
        ({"hidden_act": "gelo"}, "did you mean 'gelu'"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 must divide hidden_size 24"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.GPTNeoXForCausalLM(config()), change, said, tmp_path)
