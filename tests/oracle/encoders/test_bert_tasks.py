"""BERT and ELECTRA fine-tuned for a task, with narrow embeddings, and the multilingual BERT's size."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import SettingsError
from nextword.models.base import Batch
from nextword.models.count import count, describe
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
CONFIGS = {"Bert": transformers.BertConfig, "Electra": transformers.ElectraConfig}
TASKS = ["ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForTokenClassification"]
TASKS += ["ForQuestionAnswering", "Model"]


@st.composite
def keys(draw: st.DrawFn, stem: str, task: str) -> dict[str, Any]:
    heads = draw(st.integers(1, 3))
    found = {
        **{"hidden_size": heads * draw(st.integers(2, 6)), "num_attention_heads": heads, "num_hidden_layers": 2},
        "intermediate_size": draw(st.integers(3, 40)),
        "vocab_size": draw(st.integers(11, 60)),
        "max_position_embeddings": 12,
        "type_vocab_size": draw(st.integers(1, 3)),
        "hidden_act": draw(st.sampled_from(["gelu", "relu", "gelu_new"])),
        "tie_word_embeddings": draw(st.booleans()),
        "num_labels": 2 if task == "ForQuestionAnswering" else draw(st.integers(1, 4)),
    }
    return found | ({"embedding_size": draw(st.integers(2, 18))} if stem == "Electra" else {})


@given(st.data(), st.sampled_from(sorted(CONFIGS)), st.sampled_from(TASKS), st.integers(0, 1000))
@settings(max_examples=16, deadline=None)
def test_same_numbers_and_bytes(encoders: Any, data: Any, stem: str, task: str, seed: int) -> None:
    encoders.agree(stem, task, CONFIGS[stem](**data.draw(keys(stem, task))), seed)


def test_next_sentence_alone(encoders: Any) -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 9}
    encoders.agree("Bert", "ForNextSentencePrediction", transformers.BertConfig(**sizes, vocab_size=20), 1)


def test_fresh_electra(encoders: Any) -> None:
    model = encoders.fresh(ModelSettings(family="electra", width=12, depth=1, heads=3), "ElectraForPreTraining")
    with pytest.raises(SettingsError, match="no scores over the vocabulary: it has replaced_token instead"):
        model.score(Batch(encoders.parity.ids(9, 1, 4, 0)), encoders.parity.ids(9, 1, 4, 0))


def test_the_multilingual_bert_has_177_853_440_numbers() -> None:
    config = transformers.BertConfig(vocab_size=119547)  # bert-base-multilingual-cased, the body alone
    saved = json.loads(config.to_json_string())
    assert count(describe({**saved, "architectures": ["BertModel"]})).parameters == 177_853_440
