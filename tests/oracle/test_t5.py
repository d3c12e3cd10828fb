"""Our T5 is transformers' T5: random tiny configs, every tensor drawn anew; and what it generates is the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.base import Batch, pad
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")


@st.composite
def configs(draw: st.DrawFn) -> Any:
    return transformers.T5Config(
        d_model=draw(st.integers(3, 24)),
        d_kv=draw(st.integers(2, 8)),
        d_ff=draw(st.integers(3, 40)),
        num_layers=draw(st.integers(1, 3)),
        num_decoder_layers=draw(st.integers(1, 3)),
        num_heads=draw(st.integers(1, 4)),
        vocab_size=draw(st.integers(11, 60)),
        relative_attention_num_buckets=draw(st.sampled_from([8, 12, 32])),
        relative_attention_max_distance=draw(st.sampled_from([20, 40, 128])),
        layer_norm_epsilon=draw(st.sampled_from([1e-6, 1e-2])),
        feed_forward_proj=draw(st.sampled_from(["relu", "gated-gelu", "gated-silu", "gelu"])),
        tie_word_embeddings=draw(st.sampled_from([None, True, False])),  # False: tied all the same, but not scaled
        decoder_start_token_id=0,
    )


def model(parity: Any, config: Any, seed: int) -> Any:
    return parity.drawn(transformers.T5ForConditionalGeneration(config), seed, std=0.3)


@given(configs(), st.integers(0, 1000), st.integers(1, 2), st.integers(1, 40), st.integers(1, 24))
@settings(max_examples=20, deadline=None)
def test_same_logits_and_same_bytes(
    parity: Any, config: Any, seed: int, rows: int, source_time: int, time: int
) -> None:
    theirs = model(parity, config, seed)
    source_BS, ids_BT = (parity.ids(config.vocab_size, rows, size, seed) for size in (source_time, time))
    with torch.no_grad():
        wanted = theirs(input_ids=source_BS, decoder_input_ids=ids_BT).logits
    batch = Batch(ids_BT, source=Batch(source_BS))
    parity.round_trip(theirs, lambda ours: parity.same(parity.logits_BTV(ours, batch), wanted))


def small(**more: Any) -> Any:
    return transformers.T5Config(
        **{"d_model": 12, "d_kv": 5, "d_ff": 20, "num_layers": 2, "num_heads": 3, "vocab_size": 30},
        **{"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16, "decoder_start_token_id": 0},
        **more,
    )


def test_an_output_of_its_own_is_read_unscaled_and_written_so_that_theirs_agrees(parity: Any, tmp_path: Path) -> None:
    """T5 1.1 and FLAN-T5: lm_head beside the embedding, `tie_word_embeddings` false."""
    theirs = model(parity, small(feed_forward_proj="gated-gelu", tie_word_embeddings=False), 4)
    theirs.lm_head.weight = torch.nn.Parameter(torch.randn(30, 12, generator=torch.Generator().manual_seed(1)))
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match="'lm_head.weight' differs from 'shared.weight'.*set tie_word_embeddings"):
        load_model(tmp_path / "theirs")
    file = tmp_path / "theirs" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": False}))
    ours = load_model(tmp_path / "theirs")
    source_BS, ids_BT = parity.ids(30, 2, 9, 1), parity.ids(30, 2, 6, 2)
    with torch.no_grad():
        wanted = theirs(input_ids=source_BS, decoder_input_ids=ids_BT).logits
    parity.same(parity.logits_BTV(ours, Batch(ids_BT, source=Batch(source_BS))), wanted)
    save_model(ours, tmp_path / "ours")
    back = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        assert torch.equal(back(input_ids=source_BS, decoder_input_ids=ids_BT).logits, wanted)


@pytest.mark.parametrize("projection", ["relu", "gated-gelu"])
def test_greedy_text_with_padded_sources_and_gradients_are_the_same(parity: Any, projection: str) -> None:
    theirs = model(parity, small(feed_forward_proj=projection), 6)
    theirs.generation_config.eos_token_id = None
    ours, source = parity.ours_of(theirs), pad([[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]])
    wanted = theirs.generate(
        source.ids_BT, attention_mask=source.mask_BT.long(), max_new_tokens=20, do_sample=False, pad_token_id=0
    )
    state, batch, text_BT = ours.start(2, 4), Batch(torch.zeros(2, 1, dtype=torch.int64), source=source), []
    with torch.no_grad():
        for _ in range(20):
            out = ours.hidden(batch, state)
            state, batch = out.state, Batch(ours.logits(out.hidden_BTD[:, -1]).argmax(-1, keepdim=True))
            text_BT.append(batch.ids_BT)
    assert torch.cat(text_BT, 1).tolist() == wanted[:, 1:].tolist()
    source_BS, ids_BT, labels_BT = parity.ids(30, 2, 9, 1), parity.ids(30, 2, 6, 2), parity.ids(30, 2, 6, 3)
    theirs(input_ids=source_BS, decoder_input_ids=ids_BT, labels=labels_BT).loss.backward()
    (-ours.score(Batch(ids_BT, source=Batch(source_BS)), labels_BT).mean()).backward()
    layers = [stack.block[0].layer for stack in (theirs.encoder, theirs.decoder)]
    pairs = [
        (ours.embedding.weight, theirs.shared.weight),
        (ours.encoder.bias.weight, layers[0][0].SelfAttention.relative_attention_bias.weight),
        (ours.decoder.bias.weight, layers[1][0].SelfAttention.relative_attention_bias.weight),
        (ours.decoder.blocks[0].cross.key.weight, layers[1][1].EncDecAttention.k.weight),
        (ours.encoder.blocks[0].attention.query.weight, layers[0][0].SelfAttention.q.weight),
        (ours.encoder.blocks[0].feedforward.down.weight, layers[0][1].DenseReluDense.wo.weight),
        (ours.decoder.norm.weight, theirs.decoder.final_layer_norm.weight),
    ]
    for mine, other in pairs:
        assert (mine.grad - other.grad).abs().max() <= 2e-4 * other.grad.abs().max() + 1e-7


def test_padded_rows_agree_with_theirs_one_by_one(parity: Any) -> None:
    theirs = model(parity, small(), 3)
    sources, rows = [[5, 6, 7, 8, 9], [10], [11, 12, 13]], [[0, 4], [0, 3, 2, 5, 6], [0]]
    batch = pad(rows)
    padded = parity.logits_BTV(parity.ours_of(theirs), Batch(batch.ids_BT, batch.mask_BT, source=pad(sources)))
    with torch.no_grad():
        for found, source, row in zip(padded, sources, rows, strict=True):
            alone = theirs(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([row])).logits[0]
            parity.same(found[: len(row)], alone)


@pytest.mark.parametrize("tied", [True, False])
def test_a_fresh_model_opens_in_transformers_and_agrees(parity: Any, tied: bool, tmp_path: Path) -> None:
    sizes = ModelSettings(family="t5", width=48, depth=2, heads=4, head_width=7, ffn_width=50, norm_eps=1e-3, tied=tied)
    ours = parity.drawn(create(sizes, 70, seed=5, eos_id=3, pad_id=2), 5, std=0.3)
    save_model(ours, tmp_path)
    theirs, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert theirs.config.decoder_start_token_id == 2 and theirs.config.eos_token_id == 3
    ids_BT = torch.arange(40).view(2, 20)
    with torch.no_grad():
        wanted = theirs(input_ids=ids_BT, decoder_input_ids=ids_BT[:, :7]).logits
    parity.same(parity.logits_BTV(ours, Batch(ids_BT[:, :7], source=Batch(ids_BT))), wanted)


def test_a_source_is_needed_once(parity: Any) -> None:
    ours, batch = parity.ours_of(model(parity, small(), 1)), Batch(torch.ones(1, 2, dtype=torch.int64))
    with pytest.raises(SettingsError, match="give one"):
        ours.hidden(batch)
    with pytest.raises(SettingsError, match="give one"):
        ours.hidden(batch, ours.start(1, 4))
    both = Batch(batch.ids_BT, source=batch)
    with pytest.raises(SettingsError, match="has read its source"):
        ours.hidden(both, ours.hidden(both, ours.start(1, 4)).state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 't5'"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder = False is not known"),
        ({"feed_forward_proj": "gated-gelo"}, "did you mean 'gelu'"),
        ({"dense_act_fn": "silu"}, "dense_act_fn = 'silu' is not known"),
    ],
)
def test_what_would_change_numbers_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    transformers.T5ForConditionalGeneration(small()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=said):
        load_model(tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_fresh_weights_spread_as_t5_draws_them(tied: bool, tmp_path: Path) -> None:
    ours = create(ModelSettings(family="t5", width=128, depth=2, heads=2, tied=tied), 500, seed=0, eos_id=1, pad_id=0)
    save_model(ours, tmp_path)
    found = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config.from_pretrained(tmp_path)).state_dict()
    for name, weight in theirs.items():
        if "layer_norm" in name:
            assert torch.equal(found[name], weight)
        elif name == "lm_head.weight" and not tied:  # transformers draws N(0, 1): scores of 11 at width 128
            assert found[name].std().item() == pytest.approx(128**-0.5, rel=0.05)
        else:
            rel = 0.3 if "relative" in name else 0.05
            assert found[name].std().item() == pytest.approx(weight.std().item(), rel=rel), name
