"""Our Phi 3 is transformers' Phi 3: random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.base import Batch, pad
from nextword.models.count import count, describe
from nextword.models.families.phi3 import FAMILY

transformers = pytest.importorskip("transformers")
TRAINED = 8
FACTORS = {"short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [2.0, 7.0, 9.0, 9.5]}
ROPES: list[dict[str, Any]] = [
    {"rope_type": "default", "rope_theta": 100.0},
    {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    {"rope_type": "longrope", "rope_theta": 100.0, **FACTORS},
    {"rope_type": "longrope", "rope_theta": 100.0, **FACTORS, "factor": 3.0},
    {
        **{"rope_type": "longrope", "rope_theta": 100.0, "partial_rotary_factor": 0.5, "attention_factor": 1.3},
        **{"short_factor": [1.0, 1.5], "long_factor": [3.0, 7.0]},
    },
]


@given(st.data(), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_same_text_same_bytes(decoders: Any, data: st.DataObject, seed: int) -> None:
    config = transformers.Phi3Config(
        **decoders.sizes(data.draw) | {"hidden_size": 32, "num_attention_heads": 4},
        sliding_window=data.draw(st.sampled_from([None, 2, 3, 30])),
        hidden_act=data.draw(st.sampled_from(["silu", "gelu"])),
        original_max_position_embeddings=TRAINED,
        rope_parameters=data.draw(st.sampled_from(ROPES)),
    )
    decoders.check(transformers.Phi3ForCausalLM(config), seed)  # greedy text begins with 5 tokens and ends with 13


def test_a_row_that_outgrows_the_trained_length_is_read_again(decoders: Any) -> None:
    """A row of 7 grows to 10 beside one of 2 that grows to 5; and back to 6, where it is a short text once more."""
    sizes = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.Phi3Config(
        **sizes, vocab_size=30, pad_token_id=0, max_position_embeddings=16, original_max_position_embeddings=TRAINED,
        rope_parameters={"rope_type": "longrope", "rope_theta": 100.0, **FACTORS},
    )  # fmt: skip
    ours, ids_BT = decoders.ours_of(decoders.drawn(transformers.Phi3ForCausalLM(config), 3)), decoders.ids(30, 2, 10, 3)

    def alone(row: int, length: int, wanted: int) -> torch.Tensor:
        return ours.hidden(Batch(ids_BT[row : row + 1, :length])).hidden_BTD[0, -wanted:]

    with torch.no_grad():
        first = ours.hidden(pad([ids_BT[0, :7].tolist(), ids_BT[1, :2].tolist()]), ours.start(2, 4))
        after = ours.hidden(Batch(torch.stack([ids_BT[0, 7:], ids_BT[1, 2:5]])), first.state)
        decoders.same(after.hidden_BTD[0], alone(0, 10, 3))
        decoders.same(after.hidden_BTD[1], alone(1, 5, 3))
        back = ours.hidden(Batch(ids_BT[:, 5:6]), after.state.crop(torch.tensor([5, 5])))
        decoders.same(back.hidden_BTD[0], alone(0, 6, 1))
        decoders.same(back.hidden_BTD[1], alone(1, 6, 1))
        two = ours.hidden(Batch(ids_BT[:, 6:7]), back.state.fork(1, 2))
        decoders.same(two.hidden_BTD[1:], alone(1, 7, 1)[None])


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="phi3", kv_heads=2, window=3)


def test_longrope_under_its_older_names_and_partial_turns_of_phi_4(decoders: Any) -> None:
    base = {"model_type": "phi3", "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 9}
    base |= {"num_attention_heads": 2, "partial_rotary_factor": 0.75, "interpolate_factor": 1, "rope_theta": 50.0}
    factors = {"short_factor": [1, 2, 3], "long_factor": [2, 3, 4]}
    wanted = FAMILY.build(base | {"rope_parameters": {"rope_type": "longrope", **factors}}).settings
    assert wanted.blocks[0].attention.rotary_width == 6
    for kind in ("su", "yarn", "longrope"):
        assert FAMILY.build(base | {"rope_scaling": {"type": kind, **factors}}).settings == wanted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_bias": True}, "attention_bias = True is not known to model_type 'phi3'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "knows no rope_type but default and longrope"),
        ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}}, "needs a list of numbers 'long_factor'"),
        (
            {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}},
            "short_factor and long_factor must have 2 numbers each",
        ),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Phi3Config(**sizes, num_key_value_heads=1, vocab_size=12, pad_token_id=0)
    decoders.refused(transformers.Phi3ForCausalLM(config), change, said, tmp_path)


def test_a_published_config_is_read() -> None:
    config = {
        **{"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32},
        **{"num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064, "rms_norm_eps": 1e-5},
        **{"max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "sliding_window": 262144},
        **{"embd_pdrop": 0.0, "resid_pdrop": 0.0, "rope_theta": 10000.0, "attention_bias": False},
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48},
    }
    assert count(describe(config)).parameters == 3_821_079_552  # Phi 3 mini 128k
