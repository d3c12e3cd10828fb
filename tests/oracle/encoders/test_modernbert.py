"""Our ModernBERT is transformers', whatever it was saved for: random tiny configs, every tensor drawn anew."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError
from nextword.models.count import describe
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
TASKS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]
KINDS = ["full_attention", "sliding_attention"]
ROPES = [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}]


@st.composite
def configs(draw: st.DrawFn, task: str) -> Any:
    heads, depth = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    flags = ["norm_bias", "attention_bias", "mlp_bias", "decoder_bias", "classifier_bias", "tie_word_embeddings"]
    theta = st.sampled_from([50.0, 10_000.0])
    return transformers.ModernBertConfig(
        **{
            "hidden_size": heads * 2 * draw(st.integers(1, 4)),
            "num_attention_heads": heads,
            "num_hidden_layers": depth,
        },
        **{flag: draw(st.booleans()) for flag in flags},
        **{f"{name}_token_id": number for number, name in enumerate(("pad", "bos", "eos", "cls", "sep"))},
        layer_types=[draw(st.sampled_from(KINDS)) for _ in range(depth)],
        rope_parameters={kind: {"rope_theta": draw(theta), **draw(st.sampled_from(ROPES))} for kind in KINDS},
        local_attention=2 * draw(st.integers(1, 5)),
        intermediate_size=draw(st.integers(3, 40)),
        vocab_size=draw(st.integers(11, 60)),
        max_position_embeddings=12,
        hidden_activation=draw(st.sampled_from(["gelu", "relu"])),
        classifier_activation=draw(st.sampled_from(["gelu", "tanh"])),
        classifier_pooling=draw(st.sampled_from(["cls", "mean"])),
        norm_eps=draw(st.sampled_from([1e-5, 1e-2])),
        num_labels=2 if task == "ForQuestionAnswering" else draw(st.integers(1, 4)),
    )


@given(st.data(), st.sampled_from(TASKS), st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_same_numbers_and_bytes(encoders: Any, data: Any, task: str, seed: int) -> None:
    encoders.agree("ModernBert", task, data.draw(configs(task)), seed)


def test_fresh_and_the_older_layout_and_refused(encoders: Any) -> None:
    sizes = ModelSettings(family="modernbert", width=12, depth=4, heads=3, rope_base=500.0, max_length=32)
    model = encoders.fresh(sizes, "ModernBertForMaskedLM", pad_id=0)
    config = {key: value for key, value in model.config.items() if key not in {"layer_types", "rope_parameters"}}
    old = {"global_attn_every_n_layers": 3, "global_rope_theta": 500.0, "local_rope_theta": 10_000.0}
    assert describe(config | old).settings == model.settings
    assert [reach.window for reach in model.reaches] == [None, 65, 65, None]
    for change, said in (
        ({"classifier_pooling": "max"}, "classifier_pooling 'max' is not cls or mean"),
        ({"layer_types": ["full_attention"]}, "layer_types must name one of .* for each of 4 layers"),
        ({"hidden_act": "relu"}, "'hidden_act' = 'relu', which nextword does not know"),
    ):
        with pytest.raises(CheckpointError, match=said):
            describe({**model.config, **change})
