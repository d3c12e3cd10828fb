"""Our ALBERT is transformers', whatever it was saved for: random tiny configs, every tensor drawn anew."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError
from nextword.models.count import count, describe
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
TASKS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]


@st.composite
def configs(draw: st.DrawFn, task: str) -> Any:
    heads, depth = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return transformers.AlbertConfig(
        **{"hidden_size": heads * draw(st.integers(2, 6)), "num_attention_heads": heads, "num_hidden_layers": depth},
        num_hidden_groups=draw(st.integers(1, depth)),
        inner_group_num=draw(st.integers(1, 2)),
        embedding_size=draw(st.integers(2, 12)),
        intermediate_size=draw(st.integers(3, 40)),
        vocab_size=draw(st.integers(11, 60)),
        max_position_embeddings=12,
        type_vocab_size=draw(st.integers(1, 3)),
        hidden_act=draw(st.sampled_from(["gelu_new", "gelu", "relu"])),
        layer_norm_eps=draw(st.sampled_from([1e-12, 1e-2])),
        tie_word_embeddings=draw(st.booleans()),
        num_labels=2 if task == "ForQuestionAnswering" else draw(st.integers(1, 4)),
    )


@given(st.data(), st.sampled_from([*TASKS, "ForPreTraining"]), st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_same_numbers_and_bytes(encoders: Any, data: Any, task: str, seed: int) -> None:
    encoders.agree("Albert", task, data.draw(configs(task)), seed)


def test_a_shared_layer_is_stored_once_and_paid_for_each_time(encoders: Any) -> None:
    sizes = ModelSettings(family="albert", width=12, depth=6, heads=3, max_length=16)
    model = encoders.fresh(sizes, "AlbertForPreTraining", pad_id=0)
    assert len(model.blocks) == 1
    deeper = describe({**model.config, "num_hidden_layers": 12})
    assert count(deeper).parameters == count(model).parameters
    per_layer = 4 * 12 * 12 + 2 * 12 * 48
    assert deeper.costs().matrices - model.costs().matrices == 6 * per_layer
    with pytest.raises(CheckpointError, match="num_hidden_groups 7 is more than num_hidden_layers 6"):
        describe({**model.config, "num_hidden_groups": 7})


def test_the_published_base_has_eleven_point_seven_million_numbers() -> None:
    config = transformers.AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072)
    saved = json.loads(config.to_json_string())
    assert count(describe({**saved, "architectures": ["AlbertModel"]})).parameters == 11_683_584
