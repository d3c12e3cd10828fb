"""`nextword doctor`: what this machine has, what it lacks, and the command that installs it.

Each check is tried, not assumed: a matrix product is timed, a compiled loop is run, a file is written.
"""

import importlib
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numba
import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from nextword.core import device
from nextword.core.errors import NextwordError
from nextword.core.files import free_bytes, write_atomic
from nextword.recipes.doctor_settings import DoctorSettings

LOW_MEMORY = 2 << 30  # bytes below which the demo does not fit
LOW_DISK = 1 << 30
EXTRAS = {"hub": ("huggingface_hub",)}  # extra of `pip install nextword[...]`: the modules it brings
SIGNS = {"ok": "ok", "missing": "missing (optional)", "broken": "BROKEN"}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, whether it is `ok`, `missing` or `broken`, and the remedy."""

    name: str
    found: str
    state: str = "ok"
    remedy: str = ""


def packages() -> list[Finding]:
    """Every package that nextword requires, with its version."""
    findings = []
    needed = [line for line in requires("nextword") or [] if "extra ==" not in line]
    for line in needed:
        name = line.replace("<", ">").replace("=", ">").replace("!", ">").split(">")[0].strip()
        try:
            findings.append(Finding(name, version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, "not installed", "broken", f"pip install '{line}'"))
    return findings


def extras() -> list[Finding]:
    """The optional parts."""
    findings = []
    for extra, modules in EXTRAS.items():
        try:
            for module in modules:
                importlib.import_module(module)
            findings.append(Finding(f"extra {extra}", "installed"))
        except ImportError:
            remedy = f"pip install 'nextword[{extra}]'"
            findings.append(Finding(f"extra {extra}", "not installed", "missing", remedy))
    return findings


def processor() -> list[Finding]:
    """Cores, instructions, and the measured rate of matrix products in each format."""
    cpu = torch.device("cpu")
    rates = {name: device.product_rate(name, cpu) / 1e9 for name in ("fp32", "bf16")}
    best = max(rates, key=lambda name: rates[name])
    measured = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
    return [
        Finding("processor", f"{device.processor()}, {torch.get_num_threads()} threads in use"),
        Finding("instructions", " ".join(device.instructions()) or "unknown"),
        Finding("matrix products", f"{measured}: training here uses {best}"),
    ]


def graphics() -> Finding:
    """The GPU, tried with a product."""
    if not torch.cuda.is_available():
        return Finding("GPU", "none that this PyTorch can use; training and generation run on the CPU", "missing")
    place = torch.device("cuda")
    rate = device.product_rate("bf16", place) / 1e12
    memory = torch.cuda.get_device_properties(place).total_memory / 1e9
    return Finding("GPU", f"{device.describe(place)}, {memory:.0f} GB, bf16 {rate:.0f} TFLOP/s")


def compiler() -> Finding:
    """Whether Numba compiles and runs a loop here."""
    loop: Callable[[np.ndarray], float] = numba.njit(lambda x: x.sum() + 1)
    right = loop(np.ones(3)) == 4
    if not right:
        return Finding(
            "Numba", f"{numba.__version__} computes wrongly", "broken", "pip install --force-reinstall numba"
        )
    return Finding("Numba", f"{numba.__version__} compiles")


def disk() -> Finding:
    """Whether a file can be written here, and the room there is."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(dir=here) as folder:
        write_atomic(Path(folder) / "trial", "x")
    free = free_bytes(here)
    remedy = "free some space, or run in another folder" if free < LOW_DISK else ""
    return Finding("disk", f"{free / 1e9:.0f} GB free in {here}", "broken" if remedy else "ok", remedy)


def memory() -> Finding:
    """The machine's memory."""
    status = psutil.virtual_memory()
    low = status.available < LOW_MEMORY
    found = f"{status.available / 1e9:.1f} of {status.total / 1e9:.1f} GB available"
    return Finding(
        "memory", found, "broken" if low else "ok", "close other programs; the demo needs 2 GB" if low else ""
    )


def attempt(name: str, check: Callable[[], list[Finding] | Finding]) -> list[Finding]:
    """The findings of a check; a check that fails is itself a finding."""
    try:
        result = check()
    except (OSError, RuntimeError, NextwordError, ImportError) as error:
        return [
            Finding(name, f"{type(error).__name__}: {error}", "broken", "mend this, then run nextword doctor again")
        ]
    return result if isinstance(result, list) else [result]


def findings() -> list[Finding]:
    """All checks, in the order in which they are shown."""
    python = Finding("Python", f"{platform.python_version()} at {sys.executable}")
    checks: dict[str, Callable[[], list[Finding] | Finding]] = {
        "nextword": lambda: Finding("nextword", version("nextword")),
        "packages": packages,
        "processor": processor,
        "GPU": graphics,
        "Numba": compiler,
        "memory": memory,
        "disk": disk,
        "extras": extras,
    }
    return [python, *(finding for name, check in checks.items() for finding in attempt(name, check))]


def main(settings: DoctorSettings) -> int:
    """Prints the findings; status 1 when something that nextword needs is broken."""
    found = findings()
    broken = any(finding.state == "broken" for finding in found)
    if settings.json:
        print(json.dumps({"ok": not broken, "findings": [asdict(finding) for finding in found]}, indent=2))
        return int(broken)
    table = Table("", "found", "state", "remedy", box=None, padding=(0, 2, 0, 0))
    for finding in found:
        colour = {"ok": "", "missing": "yellow", "broken": "red"}[finding.state]
        table.add_row(
            finding.name, finding.found, f"[{colour}]{SIGNS[finding.state]}[/]" if colour else "ok", finding.remedy
        )
    Console().print(table)
    print(
        "\nsomething needs mending, see above"
        if broken
        else "\nall that nextword needs is here; next: nextword run demo"
    )
    return int(broken)
