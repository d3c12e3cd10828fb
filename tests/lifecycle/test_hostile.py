"""Hostile headers of safetensors and configs that promise too much: one clear error each."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from nextword.core.errors import CheckpointError
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.mapped import map_tensors
from nextword.models.settings import ModelSettings


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "llama"
    save_model(create(ModelSettings(width=16, depth=2, heads=2), 20, seed=0), folder)
    return folder


def header(entries: str, size: int = 64) -> bytes:
    return struct.pack("<Q", len(entries)) + entries.encode() + b"\0" * size


ONE = '"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
HOSTILE = {
    "nothing": b"",
    "a length alone": struct.pack("<Q", 2),
    "a length that overflows": struct.pack("<Q", (1 << 64) - 1) + b"{}",
    "a length beyond the end": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": header("not json"),
    "a list": header("[1, 2]"),
    "deep JSON": header('{"a":' * 5000 + "1" + "}" * 5000),
    "a place outside": header('{"w":{"dtype":"F32","shape":[400],"data_offsets":[0,1600]}}'),
    "a place that overflows": header('{"w":{"dtype":"F32","shape":[4],"data_offsets":[18446744073709551600,16]}}'),
    "a negative place": header('{"w":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}}'),
    "sizes that overflow": header('{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}'),
    "another size": header('{"w":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}', 16),
    "overlapping places": header("{" + ONE + "," + ONE.replace('"w"', '"v"') + "}", 16),
    "a hole": header("{" + ONE + "," + ONE.replace('"w"', '"v"').replace("[0,16]", "[32,48]") + "}", 48),
    "the same name": header("{" + ONE + "," + ONE.replace("[0,16]", "[16,32]") + "}", 32),
    "more behind the end": header("{" + ONE + "}", 99),
    "no shape": header('{"w":{"dtype":"F32","data_offsets":[0,16]}}', 16),
    "an unknown type": header('{"w":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}', 16),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_one_clear_error(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(CheckpointError, match="truncated or no safetensors file"):
        map_tensors(path)


@pytest.mark.parametrize("layers", [3, 9_999, 1 << 31, 10**18])
def test_more_layers_than_there_are(llama: Path, tmp_path: Path, layers: int) -> None:
    shutil.copytree(llama, tmp_path, dirs_exist_ok=True)
    config = json.loads((llama / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    with pytest.raises(CheckpointError, match="num_hidden_layers|lacks 'model.layers.2"):
        load_model(tmp_path)
