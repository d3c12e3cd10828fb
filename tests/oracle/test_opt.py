"""Our OPT is transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.base import Batch

transformers = pytest.importorskip("transformers")
LENGTH = 16
SMALL = {"do_layer_norm_before": False, "word_embed_proj_dim": 8}  # as OPT-350M


def config(**fields: Any) -> Any:
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "ffn_dim": 20, "vocab_size": 30}
    return transformers.OPTConfig(**({"max_position_embeddings": LENGTH} | sizes | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads = draw(st.integers(1, 3))
    return config(
        **{"hidden_size": heads * draw(st.integers(2, 9)), "num_attention_heads": heads},
        **{"num_hidden_layers": draw(st.integers(1, 2)), "ffn_dim": draw(st.integers(3, 40))},
        word_embed_proj_dim=draw(st.one_of(st.none(), st.integers(2, 40))),
        activation_function=draw(st.sampled_from(["relu", "gelu", "gelu_new", "silu"])),
        do_layer_norm_before=draw(st.booleans()),
        _remove_final_layer_norm=draw(st.booleans()),
        enable_bias=draw(st.booleans()),
        layer_norm_elementwise_affine=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
    )


@given(configs(), st.integers(0, 1000), st.integers(1, LENGTH))
@settings(max_examples=16, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.OPTForCausalLM(config), seed, time)


@pytest.mark.parametrize("fields", [{}, SMALL])
def test_texts_and_padded_rows_are_the_same(decoders: Any, fields: Any) -> None:
    decoders.check(transformers.OPTForCausalLM(config(**fields)), 15)


def test_losses_go_through_the_matrix_before_the_output(parity: Any) -> None:
    theirs = parity.drawn(transformers.OPTForCausalLM(config(**SMALL)), 3)
    ours, ids_BT = parity.ours_of(theirs), parity.ids(30, 2, 9, 3)
    with torch.no_grad():
        found, wanted = ours.score(Batch(ids_BT), ids_BT), theirs(ids_BT).logits.log_softmax(-1)
    parity.same(found, wanted.gather(-1, ids_BT[..., None])[..., 0])


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="opt", width=48, depth=2, heads=2, ffn_width=50, max_length=20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'opt'"),
        ({"layerdrop": 0.1}, "layerdrop = 0.1 is not known"),
        ({"activation_function": "gelo"}, "did you mean 'gelu'"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 must divide hidden_size 24"),
        ({"_remove_final_layer_norm": True}, "holds 'model.decoder.final_layer_norm.bias'"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.OPTForCausalLM(config()), change, said, tmp_path)
