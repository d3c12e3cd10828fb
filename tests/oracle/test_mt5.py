"""Our mT5 is transformers' mT5: random tiny configs, every tensor drawn anew; fresh ones open there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError
from nextword.decode.settings import SamplingSettings
from nextword.engine.generate import generate
from nextword.engine.request import Request
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")

SMALL = {"d_model": 12, "d_kv": 5, "d_ff": 17, "num_layers": 2, "num_heads": 2, "vocab_size": 30}


def model(parity: Any, seed: int, **sizes: Any) -> Any:
    config = transformers.MT5Config(relative_attention_num_buckets=8, relative_attention_max_distance=16, **sizes)
    return parity.drawn(transformers.MT5ForConditionalGeneration(config), seed, std=0.3)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    return {
        **{"d_model": draw(st.integers(3, 20)), "d_kv": draw(st.integers(2, 8)), "d_ff": draw(st.integers(3, 30))},
        **{"num_layers": draw(st.integers(1, 2)), "num_decoder_layers": draw(st.integers(1, 2))},
        **{"num_heads": draw(st.integers(1, 3)), "vocab_size": draw(st.integers(11, 40))},
        "layer_norm_epsilon": draw(st.sampled_from([1e-6, 1e-2])),
        "feed_forward_proj": draw(st.sampled_from(["relu", "gated-gelu", "gated-silu"])),
    }


@given(configs(), st.integers(0, 1000), st.integers(1, 30), st.integers(1, 12))
@settings(max_examples=8, deadline=None)
def test_same_logits_and_same_bytes(parity: Any, sizes: dict[str, Any], seed: int, source_time: int, time: int) -> None:
    theirs = model(parity, seed, **sizes)
    source_BS, ids_BT = (parity.ids(sizes["vocab_size"], 2, size, seed) for size in (source_time, time))
    with torch.no_grad():
        wanted = theirs(input_ids=source_BS, decoder_input_ids=ids_BT).logits
    batch = Batch(ids_BT, source=Batch(source_BS))
    parity.round_trip(theirs, lambda ours: parity.same(parity.logits_BTV(ours, batch), wanted))


def test_greedy_text_with_an_output_of_its_own(parity: Any, tmp_path: Path) -> None:
    """As Google's mT5: `lm_head` beside the embedding, which the config of transformers 5 does not say."""
    theirs = model(parity, 4, **SMALL)
    theirs.lm_head.weight = torch.nn.Parameter(torch.randn(30, 12, generator=torch.Generator().manual_seed(1)))
    theirs.generation_config.eos_token_id = None
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": False}))
    ours, source_BS = load_model(tmp_path), parity.ids(30, 1, 9, 1)
    wanted = theirs.generate(source_BS, attention_mask=torch.ones_like(source_BS), max_new_tokens=12, do_sample=False)
    request = Request((0,), SamplingSettings(temperature=0, max_tokens=12, seed=0), source=tuple(source_BS[0].tolist()))
    (result,) = generate(ours, [request], "never")
    assert result.ids == wanted[0, 1:].tolist() and len(set(result.ids)) > 2


def test_a_fresh_model_opens_in_transformers_and_agrees(parity: Any, tmp_path: Path) -> None:
    sizes = ModelSettings(family="mt5", width=48, depth=2, heads=4, head_width=7, ffn_width=50)
    ours = parity.drawn(create(sizes, 70, seed=5, eos_id=3, pad_id=2), 5, std=0.3)
    save_model(ours, tmp_path)
    theirs, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids_BT = torch.arange(40).view(2, 20)
    with torch.no_grad():
        wanted = theirs(input_ids=ids_BT, decoder_input_ids=ids_BT[:, :7]).logits
    parity.same(parity.logits_BTV(ours, Batch(ids_BT[:, :7], source=Batch(ids_BT))), wanted)


def test_a_scale_that_mt5_does_not_have_is_refused(parity: Any, tmp_path: Path) -> None:
    model(parity, 1, **SMALL).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"scale_decoder_outputs": True}))
    with pytest.raises(CheckpointError, match="scale_decoder_outputs = True is not known"):
        load_model(tmp_path)
