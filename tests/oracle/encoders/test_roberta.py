"""Our RoBERTa and XLM-RoBERTa are transformers', whatever they were saved for: random tiny configs, drawn anew."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch
from nextword.models.count import describe
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
STEMS = {"Roberta": transformers.RobertaConfig, "XLMRoberta": transformers.XLMRobertaConfig}
TASKS = ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "Model"]


@st.composite
def keys(draw: st.DrawFn, task: str) -> dict[str, Any]:
    heads, pad_id = draw(st.integers(1, 3)), draw(st.integers(0, 4))
    return {
        **{"hidden_size": heads * draw(st.integers(2, 6)), "num_attention_heads": heads, "pad_token_id": pad_id},
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(3, 40)),
        "vocab_size": draw(st.integers(11, 60)),
        "max_position_embeddings": 10 + pad_id,
        "hidden_act": draw(st.sampled_from(["gelu", "gelu_new", "relu"])),
        "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-5, 1e-2])),
        "type_vocab_size": draw(st.integers(1, 2)),
        "tie_word_embeddings": draw(st.booleans()),
        "num_labels": 2 if task == "ForQuestionAnswering" else draw(st.integers(1, 4)),
    }


@given(st.data(), st.sampled_from(sorted(STEMS)), st.sampled_from(TASKS), st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_same_numbers_and_bytes(encoders: Any, data: Any, stem: str, task: str, seed: int) -> None:
    encoders.agree(stem, task, STEMS[stem](**data.draw(keys(task))), seed)


def test_positions_begin_behind_the_padding(parity: Any, encoders: Any) -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 9}
    config = transformers.RobertaConfig(**sizes, vocab_size=20, max_position_embeddings=12, pad_token_id=3)
    ours = parity.ours_of(encoders.drawn("Roberta", "ForMaskedLM", config, 1))
    assert ours.max_length == 8
    with pytest.raises(SettingsError, match="has 9 tokens, the model has positions for 8"):
        ours.hidden(Batch(parity.ids(20, 1, 9, 1)))
    with pytest.raises(CheckpointError, match="pad_token_id must be an id, received None"):
        describe({**ours.config, "pad_token_id": None})
    with pytest.raises(CheckpointError, match="'rotary' = True, which nextword does not know for model_type 'roberta'"):
        describe({**ours.config, "rotary": True})
    with pytest.raises(CheckpointError, match="id2label must name the classes 0, 1, 2"):
        describe({**ours.config, "architectures": ["RobertaForTokenClassification"], "id2label": {"1": "A", "2": "B"}})


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_a_fresh_model_opens_in_transformers(encoders: Any, stem: str) -> None:
    family = {"Roberta": "roberta", "XLMRoberta": "xlm-roberta"}[stem]
    sizes = ModelSettings(family=family, width=12, depth=2, heads=3, ffn_width=20, max_length=16, tied=False)
    assert encoders.fresh(sizes, f"{stem}ForMaskedLM", pad_id=2).max_length == 16
