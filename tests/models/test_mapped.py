"""Loading by memory map: what it costs, and that neither side can spoil the other."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nextword.core.errors import CheckpointError
from nextword.core.files import sha256
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.mapped import DTYPES, map_tensors
from nextword.models.settings import ModelSettings

PROCESS_MB = 12  # what Python and PyTorch take for themselves on the first forward

# argv: folder, type or "stored". MB of peak beyond what stood before, after loading and after reading one token
PEAK = """
import sys, torch
from pathlib import Path
from nextword.models.base import Batch
from nextword.models.checkpoint import load_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
status = lambda key: int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) / 1024
small = create(ModelSettings(width=16, depth=1, heads=2), 20, 0)
read = lambda model: model.logits(model.hidden(Batch(torch.ones(1, 1, dtype=torch.int64))).hidden_BTD[0])
torch.set_num_threads(1)
with torch.inference_mode():
    read(small)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    model = load_model(sys.argv[1], None if sys.argv[2] == "stored" else getattr(torch, sys.argv[2]))
    loaded = status("VmHWM")
    read(model)
print(loaded - before, status("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 27M parameters, a hundred megabytes in fp32, in several files."""
    folder = tmp_path_factory.mktemp("large")
    model = create(ModelSettings(width=512, depth=7, heads=8, ffn_width=1536, tied=False), 4000, seed=0)
    save_model(model, folder, shard_bytes=40_000_000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read as Linux tells it")
@pytest.mark.parametrize("dtype", ["stored", "float32", "bfloat16", "float64"])
def test_the_peak_is_the_models_own_size(large: Path, dtype: str) -> None:
    stored = sum(file.stat().st_size for file in large.glob("*.safetensors")) / 2**20
    own = stored * {"bfloat16": 0.5, "float64": 2}.get(dtype, 1)
    run = subprocess.run([sys.executable, "-c", PEAK, large, dtype], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded, read = map(float, run.stdout.split())
    assert read < 1.1 * own + PROCESS_MB
    if dtype in {"stored", "float32"}:
        assert loaded < 0.3 * own  # most is not read before it is needed
    else:
        assert loaded > 0.9 * own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(create(ModelSettings(width=32, depth=1, heads=2), 50, seed=0), tmp_path / "m")
    return tmp_path / "m"


def scores(model: Any) -> torch.Tensor:
    batch = Batch(torch.arange(12).view(2, 6))
    scores_BT: torch.Tensor = model.score(batch, batch.ids_BT)
    return scores_BT


def test_training_never_changes_the_file(folder: Path) -> None:
    before, model = sha256(folder / "model.safetensors"), load_model(folder)
    first = scores(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scores(model).sum().backward()
    optimizer.step()
    assert not torch.allclose(scores(model), first)
    assert sha256(folder / "model.safetensors") == before
    assert torch.equal(scores(load_model(folder)), first)


def test_a_model_is_saved_over_the_folder_that_it_is_read_from(folder: Path) -> None:
    model, other = load_model(folder), load_model(folder)
    with torch.no_grad():
        model.embedding.weight.mul_(2)
        wanted, untouched = scores(model), scores(other)
        save_model(model, folder)
        assert torch.equal(scores(model), wanted) and torch.equal(scores(load_model(folder)), wanted)
        assert torch.equal(scores(other), untouched)  # whoever has mapped the old file still has it


def test_every_type_is_mapped(tmp_path: Path) -> None:
    wanted = {name: torch.arange(24).view(2, 3, 4).to(dtype) for name, dtype in DTYPES.items()}
    wanted |= {"empty": torch.empty(0, 5), "scalar": torch.tensor(3.5)}
    save_file(wanted, tmp_path / "t.safetensors")
    found = map_tensors(tmp_path / "t.safetensors")
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_a_type_that_is_not_read_is_named(tmp_path: Path) -> None:
    save_file({"w": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "t.safetensors")
    with pytest.raises(CheckpointError, match="'w' is stored as F8_E4M3, which is not read: F64, F32"):
        map_tensors(tmp_path / "t.safetensors")


def test_a_tensor_that_was_dropped_and_its_neighbours_keep_their_numbers(tmp_path: Path) -> None:
    """Pages are handed back when a tensor is gone: neither a neighbour's changes nor a view may go with them."""
    wanted = {name: torch.full((5000,), float(number)) for number, name in enumerate("abc")}
    save_file(wanted, tmp_path / "t.safetensors")
    found = map_tensors(tmp_path / "t.safetensors")
    for tensor in found.values():
        tensor.add_(1)
    view = found.pop("b")[10:20]
    assert torch.equal(view, torch.full((10,), 2.0))
    del view
    assert torch.equal(found["a"], torch.full((5000,), 1.0)) and torch.equal(found["c"], torch.full((5000,), 3.0))
