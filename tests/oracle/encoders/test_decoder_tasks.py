"""Decoders that judge texts and tokens, and bare ones, are transformers': scores, padded rows, files byte for byte."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword as nw
from nextword.core.errors import CheckpointError, SettingsError
from nextword.engine.plans import decoder
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model, save_model
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
OLD = {"n_embd": 12, "n_head": 3, "n_layer": 2, "n_positions": 16}
NEW = {
    **{"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 32},
}
MIDDLE = "intermediate_size"
PLAIN = {key: value for key, value in NEW.items() if key not in {"num_key_value_heads", "head_dim"}}
SIZES: dict[str, dict[str, Any]] = {
    "GPT2": OLD,
    "OpenAIGPT": OLD,
    "GPTNeo": {
        **{"hidden_size": 12, "num_heads": 3, "num_layers": 2, "max_position_embeddings": 32, "window_size": 3},
        "attention_types": [[["global", "local"], 1]],
    },
    "GPTJ": OLD | {"n_embd": 16, "n_head": 2, "rotary_dim": 4},
    "GPTNeoX": PLAIN,
    "OPT": {"ffn_dim": 20, "word_embed_proj_dim": 16, **{key: PLAIN[key] for key in PLAIN if key != MIDDLE}},
    "Bloom": {"hidden_size": 16, "n_head": 2, "n_layer": 2},
    "Falcon": {key: PLAIN[key] for key in PLAIN if key != MIDDLE},
    "Phi": PLAIN,
    "Llama": NEW,
    "Mistral": NEW | {"sliding_window": 4},
    "Qwen2": NEW,
    "Qwen3": NEW,
    "Gemma": NEW,
    "Gemma2": NEW,
    "Gemma3Text": NEW,
    "Olmo": PLAIN,
    "Olmo2": PLAIN,
    "Olmo3": PLAIN,
    "Phi3": PLAIN,
    "SmolLM3": NEW,
}
FURTHER = ["GPT2", "GPTNeo", "GPTNeoX", "Bloom", "Falcon", "Llama", "Qwen3", "Mistral"]
TEXTS = ["the cat sat on the mat", "a dog ran in the park by the red house", "my red hat is on the bed"]


def config(stem: str, **own: Any) -> Any:
    kind = getattr(transformers, f"{stem}Config")
    return kind(**{"vocab_size": 40, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2} | SIZES[stem] | own)


@pytest.mark.parametrize("stem", SIZES)
def test_classes_of_texts(encoders: Any, stem: str) -> None:
    """Half of them are reward models, with a single score."""
    labels = 1 if len(stem) % 2 else 3
    encoders.agree(stem, "ForSequenceClassification", config(stem, num_labels=labels), len(stem))


@pytest.mark.parametrize("task", ["ForTokenClassification", "ForQuestionAnswering"])
@pytest.mark.parametrize("stem", FURTHER)
def test_classes_of_tokens_and_answers(encoders: Any, stem: str, task: str) -> None:
    encoders.agree(stem, task, config(stem, num_labels=2 if task.endswith("Answering") else 3), 5)


def test_classes_of_tokens_without_a_bias(encoders: Any) -> None:
    own = {"token_classification_bias": False, "classifier_dropout": 0.3, "num_labels": 3}
    encoders.agree("Llama", "ForTokenClassification", config("Llama", **own), 5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stem", ["GPT2", "OPT", "GPTNeoX", "Phi", "Qwen3", "Gemma2"])
def test_a_body_alone(parity: Any, stem: str, tied: bool) -> None:
    """It gives its vectors; where its output is its embedding, it writes as well."""
    theirs = parity.drawn(getattr(transformers, f"{stem}Model")(config(stem, tie_word_embeddings=tied)), 4)
    batch = Batch(parity.ids(40, 2, 9, 2))
    with torch.no_grad():
        wanted = theirs(batch.ids_BT).last_hidden_state

    def check(ours: Any) -> None:
        with torch.no_grad():
            parity.same(ours.hidden(batch).hidden_BTD, wanted)
        assert ours.settings.output == (tied and stem != "Phi")  # whose output has a bias of its own

    parity.round_trip(theirs, check)


def test_a_body_whose_config_speaks_of_writing(parity: Any, tmp_path: Path) -> None:
    """As models for embeddings are published: bare names, and no output though it is not the embedding."""
    theirs = parity.drawn(transformers.Qwen3Model(config("Qwen3", tie_word_embeddings=False)), 4)
    theirs.save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["Qwen3ForCausalLM"]}))
    ours, batch = load_model(tmp_path / "theirs"), Batch(parity.ids(40, 2, 9, 2))
    with torch.no_grad():
        parity.same(ours.hidden(batch).hidden_BTD, theirs(batch.ids_BT).last_hidden_state)
    assert ours.config["architectures"] == ["Qwen3Model"]
    with pytest.raises(SettingsError, match="no scores over the vocabulary"):
        ours.logits(torch.zeros(1, 16))
    save_model(ours, tmp_path / "ours")
    back = transformers.AutoModel.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        assert torch.equal(back(batch.ids_BT).last_hidden_state, theirs(batch.ids_BT).last_hidden_state)


@torch.no_grad()
def test_the_last_token_that_is_no_padding(parity: Any) -> None:
    """A text may end with the padding's id, where that ends texts, too: the token before it is judged."""
    theirs = parity.drawn(transformers.LlamaForSequenceClassification(config("Llama", num_labels=2)), 4)
    ours = parity.ours_of(theirs)
    for row in ([5, 6, 7, 3], [5, 3, 6, 3, 3], [9], [3, 3, 5]):
        batch = Batch(torch.tensor([row]))
        parity.same(ours.heads["sequence"](ours.hidden(batch).hidden_BTD, batch), theirs(batch.ids_BT).logits)
    theirs.config.pad_token_id = None
    unpadded = parity.ours_of(theirs)
    batch = Batch(torch.tensor([[5, 6, 3]]))
    parity.same(unpadded.heads["sequence"](unpadded.hidden(batch).hidden_BTD, batch), theirs(batch.ids_BT).logits)


@pytest.fixture(scope="module")
def words() -> Any:
    return train(TokenizerSettings(vocab_size=280, min_frequency=1), TEXTS)


@torch.no_grad()
def test_a_reward_and_classes_by_name(encoders: Any, words: Any, tmp_path: Path) -> None:
    own = {"vocab_size": words.vocab_size, "pad_token_id": words.pad_id}
    for folder, labels in (("reward", {0: "reward"}), ("classes", {0: "bad", 1: "good", 2: "neither"})):
        kind = config("Llama", id2label=labels, num_labels=len(labels), **own)
        theirs = encoders.drawn("Llama", "ForSequenceClassification", kind, 3)
        theirs.save_pretrained(tmp_path / folder)
        words.save(tmp_path / folder)
        lm = nw.load(tmp_path / folder)
        found = lm.classify(TEXTS, rows=2)
        for text, said in zip(TEXTS, found, strict=True):
            wanted = theirs(torch.tensor([words.encode(text)])).logits[0]
            assert {one.label: one.score for one in said} == {
                name: pytest.approx(float(wanted[number]), 1e-4, 1e-4) for number, name in labels.items()
            }
            assert (said[0].probability is None) == (folder == "reward")
        with pytest.raises(SettingsError, match="no scores over the vocabulary: it has sequence instead"):
            lm.generate("the cat", max_tokens=3)
        assert not decoder.fits(lm.model)  # else a compiled plan would write with the embedding


@torch.no_grad()
def test_spans_of_a_decoder(encoders: Any, words: Any, tmp_path: Path) -> None:
    kind = config("GPT2", n_positions=64, vocab_size=words.vocab_size, id2label={0: "O", 1: "B-X", 2: "I-X"})
    theirs = encoders.drawn("GPT2", "ForTokenClassification", kind, 3)
    theirs.save_pretrained(tmp_path)
    words.save(tmp_path)
    tags = nw.load(tmp_path).tag(TEXTS[1], grouped=False)
    best = theirs(torch.tensor([words.encode(TEXTS[1])])).logits[0].argmax(-1).tolist()
    assert [one.label for one in tags] == [kind.id2label[number] for number in best]
    assert len(set(best)) > 1


def test_narrow_embeddings_with_a_task_are_refused(tmp_path: Path) -> None:
    theirs = transformers.OPTForSequenceClassification(config("OPT", word_embed_proj_dim=8, do_layer_norm_before=False))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="narrower than its stream"):
        load_model(tmp_path)
