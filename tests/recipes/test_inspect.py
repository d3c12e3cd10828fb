"""`nextword inspect` as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nextword.models.checkpoint import save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.recipes.inspect import binary, scaled


def test_a_config_alone(cli: Callable[..., object], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    tree = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
    config.write_text(json.dumps({**tree, "num_attention_heads": 32, "vocab_size": 32000}))
    found = json.loads(cli("inspect", config, "--length", 100, "--json").stdout)  # type: ignore[attr-defined]
    assert found["parameters"] == 6_738_415_616
    assert found["parameters_without_embeddings"] == 6_738_415_616 - 2 * 32000 * 4096
    assert found["length"] == 100
    assert found["weights_bytes"] == {"fp32": 4 * 6_738_415_616, "bf16": 2 * 6_738_415_616}
    assert found["state_bytes_per_token"]["bf16"] == 524_288
    assert sum(found["parameters_by_part"].values()) == found["parameters"]


def test_a_folder_as_tables(cli: Callable[..., object], tmp_path: Path) -> None:
    save_model(create(ModelSettings(), 4096, seed=0), tmp_path / "model")
    result = cli("inspect", tmp_path / "model")
    assert result.returncode == 0  # type: ignore[attr-defined]
    for piece in ("feed-forward", "4,262,144", "without embeddings (N)", "3,213,568", "MFLOP", "next: nextword gen"):
        assert piece in result.stdout  # type: ignore[attr-defined]


def test_what_to_do_next_fits_the_kind(cli: Callable[..., object], tiny: Callable[[str], Path]) -> None:
    encoder = cli("inspect", tiny("bert")).stdout  # type: ignore[attr-defined]
    assert 'fill("The [MASK] sat on the mat.")' in encoder and "other heads" in encoder
    assert "state" not in encoder
    both = cli("inspect", tiny("t5"), "--length", 50).stdout  # type: ignore[attr-defined]
    assert "cross-attention" in both and "next: nextword generate" in both and "positions" in both


def test_memory_of_what_is_as_wide_as_seven_billion(cli: Callable[..., object], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    tree = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 2}
    config.write_text(json.dumps({**tree, "num_attention_heads": 32, "vocab_size": 32000}))
    found = json.loads(cli("inspect", config, "--length", 512, "--memory", "--json").stdout)  # type: ignore[attr-defined]
    count, needs = found["parameters"], found["memory"]
    assert needs["using"]["bf16"] == {"weights": 2 * count, "state": 512 * 524_288 // 16}
    assert sum(needs["training"]["textbook"].values()) == 12 * count
    ours = needs["training"]["bf16"]
    assert ours["weights"] == ours["gradients"] == 2 * count
    assert ours["masters"] == 4 * count and ours["optimizer"] == pytest.approx(8 * count)
    assert ours["all"] == ours["weights"] + ours["masters"] + ours["optimizer"] + ours["step"]


def test_memory_in_words_and_where_it_is_not_foretold(
    cli: Callable[..., object], refused: Callable[..., str], tiny: Callable[[str], Path]
) -> None:
    said = cli("inspect", tiny("llama"), "--memory", "--batch", 4).stdout  # type: ignore[attr-defined]
    assert "as textbooks count" in said and "training in bf16" in said and "checkpoint" in said
    assert "foretold for transformers" in cli("inspect", tiny("lstm"), "--memory", "--length", 9).stdout  # type: ignore[attr-defined]
    assert "add --memory" in refused("inspect", tiny("llama"), "--batch", 4)
    assert "say for which" in refused("inspect", tiny("lstm"), "--memory")


def test_what_is_no_model_is_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "lacks config.json" in refused("inspect", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": 8, "sliding_window": 3}')
    assert "'sliding_window' = 3" in refused("inspect", tmp_path)
    assert "length must be at least 1" in refused("inspect", tmp_path, "--length", 0)


def test_units() -> None:
    assert [scaled(n) for n in (5, 28_710_912, 14.3e12)] == ["5 FLOP", "28.7 MFLOP", "14.3 TFLOP"]
    assert [binary(n) for n in (512, 524_288, 3 << 30)] == ["512 B", "512.0 KiB", "3.0 GiB"]
