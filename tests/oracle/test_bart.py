"""Our BART, mBART and Marian are transformers': random tiny configs, every tensor drawn anew, greedy text the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nextword as nw
from nextword.assembly.folder import beginning
from nextword.core.errors import CheckpointError, SettingsError
from nextword.decode.settings import SamplingSettings
from nextword.models.base import Batch, pad
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

transformers = pytest.importorskip("transformers")
KINDS = {"bart": "BartForConditionalGeneration", "mbart": "MBartForConditionalGeneration", "marian": "MarianMTModel"}
TEXTS = ["the cat sat on the mat", "a dog ran in the park by the red house", "my red hat is on the bed"]
HALVES = ("encoder", "decoder")
IDS = {
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}


def model(parity: Any, kind: str, seed: int, **sizes: Any) -> Any:
    theirs = getattr(transformers, KINDS[kind])
    theirs = parity.drawn(theirs(theirs.config_class(**(IDS | sizes))), seed, std=0.4)
    with torch.no_grad():
        theirs.final_logits_bias.normal_(0, 1, generator=torch.Generator().manual_seed(seed))
        for half in (theirs.model.encoder, theirs.model.decoder):
            half.embed_tokens.weight.copy_(theirs.model.shared.weight)
            if kind == "marian":  # waves, which are in no file
                half.embed_positions.weight.copy_(half.embed_positions.create_weight())
    return theirs


def small(**more: Any) -> dict[str, Any]:
    sizes = {f"{half}_{name}": size for half in HALVES for name, size in (("layers", 2), ("attention_heads", 2))}
    sizes |= {"encoder_ffn_dim": 17, "decoder_ffn_dim": 11, "d_model": 12, "vocab_size": 30}
    return sizes | {"max_position_embeddings": 32} | more


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for half in HALVES:
        sizes |= {f"{half}_layers": draw(st.integers(1, 2)), f"{half}_attention_heads": draw(st.integers(1, 3))}
        sizes[f"{half}_ffn_dim"] = draw(st.integers(3, 20))
    return sizes | {
        "d_model": 6 * draw(st.integers(1, 3)),
        "vocab_size": draw(st.integers(11, 40)),
        "max_position_embeddings": draw(st.integers(16, 40)),
        "scale_embedding": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
        "activation_function": draw(st.sampled_from(["gelu", "relu", "swish", "silu", "gelu_new", "tanh"])),
    }


@pytest.mark.parametrize("kind", KINDS)
@given(configs(), st.integers(0, 1000), st.integers(1, 2), st.integers(1, 16), st.integers(1, 16))
@settings(max_examples=8, deadline=None)
def test_same_logits_and_same_bytes(
    kind: str, parity: Any, sizes: dict[str, Any], seed: int, rows: int, source_time: int, time: int
) -> None:
    theirs = model(parity, kind, seed, **sizes)
    source_BS, ids_BT = (parity.ids(sizes["vocab_size"], rows, size, seed) for size in (source_time, time))
    with torch.no_grad():
        wanted = theirs(input_ids=source_BS, decoder_input_ids=ids_BT).logits
    batch = Batch(ids_BT, source=Batch(source_BS))
    parity.round_trip(theirs, lambda ours: parity.same(parity.logits_BTV(ours, batch), wanted))


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_and_padded_rows_are_the_same(kind: str, parity: Any) -> None:
    theirs = model(parity, kind, 6, **small())
    theirs.generation_config.eos_token_id = None
    theirs.generation_config.bad_words_ids = None
    ours, source = parity.ours_of(theirs), pad([[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]])
    wanted = theirs.generate(
        source.ids_BT, attention_mask=source.mask_BT.long(), max_new_tokens=12, do_sample=False, pad_token_id=0
    )
    state, batch, text_BT = ours.start(2, 4), Batch(torch.full((2, 1), 2), source=source), []
    with torch.no_grad():
        for _ in range(12):
            out = ours.hidden(batch, state)
            state, batch = out.state, Batch(ours.logits(out.hidden_BTD[:, -1]).argmax(-1, keepdim=True))
            text_BT.append(batch.ids_BT)
    assert torch.cat(text_BT, 1).tolist() == wanted[:, 1:].tolist()
    sources, rows = [[5, 6, 7, 8, 9], [10], [11, 12, 13]], [[2, 4], [2, 3, 7, 5, 6], [2]]
    batch = pad(rows)
    padded = parity.logits_BTV(ours, Batch(batch.ids_BT, batch.mask_BT, source=pad(sources)))
    with torch.no_grad():
        for found, source_S, row in zip(padded, sources, rows, strict=True):
            alone = theirs(input_ids=torch.tensor([source_S]), decoder_input_ids=torch.tensor([row])).logits[0]
            parity.same(found[: len(row)], alone)


@pytest.mark.parametrize(("kind", "forced"), [("bart", 7), ("mbart", 9), ("marian", None)])
def test_a_text_about_a_source_begins_as_the_folder_says(
    kind: str, forced: int | None, parity: Any, tmp_path: Path
) -> None:
    """transformers 5 keeps the forced token beside config.json, older ones in it; both write the same text."""
    words = train(TokenizerSettings(vocab_size=360, min_frequency=1, purpose="t5"), TEXTS)
    ends = {"eos_token_id": words.eos_id, "pad_token_id": words.pad_id, "decoder_start_token_id": words.eos_id}
    theirs = model(parity, kind, 8, **small(vocab_size=words.vocab_size, max_position_embeddings=64) | ends)
    theirs.generation_config.forced_bos_token_id = forced
    theirs.generation_config.bad_words_ids = None
    theirs.save_pretrained(tmp_path / "new")
    words.save(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    (tmp_path / "old" / "generation_config.json").unlink()
    file = tmp_path / "old" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"forced_bos_token_id": forced}))
    for text in TEXTS:
        source = torch.tensor([[*words.encode(text), words.eos_id]])
        seen = torch.ones_like(source)
        wanted = theirs.generate(source, attention_mask=seen, max_new_tokens=12, do_sample=False)[0].tolist()
        for folder in ("new", "old"):
            lm = nw.load(tmp_path / folder)
            sampling = SamplingSettings(temperature=0, max_tokens=12 - (forced is not None))
            (found,) = lm.continuations([text], sampling)
            end = [words.eos_id] if found.reason == "eos" else []
            assert [*found.prompt_ids, *found.ids, *end] == wanted, folder
            assert found.prompt_ids[1:] == (() if forced is None else (forced,))


@torch.no_grad()
@pytest.mark.parametrize("text", ["the [MASK] sat on the mat", "a [MASK] ran in the [MASK] by the house"])
def test_masks_are_filled_as_documented(text: str, parity: Any, tmp_path: Path) -> None:
    """transformers' example: the source goes in, and the decoder's scores at the mask's place are read."""
    words = train(TokenizerSettings(kind="wordpiece", vocab_size=60, min_frequency=1, purpose="bert"), TEXTS)
    theirs = model(parity, "bart", 8, **small(vocab_size=words.vocab_size, pad_token_id=words.pad_id))
    theirs.save_pretrained(tmp_path)
    words.save(tmp_path)
    parts = [words.encode(part) for part in text.split("[MASK]")]
    ids = [words.cls_id, *parts[0]]
    for part in parts[1:]:
        ids += [words.mask_id, *part]
    ids.append(words.sep_id)
    scores = theirs(torch.tensor([ids])).logits[0].softmax(-1)
    filled = nw.load(tmp_path).fill(text, top=4)
    places = [place for place, number in enumerate(ids) if number == words.mask_id]
    assert len(filled.gaps) == len(places) == text.count("[MASK]")
    for gap, place in zip(filled.gaps, places, strict=True):
        best = scores[place].topk(4)
        assert [one.ids for one in gap] == [(number,) for number in best.indices.tolist()]
        assert [one.probability for one in gap] == pytest.approx(best.values.tolist(), 1e-4)


@pytest.mark.parametrize("forced", [-1, "fr", True])
def test_a_first_token_that_is_none_is_refused(forced: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"forced_bos_token_id": forced}))
    with pytest.raises(CheckpointError, match="'forced_bos_token_id' must be the id of a token"):
        beginning(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_model_opens_in_transformers_and_agrees(kind: str, parity: Any, tmp_path: Path) -> None:
    sizes = ModelSettings(family=kind, width=48, depth=2, heads=4, ffn_width=50, max_length=32)
    ours = parity.drawn(create(sizes, 70, seed=5, eos_id=3, pad_id=2), 5, std=0.3)
    save_model(ours, tmp_path)
    theirs, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert theirs.config.decoder_start_token_id == 2 and theirs.config.eos_token_id == 3
    ids_BT = torch.arange(40).view(2, 20)
    with torch.no_grad():
        wanted = theirs(input_ids=ids_BT, decoder_input_ids=ids_BT[:, :7]).logits
    parity.same(parity.logits_BTV(ours, Batch(ids_BT[:, :7], source=Batch(ids_BT))), wanted)


def test_the_bare_bart_that_was_published_has_the_embedding_for_its_output(parity: Any) -> None:
    theirs = model(parity, "bart", 3, **small(scale_embedding=True)).model
    source_BS, ids_BT = parity.ids(30, 2, 9, 1), parity.ids(30, 2, 6, 2)
    with torch.no_grad():
        wanted = theirs(input_ids=source_BS, decoder_input_ids=ids_BT).last_hidden_state @ theirs.shared.weight.T
    batch = Batch(ids_BT, source=Batch(source_BS))
    parity.round_trip(theirs, lambda ours: parity.same(parity.logits_BTV(ours, batch), wanted))


def test_a_text_beyond_the_positions_is_refused(parity: Any) -> None:
    ours, ids_BT = parity.ours_of(model(parity, "mbart", 1, **small())), torch.ones(1, 33, dtype=torch.int64)
    for batch in (Batch(ids_BT, source=Batch(ids_BT[:, :3])), Batch(ids_BT[:, :3], source=Batch(ids_BT))):
        with pytest.raises(SettingsError, match="33 tokens, the model has positions for 32"):
            ours.hidden(batch)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("bart", {"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'bart'"),
        ("bart", {"encoder_layerdrop": 0.1}, "encoder_layerdrop = 0.1 is not known"),
        ("bart", {"normalize_before": True}, "normalize_before = True is not known"),
        ("bart", {"num_hidden_layers": 5}, "num_hidden_layers = 5 is not known"),
        ("bart", {"architectures": ["BartForSequenceClassification"]}, "architectures 'BartForSequenceClassification'"),
        ("mbart", {"static_position_embeddings": True}, "static_position_embeddings = True is not known"),
        ("mbart", {"decoder_attention_heads": 5}, "decoder_attention_heads 5 must divide d_model 12"),
        ("marian", {"decoder_vocab_size": 31}, "decoder_vocab_size = 31 is not known"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings = False"),
        ("marian", {"activation_function": "swich"}, "did you mean 'swish'"),
    ],
)
def test_what_would_change_numbers_is_refused(kind: str, change: Any, said: str, parity: Any, tmp_path: Path) -> None:
    model(parity, kind, 1, **small()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=said):
        load_model(tmp_path)
