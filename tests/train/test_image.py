"""The image in memory is a safetensors file, and says when it does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from nextword.core.files import sha256
from nextword.train.image import Image


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "odd": torch.randint(256, (5,), generator=draw, dtype=torch.uint8),
        "bf16": torch.randn(3, 3, generator=draw).bfloat16(),
        "matrix": torch.randn(7, 5, generator=draw),
        "scalar": torch.tensor(3.0),
        "wide": torch.randn(2, generator=draw, dtype=torch.float64),
        "transposed": torch.randn(4, 6, generator=draw).T,
        "empty": torch.empty(0, 3),
    }


def test_the_library_reads_what_was_written(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    image, path = Image(tensors), tmp_path / "x.safetensors"
    image.take(tensors)
    assert image.write(path) == sha256(path)
    read = load_file(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(tensors)


def test_a_second_take_replaces_the_first(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    image = Image(tensors)
    image.take(tensors)
    tensors["matrix"] += 1
    before = image.views["matrix"].clone()
    image.take(tensors)
    assert torch.equal(image.views["matrix"], before + 1)


def test_fits_only_the_same_names_shapes_and_types(tensors: dict[str, torch.Tensor]) -> None:
    image = Image(tensors)
    assert image.fits(tensors)
    assert not image.fits(tensors | {"more": torch.ones(1)})
    assert not image.fits(tensors | {"matrix": torch.ones(5, 7)})
    assert not image.fits(tensors | {"matrix": tensors["matrix"].double()})
