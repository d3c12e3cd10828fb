"""Our GPT-2 is transformers' GPT-2: random tiny configs, every tensor drawn anew."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nextword.core.errors import CheckpointError
from nextword.models.base import Batch, pad
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")
LENGTH = 16
ACTIVATIONS = ["gelu_new", "gelu", "relu", "silu", "quick_gelu", "tanh", "gelu_fast", "relu2"]


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads = draw(st.integers(1, 4))
    return transformers.GPT2Config(
        **{"n_embd": heads * draw(st.integers(2, 7)), "n_head": heads, "n_layer": draw(st.integers(1, 3))},
        n_inner=draw(st.one_of(st.none(), st.integers(3, 40))),
        vocab_size=draw(st.integers(11, 60)),
        n_positions=LENGTH,
        activation_function=draw(st.sampled_from(ACTIVATIONS)),
        layer_norm_epsilon=draw(st.sampled_from([1e-6, 1e-5, 1e-2])),
        scale_attn_weights=draw(st.booleans()),
        scale_attn_by_inverse_layer_idx=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        **{"bos_token_id": 0, "eos_token_id": 0},
    )


@given(configs(), st.integers(0, 1000), st.integers(1, 2), st.integers(1, LENGTH))
@settings(max_examples=20, deadline=None)
def test_same_logits_and_same_bytes(parity: Any, config: Any, seed: int, rows: int, time: int) -> None:
    theirs = parity.drawn(transformers.GPT2LMHeadModel(config), seed)
    ids_BT = parity.ids(config.vocab_size, rows, time, seed)
    with torch.no_grad():
        wanted = theirs(ids_BT).logits
    parity.round_trip(theirs, lambda ours: parity.same(parity.logits_BTV(ours, Batch(ids_BT)), wanted))


@pytest.mark.parametrize(("activation", "by_layer"), [("gelu_new", False), ("relu", True)])
def test_greedy_text_and_gradients_are_the_same(parity: Any, activation: str, by_layer: bool) -> None:
    config = small(activation_function=activation, scale_attn_by_inverse_layer_idx=by_layer)
    theirs = parity.drawn(transformers.GPT2LMHeadModel(config), 3)
    theirs.generation_config.eos_token_id = None
    ours, prompt_BT = parity.ours_of(theirs), parity.ids(30, 1, 5, 3)
    wanted = theirs.generate(
        prompt_BT, attention_mask=torch.ones_like(prompt_BT), max_new_tokens=8, do_sample=False, pad_token_id=0
    )
    state, ids_BT, text_BT = ours.start(1, 4), prompt_BT, prompt_BT
    with torch.no_grad():
        for _ in range(8):
            out = ours.hidden(Batch(ids_BT), state)
            state, ids_BT = out.state, ours.logits(out.hidden_BTD[:, -1]).argmax(-1, keepdim=True)
            text_BT = torch.cat([text_BT, ids_BT], 1)
    assert text_BT.tolist() == wanted.tolist()
    ids_BT = parity.ids(30, 2, 9, 3)
    theirs(ids_BT, labels=ids_BT).loss.backward()
    labels_BT = torch.cat([ids_BT[:, 1:], torch.full((2, 1), -100)], 1)
    (-ours.score(Batch(ids_BT), labels_BT).sum() / 16).backward()
    fused = theirs.transformer.h[0].attn.c_attn
    attention = ours.blocks[0].attention
    parts = (attention.query, attention.key, attention.value)
    pairs = [
        (torch.cat([part.weight.grad for part in parts]).T, fused.weight.grad),
        (torch.cat([part.bias.grad for part in parts]), fused.bias.grad),
        (ours.embedding.weight.grad, theirs.transformer.wte.weight.grad),
        (ours.embedding.positions.weight.grad, theirs.transformer.wpe.weight.grad),
        (ours.norm.bias.grad, theirs.transformer.ln_f.bias.grad),
    ]
    for mine, other in pairs:
        assert (mine - other).abs().max() <= 2e-4 * other.abs().max() + 1e-7


def small(**more: Any) -> Any:
    return transformers.GPT2Config(
        **{"n_embd": 12, "n_head": 3, "n_layer": 2, "vocab_size": 30, "n_positions": LENGTH},
        **{"bos_token_id": 0, "eos_token_id": 0},
        **more,
    )


def test_padded_rows_agree_with_theirs_one_by_one(parity: Any) -> None:
    theirs = parity.drawn(transformers.GPT2LMHeadModel(small()), 3)
    rows = [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10, 11, 12]]
    padded = parity.logits_BTV(parity.ours_of(theirs), pad(rows))
    with torch.no_grad():
        for found, row in zip(padded, rows, strict=True):
            parity.same(found[: len(row)], theirs(torch.tensor([row])).logits[0])


def test_files_of_the_bare_model_with_old_masks_are_read(parity: Any, tmp_path: Path) -> None:
    """OpenAI's own files name no `transformer.` and hold causal masks."""
    theirs = parity.drawn(transformers.GPT2LMHeadModel(small()), 3)
    theirs.save_pretrained(tmp_path)
    tensors = {name.removeprefix("transformer."): x for name, x in load_file(tmp_path / "model.safetensors").items()}
    tensors["h.1.attn.bias"] = torch.ones(1, 1, LENGTH, LENGTH)
    save_file(tensors, tmp_path / "model.safetensors")
    ids_BT = parity.ids(30, 1, 9, 0)
    with torch.no_grad():
        parity.same(parity.logits_BTV(load_model(tmp_path), Batch(ids_BT)), theirs(ids_BT).logits)


@pytest.mark.parametrize("tied", [True, False])
def test_a_fresh_model_opens_in_transformers_and_agrees(parity: Any, tied: bool, tmp_path: Path) -> None:
    sizes = ModelSettings(family="gpt2", width=48, depth=2, heads=4, ffn_width=50, norm_eps=1e-3, tied=tied)
    model = parity.drawn(create(sizes, 70, seed=5, eos_id=3, bos_id=3), 5)
    save_model(model, tmp_path)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert theirs.config.eos_token_id == 3
    ids_BT = torch.arange(40).view(2, 20)
    with torch.no_grad():
        parity.same(parity.logits_BTV(model, Batch(ids_BT)), theirs(ids_BT).logits)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotary_dim": 4}, "'rotary_dim' = 4, which nextword does not know for model_type 'gpt2'"),
        ({"add_cross_attention": True}, "add_cross_attention = True is not known"),
        ({"activation_function": "gelo"}, "did you mean 'gelu'"),
        ({"n_head": 5}, "n_head 5 must divide n_embd 12"),
    ],
)
def test_what_would_change_numbers_is_refused(parity: Any, change: Any, said: str, tmp_path: Path) -> None:
    transformers.GPT2LMHeadModel(small()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=said):
        load_model(tmp_path)
