"""`nextword convert` as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nextword.assembly import folder
from nextword.models.checkpoint import load_model

Tiny = Callable[[str], Path]
Here = Callable[..., object]


def test_to_gguf_and_back_keeps_every_bit(here: Here, tiny: Tiny, tmp_path: Path) -> None:
    source, template = tmp_path / "source", "{{ 'ä' }}"
    folder.load(tiny("llama"))
    here("convert", tiny("llama"), source)
    tree = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(tree | {"chat_template": template}))
    result = here("convert", source, tmp_path / "m.gguf")
    assert result.returncode == 0 and "next: nextword generate" in result.stdout  # type: ignore[attr-defined]
    result = here("convert", tmp_path / "m.gguf", tmp_path / "back")
    assert result.returncode == 0 and "next: nextword inspect" in result.stdout  # type: ignore[attr-defined]
    assert (tmp_path / "back" / "chat_template.jinja").read_text() == template
    first, whole, back = (folder.load(tmp_path / name) for name in ("source", "m.gguf", "back"))
    for key, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[key])
        assert torch.equal(tensor, back.model.state_dict()[key])
    text = "The cat sat on the  mat.\n<|endoftext|>ß"
    assert first.tokenizer.encode(text) == whole.tokenizer.encode(text) == back.tokenizer.encode(text)
    assert first.tokenizer.eos_id == back.tokenizer.eos_id
    seen = json.loads(here("inspect", tmp_path / "m.gguf", "--json").stdout)  # type: ignore[attr-defined]
    assert seen == json.loads(here("inspect", source, "--json").stdout)  # type: ignore[attr-defined]
    said = here("generate", tmp_path / "m.gguf", "The cat", "--temperature", "0", "--max-tokens", "5")
    assert said.returncode == 0, said  # type: ignore[attr-defined]


def test_other_numbers_in_shards(here: Here, tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "small"
    here("convert", tiny("llama"), out, "--dtype", "bf16", "--shard-size", "0.02MB")
    assert (out / "model.safetensors.index.json").is_file() and (out / "tokenizer.json").is_file()
    found = load_model(out).state_dict()
    for key, tensor in load_model(tiny("llama")).state_dict().items():
        assert torch.equal(found[key], tensor.bfloat16())
    here("convert", out, tmp_path / "m.gguf")
    here("convert", tmp_path / "m.gguf", tmp_path / "q", "--dtype", "f16")
    assert {x.dtype for x in load_model(tmp_path / "q").state_dict().values()} == {torch.float16}


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_quantised_files_are_small(kind: str, here: Here, tiny: Tiny, tmp_path: Path) -> None:
    here("convert", tiny("llama"), tmp_path / "f32.gguf")
    here("convert", tiny("llama"), tmp_path / "m.gguf", "--dtype", kind)
    sizes = [(tmp_path / name).stat().st_size for name in ("f32.gguf", "m.gguf")]
    assert sizes[1] < 0.45 * sizes[0]


def test_what_cannot_be_is_one_line(refused: Callable[..., str], tiny: Tiny, tmp_path: Path) -> None:
    llama, out = tiny("llama"), tmp_path / "out"
    assert "let OUT end in .gguf" in refused("convert", llama, out, "--dtype", "q8_0")
    assert "such as 5GB" in refused("convert", llama, out, "--shard-size", "many")
    assert "written in one piece" in refused("convert", llama, tmp_path / "m.gguf", "--shard-size", "1GB")
    assert "'lstm' are not written" in refused("convert", tiny("lstm"), tmp_path / "m.gguf")
    assert "neither a model folder nor a GGUF" in refused("convert", tmp_path / "nothing", out)
    (tmp_path / "full.gguf").write_bytes(b"GGUF")
    assert "exists and is left" in refused("convert", llama, tmp_path / "full.gguf")
    assert "truncated" in refused("convert", tmp_path / "full.gguf", out)
    assert not out.exists() and not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize(
    ("number", "arguments", "remedy"),
    [(float("nan"), [], "take an earlier"), (1e5, ["--dtype", "f16"], "in f16: choose f32 or bf16")],
)
def test_what_is_no_number_is_not_passed_on(
    number: float, arguments: list[str], remedy: str, here: Here, tiny: Tiny, tmp_path: Path
) -> None:
    source, name = tmp_path / "source", "model.layers.0.mlp.up_proj.weight"
    here("convert", tiny("llama"), source)
    tensors = load_file(source / "model.safetensors")
    tensors[name][1, 2] = number
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    for out in (tmp_path / "out", tmp_path / "out.gguf"):
        result = here("convert", source, out, *arguments)
        assert result.returncode == 1 and not out.exists()  # type: ignore[attr-defined]
        assert name in result.stderr and remedy in result.stderr  # type: ignore[attr-defined]
