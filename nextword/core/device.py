"""What this machine computes with: device, processor instructions, and how fast its matrix products are.

Nearly all the work of a language model is matrix products, so their measured rate says which number format is fast here
and how close a training step comes to what the machine can do (`core/meter.py`). It has to be measured: one processor
multiplies bf16 four times faster than fp32 (AVX512-BF16, AMX), another a hundred times slower (emulated).
"""

import platform
import time
from functools import cache
from pathlib import Path

import torch

from nextword.core.errors import SettingsError, nearest

# Instruction sets that decide which kernels are fast, by the names of Linux's /proc/cpuinfo (x86, then ARM).
INSTRUCTIONS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8",
                "asimd", "asimddp", "bf16", "i8mm", "sve")  # fmt: skip

# Dense bf16 (fp16 where there is no bf16) products with fp32 accumulation, FLOP/s, from the makers' data sheets.
GPU_PEAKS = {"B200": 2250e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12,
             "A10G": 70e12, "RTX 4090": 165e12, "RTX 3090": 71e12, "V100": 125e12, "T4": 65e12}  # fmt: skip

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TRIAL_SECONDS = 0.05  # one measurement repeats products for about this long
TRIAL_SIZES = {"cpu": (256, 768), "cuda": (2048, 8192)}  # a first look, then a product large enough to be at full speed


def choose(name: str = "auto") -> torch.device:
    """The device called `name` (`auto`: a GPU if there is one, else the CPU).

    Raises SettingsError when there is none of that name here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kinds = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind, _, index = name.partition(":")
    if kind not in kinds or (index and not index.isdecimal()):
        raise SettingsError(f"no device {name!r}{nearest(kind, kinds)}")
    if not kinds[kind] or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        raise SettingsError(f"this machine has no device {name!r}; `nextword doctor` shows what it has")
    return torch.device(name)


@cache
def instructions() -> tuple[str, ...]:
    """Those of INSTRUCTIONS that this processor has (on Linux; elsewhere what PyTorch reports)."""
    file = Path("/proc/cpuinfo")
    if file.exists():
        lines = file.read_text(errors="replace").splitlines()
        flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
        return tuple(name for name in INSTRUCTIONS if name in flags.split())
    capability = torch.backends.cpu.get_cpu_capability()
    return {"AVX2": ("avx2", "fma"), "AVX512": ("avx2", "fma", "avx512f")}.get(capability, ())


@cache
def processor() -> str:
    """The processor's name as it calls itself."""
    file = Path("/proc/cpuinfo")
    if file.exists():
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe(device: torch.device) -> str:
    """One line that names the device: the GPU, or the processor with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def product_rate(precision: str, device: torch.device) -> float:
    """Measured FLOP/s of square matrix products in `precision` (fp32, bf16 or fp16).

    Takes about 0.1 s; a format that turns out very slow on a small product is not tried on a large one.
    """
    small, large = TRIAL_SIZES.get(device.type, TRIAL_SIZES["cuda"])
    rate = _rate(small, DTYPES[precision], device)
    if 2 * large**3 / rate > 10 * TRIAL_SECONDS:
        return rate
    return max(rate, _rate(large, DTYPES[precision], device))


def _rate(size: int, dtype: torch.dtype, device: torch.device) -> float:
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    out = left @ right  # the first call pays for setting up
    _wait(device)
    best, passed = float("inf"), 0.0
    while passed < TRIAL_SECONDS:
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        _wait(device)
        seconds = time.perf_counter() - began
        best, passed = min(best, seconds), passed + seconds
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_rate(precision: str, device: torch.device) -> float:
    """FLOP/s that products in `precision` can reach here: the GPU's published peak where known, else as measured."""
    if device.type == "cuda" and precision != "fp32":
        name = torch.cuda.get_device_name(device)
        for known, rate in GPU_PEAKS.items():
            if known in name:
                return rate
    return product_rate(precision, device)
