"""What a machine has is found out, and what it has not is refused by name."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nextword.core import device
from nextword.core.errors import SettingsError
from nextword.core.meter import Meter, peak_memory

CPU = torch.device("cpu")


def test_auto_is_a_gpu_where_there_is_one() -> None:
    assert device.choose().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device.choose("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "cpu:x", "tpu"])
def test_what_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"no device '{name}'"):
        device.choose(name)


def test_instructions_agree_with_pytorch() -> None:
    found = device.instructions()
    capability = torch.backends.cpu.get_cpu_capability()
    assert ("avx512f" in found) or capability != "AVX512"
    assert ("avx2" in found) or capability not in {"AVX2", "AVX512"}


def test_a_rate_is_what_a_product_takes() -> None:
    left = torch.ones(512, 512)
    left @ left
    fastest = min(_seconds(lambda: left @ left) for _ in range(20))
    rate = device.product_rate("fp32", CPU)
    assert 0.1 < rate / (2 * 512**3 / fastest) < 10


def _seconds(work: object) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_a_slow_format_is_not_tried_on_a_large_product(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(device, "_rate", lambda size, dtype, place: sizes.append(size) or 1e9)
    assert device.product_rate("bf16", CPU) == 1e9
    assert sizes == [256]


def test_meter_leaves_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 50.0, 51.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    meter = Meter(flops_per_token=2.0, peak=1000.0, device=CPU)
    assert meter.step(100) == 1.0
    meter.go()  # after a pause of 49 seconds
    assert meter.step(300) == 1.0
    assert meter.tokens_per_second == 200 and meter.utilisation == 0.4


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux keeps it apart")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one() -> None:
    held = torch.ones(200_000_000)  # 800 MB; PyTorch alone takes a third of that
    code = "from nextword.core.meter import peak_memory; import torch; print(peak_memory(torch.device('cpu')))"
    found = int(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert found < held.nbytes < peak_memory(CPU)


def test_peak_memory_is_in_bytes() -> None:
    held = torch.ones(60_000_000 // 4)
    assert held.nbytes < peak_memory(CPU) < 100 << 30
