"""Our DistilBERT is transformers', whatever it was saved for: random tiny configs, every tensor drawn anew."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch
from nextword.models.count import describe
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
TASKS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]


@st.composite
def configs(draw: st.DrawFn, task: str) -> Any:
    heads = draw(st.integers(1, 3))
    return transformers.DistilBertConfig(
        **{"dim": heads * draw(st.integers(2, 6)), "n_heads": heads, "n_layers": draw(st.integers(1, 3))},
        hidden_dim=draw(st.integers(3, 40)),
        vocab_size=draw(st.integers(11, 60)),
        max_position_embeddings=12,
        activation=draw(st.sampled_from(["gelu", "relu"])),
        sinusoidal_pos_embds=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        num_labels=2 if task == "ForQuestionAnswering" else draw(st.integers(1, 4)),
    )


@given(st.data(), st.sampled_from(TASKS), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_same_numbers_and_bytes(encoders: Any, data: Any, task: str, seed: int) -> None:
    encoders.agree("DistilBert", task, data.draw(configs(task)), seed)


def test_fresh_and_refused(encoders: Any) -> None:
    sizes = ModelSettings(family="distilbert", width=12, depth=2, heads=3, max_length=16, dropout=0.1)
    model = encoders.fresh(sizes, "DistilBertForMaskedLM")
    with pytest.raises(SettingsError, match="has no token types"):
        model.hidden(Batch(encoders.parity.ids(9, 1, 4, 0), types_BT=encoders.parity.ids(2, 1, 4, 0)))
    with pytest.raises(CheckpointError, match="'hidden_size' = 4, which nextword does not know for.*'distilbert'"):
        describe({**model.config, "hidden_size": 4})
