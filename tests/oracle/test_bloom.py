"""Our BLOOM is transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")


def config(**fields: Any) -> Any:
    sizes = {"hidden_size": 24, "n_head": 3, "n_layer": 2, "vocab_size": 30}
    return transformers.BloomConfig(**(sizes | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads = draw(st.integers(1, 7))
    return config(
        **{"hidden_size": heads * draw(st.integers(2, 9)), "n_head": heads, "n_layer": draw(st.integers(1, 2))},
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        apply_residual_connection_post_layernorm=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
    )


@given(configs(), st.integers(0, 1000), st.integers(1, 30))
@settings(max_examples=12, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.BloomForCausalLM(config), seed, time)


@pytest.mark.parametrize("restarted", [True, False])
def test_texts_and_padded_rows_are_the_same(decoders: Any, restarted: bool) -> None:
    theirs = transformers.BloomForCausalLM(config(apply_residual_connection_post_layernorm=restarted))
    decoders.check(theirs, 15)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="bloom", width=48, depth=2, heads=3, norm_eps=1e-3, ffn_width=None)


def test_the_older_config_layout_means_the_same(decoders: Any, tmp_path: Path) -> None:
    older = {"hidden_size": None, "n_embed": 24, "n_head": None, "num_attention_heads": 3, "offset_alibi": 100}
    decoders.reads_alike(transformers.BloomForCausalLM(config()), older, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'bloom'"),
        ({"num_attention_heads": 4}, "num_attention_heads = 4, but n_head = 3, which is the same"),
        ({"n_inner": 5}, "n_inner = 5 is not known"),
        ({"slow_but_exact": True, "pretraining_tp": 2}, "set it to false"),
        ({"n_head": 5}, "n_head 5 must divide hidden_size 24"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.BloomForCausalLM(config()), change, said, tmp_path)
