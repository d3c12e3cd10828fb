"""Our Llama is transformers' Llama: random tiny configs, every tensor drawn anew (fresh norms hide swaps)."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.base import Batch, pad
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

transformers = pytest.importorskip("transformers")

LENGTH = 16  # max_position_embeddings; texts go beyond it, where dynamic NTK changes its frequencies
TOLERANCE = 1e-5
ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 3.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 12},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 12},
    "yarn, all its keys": {
        "rope_type": "yarn",
        **{"factor": 2.0, "original_max_position_embeddings": 14, "beta_fast": 16.0, "beta_slow": 2.0},
        **{"truncate": False, "mscale": 0.7, "mscale_all_dim": 0.4},
    },
}


@st.composite
def configs(draw: st.DrawFn) -> Any:
    """A LlamaConfig with sizes, biases, tying, activation and rotary scaling drawn at random."""
    kv_heads, ratio = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    heads, head_width = kv_heads * ratio, 2 * draw(st.integers(2, 6))
    rope = draw(st.sampled_from(sorted(ROPES)))
    return transformers.LlamaConfig(
        hidden_size=heads * 2 * draw(st.integers(1, 4)),
        intermediate_size=draw(st.integers(3, 40)),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_width,
        vocab_size=draw(st.integers(11, 60)),
        max_position_embeddings=LENGTH,
        hidden_act=draw(st.sampled_from(["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])),
        rms_norm_eps=draw(st.sampled_from([1e-6, 1e-5, 1e-2])),
        attention_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
        rope_parameters={"rope_type": rope, "rope_theta": draw(st.sampled_from([100.0, 10_000.0])), **ROPES[rope]},
    )


def oracle(config: Any, seed: int) -> Any:
    """transformers' model with every tensor drawn anew."""
    model = transformers.LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5, generator=generator)
    return model


def ours_of(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return load_model(folder)


@torch.no_grad()
def logits_BTV(model: Any, batch: Batch) -> torch.Tensor:
    hidden_BTD = model.hidden(batch).hidden_BTD
    return model.logits(hidden_BTD.flatten(0, 1)).unflatten(0, hidden_BTD.shape[:2])


@torch.no_grad()
def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


@given(configs(), st.integers(0, 1000), st.integers(1, 2), st.integers(1, 2 * LENGTH))
@settings(max_examples=40, deadline=None)
def test_same_logits_and_same_bytes(config: Any, seed: int, rows: int, time: int) -> None:
    theirs = oracle(config, seed)
    ids_BT = torch.randint(0, config.vocab_size, (rows, time), generator=torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "theirs"
        ours = ours_of(theirs, folder)
        with torch.no_grad():
            wanted = theirs(ids_BT).logits
        assert_same(logits_BTV(ours, Batch(ids_BT)), wanted)
        again = Path(place) / "ours"
        save_model(ours, again)
        assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
        assert (again / "config.json").read_bytes() == (folder / "config.json").read_bytes()


@given(configs(), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_older_config_layout_means_the_same(config: Any, seed: int) -> None:
    theirs = oracle(config, seed)
    ids_BT = torch.randint(0, config.vocab_size, (1, LENGTH), generator=torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as place:
        ours = ours_of(theirs, Path(place))
        wanted = logits_BTV(ours, Batch(ids_BT))
        file = Path(place) / "config.json"
        tree = json.loads(file.read_text())
        rope = tree.pop("rope_parameters")
        tree["rope_theta"], kind = rope.pop("rope_theta"), rope.pop("rope_type")
        tree["rope_scaling"] = {"type": kind, **rope} if rope else None
        tree["torch_dtype"] = tree.pop("dtype")
        file.write_text(json.dumps(tree))
        old = load_model(place)
        assert torch.equal(logits_BTV(old, Batch(ids_BT)), wanted)
        assert old.settings == ours.settings


@given(configs(), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_greedy_text_is_the_same(config: Any, seed: int) -> None:
    new = 10
    theirs = oracle(config, seed)
    theirs.generation_config.eos_token_id = None
    prompt_BT = torch.randint(0, config.vocab_size, (1, 5), generator=torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as place:
        ours = ours_of(theirs, Path(place))
    seen_BT = torch.ones_like(prompt_BT)  # else it would hide the ids that equal the padding's
    wanted = theirs.generate(prompt_BT, attention_mask=seen_BT, max_new_tokens=new, do_sample=False, pad_token_id=0)
    state, ids_BT, text_BT = ours.start(1, 8), prompt_BT, prompt_BT
    with torch.no_grad():
        for _ in range(new):
            out = ours.hidden(Batch(ids_BT), state)
            state, ids_BT = out.state, ours.logits(out.hidden_BTD[:, -1]).argmax(-1, keepdim=True)
            text_BT = torch.cat([text_BT, ids_BT], 1)
    assert text_BT.tolist() == wanted.tolist()


@given(configs(), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_gradients_are_the_same(config: Any, seed: int) -> None:
    theirs = oracle(config, seed)
    ids_BT = torch.randint(0, config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as place:
        ours = ours_of(theirs, Path(place))
    theirs(ids_BT, labels=ids_BT).loss.backward()
    labels_BT = torch.cat([ids_BT[:, 1:], torch.full((2, 1), -100)], 1)
    (-ours.score(Batch(ids_BT), labels_BT).sum() / 16).backward()
    pairs = [
        (ours.embedding.weight, theirs.model.embed_tokens.weight),
        (ours.norm.weight, theirs.model.norm.weight),
        (ours.blocks[0].attention.query.weight, theirs.model.layers[0].self_attn.q_proj.weight),
        (ours.blocks[0].attention.key.weight, theirs.model.layers[0].self_attn.k_proj.weight),
        (ours.blocks[0].attention_norm.weight, theirs.model.layers[0].input_layernorm.weight),
        (ours.blocks[0].feedforward.gate.weight, theirs.model.layers[0].mlp.gate_proj.weight),
    ]
    for mine, other in pairs:
        assert (mine.grad - other.grad).abs().max() <= 2e-4 * other.grad.abs().max() + 1e-7


def test_padded_rows_agree_with_theirs_one_by_one(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        **{"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40},
        **{"num_hidden_layers": 2, "vocab_size": 30, "max_position_embeddings": LENGTH},
    )
    theirs = oracle(config, 3)
    ours = ours_of(theirs, tmp_path)
    rows = [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10, 11, 12]]
    padded = logits_BTV(ours, pad(rows))
    with torch.no_grad():
        for found, row in zip(padded, rows, strict=True):
            assert_same(found[: len(row)], theirs(torch.tensor([row])).logits[0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_files_keep_their_bytes_and_open_in_transformers(dtype: str, tmp_path: Path) -> None:
    kind = getattr(torch, dtype)
    model = create(ModelSettings(width=32, depth=2, heads=4, kv_heads=2, tied=False), 50, seed=1, eos_id=0).to(kind)
    save_model(model, tmp_path / "first")
    loaded = load_model(tmp_path / "first")
    assert all(weight.dtype == kind for weight in loaded.parameters())
    save_model(loaded, tmp_path / "second")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "first", dtype=torch.float32)
    ids_BT = torch.arange(20).view(2, 10)
    with torch.no_grad():
        assert_same(logits_BTV(load_model(tmp_path / "first", torch.float32), Batch(ids_BT)), theirs(ids_BT).logits)


def test_a_fresh_model_opens_in_transformers_and_agrees(tmp_path: Path) -> None:
    sizes = ModelSettings(width=48, depth=2, heads=4, kv_heads=1, ffn_width=50, rope_base=500.0, norm_eps=1e-3)
    model = create(sizes, 70, seed=5, eos_id=3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5, generator=generator)
    save_model(model, tmp_path)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert theirs.config.eos_token_id == 3
    ids_BT = torch.arange(40).view(2, 20)
    with torch.no_grad():
        assert_same(logits_BTV(model, Batch(ids_BT)), theirs(ids_BT).logits)


def test_shards_are_read_as_transformers_writes_them_and_back(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        **{"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 40, "num_hidden_layers": 2},
        **{"vocab_size": 30, "max_position_embeddings": LENGTH},
    )
    theirs = oracle(config, 4)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="10KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 2
    ours = load_model(tmp_path / "theirs")
    save_model(ours, tmp_path / "ours", shard_bytes=9_000)
    assert not (tmp_path / "ours" / "model.safetensors").exists()
    back = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours")
    ids_BT = torch.arange(20).view(2, 10)
    with torch.no_grad():
        wanted = theirs(ids_BT).logits
        assert_same(logits_BTV(ours, Batch(ids_BT)), wanted)
        assert torch.equal(back(ids_BT).logits, wanted)
