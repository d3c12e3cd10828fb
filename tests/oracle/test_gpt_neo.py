"""Our GPT-Neo, GPT-3's relative with windows in every second layer, is transformers': every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
LENGTH = 16


def config(**fields: Any) -> Any:
    sizes = {"hidden_size": 24, "num_heads": 3, "num_layers": 2, "attention_types": [[["global", "local"], 1]]}
    more = {"vocab_size": 30, "max_position_embeddings": LENGTH, "window_size": 3, "bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPTNeoConfig(**(sizes | more | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads = draw(st.integers(1, 3))
    types = draw(st.lists(st.sampled_from([[["global", "local"], 1], [["local"], 2], [["global"], 1]]), min_size=1))[:2]
    return config(
        **{"hidden_size": heads * draw(st.integers(2, 9)), "num_heads": heads},
        **{"attention_types": types, "num_layers": sum(len(kinds) * times for kinds, times in types)},
        intermediate_size=draw(st.one_of(st.none(), st.integers(3, 40))),
        window_size=draw(st.integers(1, LENGTH)),
        activation_function=draw(st.sampled_from(["gelu_new", "gelu", "relu", "silu"])),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        tie_word_embeddings=draw(st.booleans()),
    )


@given(configs(), st.integers(0, 1000), st.integers(1, LENGTH))
@settings(max_examples=12, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.GPTNeoForCausalLM(config), seed, time)


def test_texts_and_padded_rows_are_the_same(decoders: Any) -> None:
    decoders.check(transformers.GPTNeoForCausalLM(config()), 15)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="gpt_neo", width=48, depth=3, heads=2, ffn_width=50, window=4)
    decoders.check_fresh(tmp_path, family="gpt_neo", width=36, depth=1, heads=2, tied=False, norm_eps=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'gpt_neo'"),
        ({"attention_types": [[["global"], 3]]}, "must name 'global' or 'local' for each of 2 layers"),
        ({"attention_types": [["global", 2]]}, "must name 'global' or 'local' for each of 2 layers"),
        ({"attention_types": 7}, "attention_types 7 is no list"),
        ({"attention_layers": ["local", "local"]}, "nextword computes with ['global', 'local']"),
        ({"num_heads": 5}, "num_heads 5 must divide hidden_size 24"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.GPTNeoForCausalLM(config()), change, said, tmp_path)
