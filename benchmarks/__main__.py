"""`python -m benchmarks [NAME ...]`: runs the benchmarks in this folder and prints their ratios."""

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.ratio import Ratio

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__main__", "ablations", "llama_peer", "peers", "ratio"}  # ablations prints a table of its own


def main(names: list[str]) -> None:
    """Measures the named benchmarks (all without a name) and prints one table."""
    known = sorted(module.name for module in iter_modules([str(HERE)]) if module.name not in NOT_BENCHMARKS)
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"error: no benchmark {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    table = Table("what", "ours", "peer", "unit", "ratio", "wanted", "note")
    for name in names or known:
        print(f"measuring {name} ...", file=sys.stderr)
        rows: list[Ratio] = import_module(f"benchmarks.{name}").measure()
        for row in rows:
            verdict = "" if row.ratio >= row.wanted else " missed"
            figures = (f"{row.ours:.4g}", f"{row.peer:.4g} ({row.peer_name})", row.unit, f"{row.ratio:.2f}x")
            table.add_row(row.name, *figures, f"{row.wanted:g}x{verdict}", row.note)
    console = Console(width=None if sys.stdout.isatty() else 180)
    capability = torch.backends.cpu.get_cpu_capability()
    console.print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {capability}")
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
