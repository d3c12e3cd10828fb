"""Model folders: what is written is read again, and what is broken is an error that says what and where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nextword.core.errors import CheckpointError
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.finite import finite
from nextword.models.settings import ModelSettings

SIZES = {
    "llama": ModelSettings(width=16, depth=2, heads=4, kv_heads=2),
    "nextword": ModelSettings(family="nextword", width=16, depth=2, heads=4, kv_heads=2),
    "lstm": ModelSettings(family="lstm", width=16, depth=2),
    "ngram": ModelSettings(family="ngram", order=3),
}
QUERY = "model.layers.1.self_attn.q_proj.weight"


class Ids:
    """A token source in memory."""

    def __len__(self) -> int:
        return 200

    def read(self, start: int, stop: int) -> Any:
        return torch.arange(start, stop).square().remainder(17).numpy()


def made(family: str) -> Any:
    model = create(SIZES[family], 20, seed=7, eos_id=0)
    if family == "ngram":
        model.count(Ids())
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small Llama's folder."""
    save_model(made("llama"), tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads((folder / "config.json").read_text())
    change(tree)
    (folder / "config.json").write_text(json.dumps(tree))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("family", sorted(SIZES))
def test_every_kind_is_read_as_it_was_written(family: str, tmp_path: Path) -> None:
    model = made(family)
    save_model(model, tmp_path / "first")
    loaded = load_model(tmp_path / "first")
    batch = Batch(torch.arange(12).view(2, 6))
    with torch.no_grad():
        before, after = (lm.score(batch, batch.ids_BT) for lm in (model, loaded))
    assert torch.allclose(before, after, atol=1e-6)
    save_model(loaded, tmp_path / "second")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(QUERY), f"lacks '{QUERY}'"),
        (lambda t: t.update(extra=torch.ones(2)), "holds 'extra'"),
        (lambda t: t.update({QUERY: torch.ones(16, 15)}), rf"'{QUERY}' has shape \(16, 15\).*asks for \(16, 16\)"),
        (lambda t: t[QUERY].view(-1)[3].fill_(float("nan")), f"'{QUERY}' has 1 of 256 numbers that are NaN or inf"),
        (lambda t: t[QUERY].view(-1)[3].fill_(float("inf")), f"'{QUERY}' has 1 of 256 numbers that are NaN or inf"),
        (lambda t: t.update({"lm_head.weight": torch.ones(20, 16)}), "'lm_head.weight' differs from 'model.embed_tok"),
    ],
)
def test_a_wrong_tensor_is_named(folder: Path, change: Any, said: str) -> None:
    edit_weights(folder, change)
    with pytest.raises(CheckpointError, match=said):
        load_model(folder)


def test_a_tied_copy_and_old_rotary_tables_are_accepted(folder: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)

    edit_weights(folder, add)
    load_model(folder)


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(
    "name", ["embed_tokens", "layers.0.self_attn.v_proj", "layers.1.mlp.down_proj", "layers.1.input_layernorm"]
)
def test_a_broken_weight_is_named_at_the_latest_by_the_first_scores(folder: Path, name: str, number: str) -> None:
    name = f"model.{name}.weight"
    edit_weights(folder, lambda tensors: tensors[name].view(-1)[3].fill_(float(number)))
    batch = Batch(torch.zeros(1, 6, dtype=torch.int64))
    with pytest.raises(CheckpointError, match=f"{name}.* has 1 of .* numbers that are NaN or infinite; the training"):
        model = load_model(folder)
        finite(model.score(batch, batch.ids_BT), model)


def test_large_weights_are_not_taken_for_infinite(folder: Path) -> None:
    edit_weights(folder, lambda tensors: [x.fill_(3e38) for name, x in tensors.items() if ".mlp." in name])
    model, batch = load_model(folder), Batch(torch.arange(6)[None])
    with pytest.raises(CheckpointError, match="its weights are, but grow beyond the range of their type"):
        finite(model.score(batch, batch.ids_BT), model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(sliding_window=4), "'sliding_window' = 4, which nextword does not know"),
        (lambda c: c.update(hidden_sise=4), "'hidden_sise'.*did you mean 'hidden_size'"),
        (lambda c: c.pop("hidden_size"), "lacks 'hidden_size'"),
        (lambda c: c.update(num_hidden_layers="two"), "'num_hidden_layers' must be int, received 'two'"),
        (lambda c: c.update(num_hidden_layers=0), "'num_hidden_layers' must be at least 1"),
        (lambda c: c.update(num_key_value_heads=3), "must be a multiple of num_key_value_heads 3"),
        (lambda c: c.update(hidden_act="sile"), "did you mean 'silu'"),
        (lambda c: c.update(model_type="mystery"), "model_type is 'mystery', which nextword does not read; it reads"),
        (lambda c: c.update(rope_parameters={"rope_type": "shortrope"}), "rope_type 'shortrope' is not among"),
        (lambda c: c.update(rope_parameters={"rope_type": "linear"}), "'linear' needs a number 'factor'"),
        (lambda c: c.update(rope_parameters={"rope_type": "linear", "factor": 2, "beta": 1}), "'beta' is unknown to"),
        (lambda c: c.update(num_hidden_layers=3), "lacks 'model.layers.2.input_layernorm.weight'.* and 6 more"),
    ],
)
def test_a_wrong_config_is_explained(folder: Path, change: Any, said: str) -> None:
    edit(folder, change)
    with pytest.raises(CheckpointError, match=said):
        load_model(folder)


def test_what_changes_no_number_is_accepted(folder: Path) -> None:
    edit(folder, lambda c: c.update(_name_or_path="x", torch_dtype="float32", pretraining_tp=2, rope_interleaved=False))
    load_model(folder)


def test_folders_that_are_no_checkpoints(folder: Path, tmp_path: Path) -> None:
    def refusal(place: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            load_model(place)
        return str(caught.value)

    assert "is not a folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "notes").mkdir()
    assert "lacks config.json (and has nothing)" in refusal(tmp_path / "notes")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "nextword reads no pickle" in refusal(folder)
    (folder / "pytorch_model.bin").unlink()
    assert "lacks model.safetensors (and has config.json)" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "is not valid JSON" in refusal(folder)
    (folder / "config.json").write_text("[]")
    assert "must hold a JSON object, received list" in refusal(folder)


@pytest.mark.parametrize("size", [0, 4, 100, 3000])
def test_truncated_weights(folder: Path, size: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated or no safetensors file"):
        load_model(folder)


def test_broken_shards(tmp_path: Path) -> None:
    save_model(made("llama"), tmp_path, shard_bytes=3000)
    index = tmp_path / "model.safetensors.index.json"
    tree = json.loads(index.read_text())
    first = sorted(tmp_path.glob("model-*.safetensors"))[0]
    load_model(tmp_path)
    moved = {**tree["weight_map"], QUERY: first.name, "model.norm.weight": first.name}
    index.write_text(json.dumps({"weight_map": moved}))
    with pytest.raises(CheckpointError, match=f"{first.name} lacks 'model"):
        load_model(tmp_path)
    index.write_text(json.dumps({"weight_map": {QUERY: "../../etc/passwd"}}))
    with pytest.raises(CheckpointError, match="no safetensors file beside it"):
        load_model(tmp_path)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="has no weight_map"):
        load_model(tmp_path)
    index.write_text(json.dumps(tree))
    first.unlink()
    with pytest.raises(CheckpointError, match=f"lacks {first.name}, which"):
        load_model(tmp_path)


def test_saving_replaces_the_model_whole_and_keeps_what_is_not_the_model(tmp_path: Path) -> None:
    save_model(made("llama"), tmp_path / "m", shard_bytes=3000)
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    save_model(made("lstm"), tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert load_model(tmp_path / "m").config["model_type"] == "lstm"


def test_a_save_that_fails_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nextword.models.checkpoint.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(made("lstm"), folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    load_model(folder)


def test_types(folder: Path) -> None:
    edit_weights(
        folder, lambda tensors: tensors.update({n: t.bfloat16() for n, t in tensors.items() if "norm" not in n})
    )
    mixed = load_model(folder)
    assert {weight.dtype for weight in mixed.parameters()} == {torch.float32}  # the type that holds all of them
    half = load_model(folder, torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    assert half.logits(half.hidden(Batch(torch.ones(1, 3, dtype=torch.int64))).hidden_BTD[0]).dtype == torch.float32


def test_corrupt_counts(tmp_path: Path) -> None:
    save_model(made("ngram"), tmp_path)
    edit_weights(tmp_path, lambda tensors: tensors["keys_2"].copy_(tensors["keys_2"].flip(0)))
    with pytest.raises(CheckpointError, match="keys of its 2-grams are not sorted"):
        load_model(tmp_path)
