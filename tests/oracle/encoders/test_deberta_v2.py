"""Our DeBERTa is transformers', whatever it was saved for: random tiny configs, every tensor drawn anew."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch
from nextword.models.count import describe
from nextword.models.settings import ModelSettings
from nextword.nn.disentangled import bucket

transformers = pytest.importorskip("transformers")
TASKS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]
WAYS = ["c2p", "p2c", "p2c|c2p"]


@st.composite
def configs(draw: st.DrawFn, task: str) -> Any:
    heads, relative = draw(st.integers(1, 3)), draw(st.booleans()) or draw(st.booleans())
    own = {"relative_attention": False}
    if relative:
        own = {
            **{"relative_attention": True, "pos_att_type": draw(st.sampled_from(WAYS))},
            "share_att_key": draw(st.booleans()),
            "position_buckets": draw(st.sampled_from([-1, 2, 4, 6])),
            "max_relative_positions": draw(st.sampled_from([-1, 5, 8])),
            "norm_rel_ebd": draw(st.sampled_from(["none", "layer_norm"])),
            **{
                "conv_kernel_size": draw(st.sampled_from([0, 1, 3, 5])),
                "conv_act": draw(st.sampled_from(["tanh", "gelu"])),
            },
        }
    return transformers.DebertaV2Config(
        **{"hidden_size": heads * 2 * draw(st.integers(1, 3)), "num_attention_heads": heads, **own},
        num_hidden_layers=draw(st.integers(1, 3)),
        intermediate_size=draw(st.integers(3, 40)),
        vocab_size=draw(st.integers(11, 60)),
        max_position_embeddings=12,
        type_vocab_size=draw(st.integers(0, 2)),
        position_biased_input=draw(st.booleans()),
        hidden_act=draw(st.sampled_from(["gelu", "relu"])),
        pooler_hidden_act=draw(st.sampled_from(["gelu", "tanh"])),
        layer_norm_eps=draw(st.sampled_from([1e-7, 1e-2])),
        legacy=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        num_labels=2 if task == "ForQuestionAnswering" else draw(st.integers(1, 4)),
    )


@given(st.data(), st.sampled_from(TASKS), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_same_numbers_and_bytes(encoders: Any, data: Any, task: str, seed: int) -> None:
    encoders.agree("DebertaV2", task, data.draw(configs(task)), seed)


def test_near_distances_have_a_bucket_each_and_far_ones_share() -> None:
    """Count 8, farthest 17: up to 4 themselves; 4 + ceil(3 · log_4(d/4)) beyond: d = 5, 8, 16 give 5, 6, 7."""
    distances = torch.tensor([0, 1, 4, 5, 8, 9, 16, -3, -8, -16])
    assert bucket(distances, 8, 17).tolist() == [0, 1, 4, 5, 6, 6, 7, -3, -6, -7]


def test_fresh_and_refused(encoders: Any) -> None:
    model = encoders.fresh(ModelSettings(family="deberta-v2", width=12, depth=2, heads=3), "DebertaV2ForMaskedLM")
    for change, said in (
        ({"pos_att_type": "c2p|p2p"}, "pos_att_type 'c2p|p2p' is not made of"),
        ({"embedding_size": 4}, "embedding_size = 4 is not known"),
        ({"conv_kernel_size": 4}, "conv_kernel_size 4 must be odd"),
        ({"max_relative_positions": 5}, "position_buckets 256 must be at least 2, and half of it less than"),
        ({"pos_att_type": None}, "relative_attention without a pos_att_type"),
    ):
        with pytest.raises(CheckpointError, match=said.replace("|", r"\|")):
            describe({**model.config, **change})
    convolved = describe({**model.config, "conv_kernel_size": 3})
    with pytest.raises(SettingsError, match="would mix packed documents"):
        convolved.hidden(Batch(torch.zeros(1, 4, dtype=torch.int64), segments_BT=torch.ones(1, 4, dtype=torch.int64)))
