"""GGUF files: as the reference writes and reads them, and whatever a hostile hand makes of them."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError
from nextword.models.gguf import container
from nextword.models.gguf.blocks import FORMATS

gguf = pytest.importorskip("gguf")

VALUES = {
    "general.architecture": "llama",
    "llama.context_length": 64,
    "llama.eps": 1e-5,
    "on": True,
    "tokens": ["a", "ß", ""],
    "scores": np.array([0.5, -1], np.float32),
    "types": np.array([1, 3, 6], np.int32),
}


def tensors() -> list[tuple[str, torch.Tensor, str]]:
    generator = torch.Generator().manual_seed(0)
    return [
        ("a", torch.randn(3, 5, generator=generator), "f32"),
        ("b", torch.randn(2, 64, generator=generator), "q8_0"),
        ("c", torch.randn(7, generator=generator), "bf16"),
        ("d", torch.randn(2, 3, 32, generator=generator), "q4_0"),
    ]


def valid(folder: Path) -> bytes:
    path = folder / "valid.gguf"
    container.write(path, VALUES, tensors())
    return path.read_bytes()


def test_the_reference_reads_what_we_write(tmp_path: Path) -> None:
    container.write(tmp_path / "m.gguf", VALUES, tensors())
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    for key, value in VALUES.items():
        found = reader.fields[key].contents()
        assert np.allclose(found, value) if not isinstance(value, str | list) else found == value
    for (name, tensor, kind), read in zip(tensors(), reader.tensors, strict=True):
        assert (read.name, tuple(read.shape.tolist())) == (name, tuple(tensor.shape)[::-1])
        assert read.tensor_type.name.lower() == kind
        if kind == "f32":
            assert np.array_equal(read.data, tensor.numpy())
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_we_read_what_the_reference_writes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_uint64("large", 1 << 40)
    writer.add_float32("eps", 1e-5)
    writer.add_array("words", ["x", "yy"])
    writer.add_array("flags", [True, False])
    weights = {name: np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32) for name in ("w", "v")}
    writer.add_tensor(
        "w",
        gguf.quants.quantize(weights["w"], gguf.GGMLQuantizationType.Q5_1),
        raw_dtype=gguf.GGMLQuantizationType.Q5_1,
    )
    writer.add_tensor("v", weights["v"].astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = container.read(path)
    assert found.values["eps"] == 1e-5 and found.values["large"] == 1 << 40 and found.values["words"] == ["x", "yy"]
    assert found.values["flags"].tolist() == [True, False]
    read = dict(found.tensors())
    assert torch.equal(read["v"], torch.from_numpy(weights["v"]).half())
    assert read["w"].shape == (4, 256) and (read["w"].numpy() - weights["w"]).std() < 0.1


def test_a_round_trip_gives_the_same_bytes(tmp_path: Path) -> None:
    first = valid(tmp_path)
    found = container.read(tmp_path / "valid.gguf")
    kinds = {name: info.kind.name for name, info in found.infos.items()}
    plain = [(name, tensor, kinds[name]) for name, tensor in found.tensors() if kinds[name] in {"f32", "bf16"}]
    container.write(tmp_path / "again.gguf", found.values, plain)
    container.write(tmp_path / "wanted.gguf", VALUES, [one for one in tensors() if one[2] in {"f32", "bf16"}])
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "wanted.gguf").read_bytes()
    assert first[:4] == b"GGUF"


def text(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def header(tensors: int = 0, values: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, values)


def info(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


SPACE = b"\0" * 4096
HOSTILE = {
    "nothing": (b"", "cannot be read as GGUF"),
    "another format": (b"PK\3\4" + SPACE, "no GGUF file"),
    "only magic": (b"GGUF", "truncated"),
    "version 1": (header(version=1) + SPACE, "version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + SPACE, "big-endian"),
    "absurd tensors": (header(tensors=1 << 62) + SPACE, "do not fit"),
    "absurd values": (header(values=(1 << 64) - 1) + SPACE, "do not fit"),
    "huge key": (header(values=1) + struct.pack("<Q", 1 << 63) + SPACE, "truncated"),
    "huge string": (header(values=1) + text(b"k") + struct.pack("<IQ", 8, 1 << 50) + SPACE, "truncated"),
    "huge array": (header(values=1) + text(b"k") + struct.pack("<IIQ", 9, 10, 1 << 61) + SPACE, "do not fit"),
    "huge strings": (header(values=1) + text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 61) + SPACE, "do not fit"),
    "nested array": (header(values=1) + text(b"k") + struct.pack("<IIQ", 9, 9, 1) + SPACE, "array of type 9"),
    "unknown type": (header(values=1) + text(b"k") + struct.pack("<I", 77) + SPACE, "of type 77"),
    "no UTF-8": (header(values=1) + text(b"\xff\xfe") + SPACE, "UTF-8"),
    "the same key": (header(values=2) + 2 * (text(b"k") + struct.pack("<II", 4, 1)) + SPACE, "'k' twice"),
    "the same tensor": (header(tensors=2) + info(b"t", (4,)) + info(b"t", (4,), 0, 32) + SPACE, "'t' twice"),
    "alignment": (
        header(values=1) + text(b"general.alignment") + struct.pack("<II", 4, 33) + SPACE,
        "power of two",
    ),
    "dimensions": (header(tensors=1) + info(b"t", (1,) * 9) + SPACE, "9 dimensions"),
    "sizes that overflow": (header(tensors=1) + info(b"t", (1 << 32, 1 << 32, 1 << 32)) + SPACE, "beyond its end"),
    "no size": (header(tensors=1) + info(b"t", (0, 5)) + SPACE, "cannot hold"),
    "half a block": (header(tensors=1) + info(b"t", (33,), 8) + SPACE, "blocks of 32"),
    "unread format": (header(tensors=1) + info(b"t", (256,), 10) + SPACE, "type 10"),
    "outside": (header(tensors=1) + info(b"t", (4,), 0, 1 << 63) + SPACE, "beyond its end"),
    "overlap": (header(tensors=2) + info(b"t", (64,)) + info(b"u", (64,), 0, 128) + SPACE, "overlaps 't'"),
    "a part": (header(values=1) + text(b"split.count") + struct.pack("<IH", 2, 3) + SPACE, "--merge"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_clear_error(case: str, tmp_path: Path) -> None:
    data, message = HOSTILE[case]
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message):
        container.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    raw = bytearray((tmp_path / "valid.gguf").read_bytes() if (tmp_path / "valid.gguf").exists() else valid(tmp_path))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        change = data.draw(st.sampled_from(["byte", "word", "cut", "insert"]))
        if change == "byte":
            raw[place] = data.draw(st.integers(0, 255))
        elif change == "word":
            raw[place : place + 8] = struct.pack(
                "<Q", data.draw(st.sampled_from([0, 1, 255, 1 << 31, 1 << 63, (1 << 64) - 1]))
            )
        elif change == "cut" and place > 0:
            del raw[place:]
        else:
            raw[place:place] = data.draw(st.binary(max_size=9))
    path = tmp_path / "mutated.gguf"
    path.write_bytes(bytes(raw))
    tracemalloc.start()
    try:
        found = container.read(path)
        assert sum(tensor.numel() for _, tensor in found.tensors()) < 8 * len(raw)
    except CheckpointError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_type_that_is_not_known_is_refused_when_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="k = None cannot be written"):
        container.write(tmp_path / "m.gguf", {"k": None}, [])
    with pytest.raises(CheckpointError, match="cannot be written"):
        container.write(tmp_path / "m.gguf", {"k": -1}, [])
    assert not list(tmp_path.iterdir())
    assert FORMATS["f32"].number == 0
