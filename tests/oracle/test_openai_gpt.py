"""Our GPT-1 is transformers': random tiny configs, every tensor drawn anew."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nextword.models.base import Batch
from nextword.models.checkpoint import load_model

transformers = pytest.importorskip("transformers")
LENGTH = 16


def config(**fields: Any) -> Any:
    sizes = {"n_embd": 24, "n_head": 3, "n_layer": 2, "vocab_size": 30, "n_positions": LENGTH}
    return transformers.OpenAIGPTConfig(**({"bos_token_id": 0, "eos_token_id": 0} | sizes | fields))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    heads = draw(st.integers(1, 3))
    return config(
        **{"n_embd": heads * draw(st.integers(2, 9)), "n_head": heads, "n_layer": draw(st.integers(1, 2))},
        afn=draw(st.sampled_from(["gelu", "relu", "silu", "swish"])),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        tie_word_embeddings=draw(st.booleans()),
    )


@given(configs(), st.integers(0, 1000), st.integers(1, LENGTH))
@settings(max_examples=12, deadline=None)
def test_same_numbers_texts_and_bytes(decoders: Any, config: Any, seed: int, time: int) -> None:
    decoders.check(transformers.OpenAIGPTLMHeadModel(config), seed, time)


def test_texts_and_padded_rows_are_the_same(decoders: Any) -> None:
    decoders.check(transformers.OpenAIGPTLMHeadModel(config()), 15)


def test_a_fresh_model_opens_in_transformers_and_agrees(decoders: Any, tmp_path: Path) -> None:
    decoders.check_fresh(tmp_path, family="openai-gpt", width=48, depth=2, heads=2, norm_eps=1e-3, ffn_width=None)


def test_files_of_the_bare_model_with_old_masks_are_read(parity: Any, tmp_path: Path) -> None:
    """OpenAI's own files name no `transformer.` and hold causal masks."""
    theirs = parity.drawn(transformers.OpenAIGPTLMHeadModel(config()), 3)
    theirs.save_pretrained(tmp_path)
    tensors = {name.removeprefix("transformer."): x for name, x in load_file(tmp_path / "model.safetensors").items()}
    save_file(tensors | {"h.1.attn.bias": torch.ones(1, 1, LENGTH, LENGTH)}, tmp_path / "model.safetensors")
    ids_BT = parity.ids(30, 1, 9, 0)
    with torch.no_grad():
        parity.same(parity.logits_BTV(load_model(tmp_path), Batch(ids_BT)), theirs(ids_BT).logits)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_inner": 4}, "'n_inner' = 4, which nextword does not know for model_type 'openai-gpt'"),
        ({"afn": "gelo"}, "afn 'gelo' is not known; did you mean 'gelu'"),
        ({"n_head": 5}, "n_head 5 must divide n_embd 24"),
    ],
)
def test_what_would_change_numbers_is_refused(decoders: Any, change: Any, said: str, tmp_path: Path) -> None:
    decoders.refused(transformers.OpenAIGPTLMHeadModel(config()), change, said, tmp_path)
