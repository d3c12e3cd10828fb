"""Our GPT-J is transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
LENGTH = 16


def config(**fields: Any) -> Any:
    sizes = {"n_embd": 24, "n_head": 3, "n_layer": 2, "rotary_dim": 4, "vocab_size": 30, "n_positions": LENGTH}
    return transformers.GPTJConfig(**({"bos_token_id": 0, "eos_token_id": 0} | sizes | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads, head_width = draw(st.integers(1, 3)), draw(st.integers(2, 9))
    return config(
        **{"n_embd": heads * head_width, "n_head": heads, "n_layer": draw(st.integers(1, 2))},
        rotary_dim=2 * draw(st.integers(1, head_width // 2)),
        n_inner=draw(st.one_of(st.none(), st.integers(3, 40))),
        activation_function=draw(st.sampled_from(["gelu_new", "gelu", "relu", "silu"])),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        tie_word_embeddings=draw(st.booleans()),
    )


@given(configs(), st.integers(0, 1000), st.integers(1, LENGTH))
@settings(max_examples=12, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.GPTJForCausalLM(config), seed, time)


@pytest.mark.parametrize("tied", [True, False])
def test_texts_and_padded_rows_are_the_same(decoders: Any, tied: bool) -> None:
    decoders.check(transformers.GPTJForCausalLM(config(tie_word_embeddings=tied)), 15)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="gptj", width=48, depth=2, heads=2, ffn_width=50)
    decoders.check_fresh(tmp_path, family="gptj", width=36, depth=1, heads=2, tied=True, norm_eps=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_theta": 4}, "'rope_theta' = 4, which nextword does not know for model_type 'gptj'"),
        ({"rotary": False}, "rotary = False is not known to model_type 'gptj'"),
        ({"rotary_dim": 10}, "rotary_dim 10 must be even and at most the 8 coordinates of a head"),
        ({"activation_function": "gelo"}, "did you mean 'gelu'"),
        ({"n_head": 5}, "n_head 5 must divide n_embd 24"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.GPTJForCausalLM(config()), change, said, tmp_path)
