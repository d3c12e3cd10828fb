"""Our BERT is transformers' BERT, with both its heads: random tiny configs, every tensor drawn anew."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch, pad
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
LENGTH = 16
BIAS, DECODER = "cls.predictions.bias", "cls.predictions.decoder"


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads = draw(st.integers(1, 4))
    return transformers.BertConfig(
        **{"hidden_size": heads * draw(st.integers(2, 7)), "num_attention_heads": heads},
        num_hidden_layers=draw(st.integers(1, 3)),
        intermediate_size=draw(st.integers(3, 40)),
        vocab_size=draw(st.integers(11, 60)),
        max_position_embeddings=LENGTH,
        hidden_act=draw(st.sampled_from(["gelu", "gelu_new", "relu", "silu"])),
        layer_norm_eps=draw(st.sampled_from([1e-12, 1e-5, 1e-2])),
        type_vocab_size=draw(st.integers(1, 3)),
        tie_word_embeddings=draw(st.booleans()),
    )


def drawn(parity: Any, config: Any, seed: int, kind: str = "BertForPreTraining") -> Any:
    theirs = parity.drawn(getattr(transformers, kind)(config), seed)
    with torch.no_grad():  # one bias under two names, in untied models too
        theirs.cls.predictions.bias.copy_(theirs.cls.predictions.decoder.bias)
    return theirs


@given(configs(), st.integers(0, 1000), st.integers(1, 2), st.integers(1, LENGTH))
@settings(max_examples=20, deadline=None)
def test_both_heads_and_same_bytes(parity: Any, config: Any, seed: int, rows: int, time: int) -> None:
    theirs = drawn(parity, config, seed)
    ids_BT = parity.ids(config.vocab_size, rows, time, seed)
    types_BT = parity.ids(config.type_vocab_size, rows, time, seed + 1)
    with torch.no_grad():
        wanted = theirs(ids_BT, token_type_ids=types_BT)

    def check(ours: Any) -> None:
        batch = Batch(ids_BT, types_BT=types_BT)
        parity.same(parity.logits_BTV(ours, batch), wanted.prediction_logits)
        with torch.no_grad():
            parity.same(ours.heads.next_sentence(ours.hidden(batch).hidden_BTD, batch), wanted.seq_relationship_logits)

    parity.round_trip(theirs, check)


@given(configs(), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_masked_tokens_alone(parity: Any, config: Any, seed: int) -> None:
    theirs = drawn(parity, config, seed, "BertForMaskedLM")
    ids_BT = parity.ids(config.vocab_size, 2, 9, seed)
    with torch.no_grad():
        wanted = theirs(ids_BT).logits
    parity.round_trip(theirs, lambda ours: parity.same(parity.logits_BTV(ours, Batch(ids_BT)), wanted))


@pytest.mark.parametrize(("activation", "tied"), [("gelu", True), ("relu", False)])
def test_gradients_are_the_same(parity: Any, activation: str, tied: bool) -> None:
    config = small()
    config.hidden_act, config.tie_word_embeddings = activation, tied
    theirs = drawn(parity, config, 3)
    ours = parity.ours_of(theirs)
    ids_BT, labels_BT = parity.ids(30, 2, 9, 1).clamp(min=1), parity.ids(30, 2, 9, 2)  # theirs trains no padding
    labels_BT[:, ::2] = -100
    follows_B = torch.tensor([0, 1])
    theirs(ids_BT, labels=labels_BT, next_sentence_label=follows_B).loss.backward()
    masked = -ours.score(Batch(ids_BT), labels_BT).sum() / (labels_BT != -100).sum()
    judged = ours.heads.next_sentence(ours.hidden(Batch(ids_BT)).hidden_BTD, Batch(ids_BT))
    (masked + torch.nn.functional.cross_entropy(judged, follows_B)).backward()
    layer, block = theirs.bert.encoder.layer[0], ours.blocks[0]
    pairs = [
        (ours.embedding.weight, theirs.bert.embeddings.word_embeddings.weight),
        (ours.embedding.types.weight, theirs.bert.embeddings.token_type_embeddings.weight),
        (block.attention.key.weight, layer.attention.self.key.weight),
        (block.attention_norm.weight, layer.attention.output.LayerNorm.weight),
        (block.feedforward.down.weight, layer.output.dense.weight),
        (ours.head.prepare.dense.weight, theirs.cls.predictions.transform.dense.weight),
        (ours.head.bias, theirs.cls.predictions.decoder.bias),
        (ours.heads.next_sentence.prepare.dense.weight, theirs.bert.pooler.dense.weight),
    ]
    for mine, other in pairs:
        assert (mine.grad - other.grad).abs().max() <= 2e-4 * other.grad.abs().max() + 1e-7


def small() -> Any:
    return transformers.BertConfig(
        **{"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20},
        **{"vocab_size": 30, "max_position_embeddings": LENGTH},
    )


def test_padded_rows_agree_with_theirs(parity: Any) -> None:
    theirs = drawn(parity, small(), 3)
    rows = [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10, 11, 12]]
    batch = pad(rows)
    padded = parity.logits_BTV(parity.ours_of(theirs), batch)
    with torch.no_grad():
        theirs_padded = theirs(batch.ids_BT, attention_mask=batch.mask_BT.long()).prediction_logits
        for found, other, row in zip(padded, theirs_padded, rows, strict=True):
            parity.same(found[: len(row)], theirs(torch.tensor([row])).prediction_logits[0])
            parity.same(found[: len(row)], other[: len(row)])


def test_google_s_own_names_are_read(parity: Any, tmp_path: Path) -> None:
    theirs = drawn(parity, small(), 3)
    theirs.save_pretrained(tmp_path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = load_file(tmp_path / "model.safetensors")
    for name in list(tensors):
        for today, then in old.items():
            if name.endswith(today):
                tensors[name.removesuffix(today) + then] = tensors.pop(name)
    tensors["bert.embeddings.position_ids"] = torch.arange(LENGTH)[None]
    tensors[f"{DECODER}.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    ids_BT = parity.ids(30, 1, 9, 0)
    with torch.no_grad():
        parity.same(parity.logits_BTV(load_model(tmp_path), Batch(ids_BT)), theirs(ids_BT).prediction_logits)


@pytest.mark.parametrize("next_sentence", [None, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_fresh_model_opens_in_transformers_and_agrees(
    parity: Any, tied: bool, next_sentence: bool | None, tmp_path: Path
) -> None:
    sizes = ModelSettings(
        family="bert", width=48, depth=2, heads=4, ffn_width=50, norm_eps=1e-3, tied=tied, next_sentence=next_sentence
    )
    model = parity.drawn(create(sizes, 70, seed=5, pad_id=3), 5)
    save_model(model, tmp_path)
    kind = transformers.BertForMaskedLM if next_sentence is False else transformers.BertForPreTraining
    theirs, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids_BT = torch.arange(40).view(2, 20)
    with torch.no_grad():
        found = theirs(ids_BT)
    wanted = found.logits if next_sentence is False else found.prediction_logits
    parity.same(parity.logits_BTV(model, Batch(ids_BT)), wanted)


def test_an_encoder_continues_nothing(parity: Any) -> None:
    ours = parity.ours_of(drawn(parity, small(), 1))
    assert ours.kind == "encoder"
    with pytest.raises(SettingsError, match="cannot continue"):
        ours.start(1, 5)
    with pytest.raises(SettingsError, match="has 17 tokens, the model has positions for 16"):
        ours.hidden(Batch(torch.zeros(1, 17, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"is_decoder": True}, "is_decoder = True is not known to model_type 'bert'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ({"embedding_size": 4}, "'embedding_size' = 4, which nextword does not know"),
        ({"architectures": ["BertForMultipleChoice"]}, "'BertForMultipleChoice' is not known.*known: BertForMaskedLM"),
    ],
)
def test_what_would_change_numbers_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    transformers.BertForPreTraining(small()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=said):
        load_model(tmp_path)


def test_two_biases_that_differ_are_refused(parity: Any, tmp_path: Path) -> None:
    config = small()
    config.tie_word_embeddings = False
    parity.drawn(transformers.BertForMaskedLM(config), 1).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="differ: they are one bias"):
        load_model(tmp_path)
