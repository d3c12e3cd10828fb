"""`python -m benchmarks.ablations`: what each part of fast learning is worth; prints the table of docs/fast.md.

Every variant of the recipe `fast` trains for the same time: first some steps tell how long one takes, then as many are
made as fit, with the learning rate falling to its end. So a part that helps a step but costs time may lose. Three seeds
each; the interval is Student's, at 95 %, of the difference from the whole recipe with the same seed. A part whose
interval holds 0 has not been shown to matter here, and stays in the table.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.time_to_loss import TEXT, prepare, run_ours
from nextword.core import log

SEEDS = (0, 1, 2)
T_975 = 4.303  # Student's t with 2 degrees of freedom
TRIED, SKIPPED = 40, 10  # steps that tell the speed, and those of them that warm up


@dataclass(frozen=True)
class Variant:
    """A change of the recipe: its name in the table, and the flags that make it."""

    name: str
    flags: tuple[str, ...] = ()


VARIANTS = (
    Variant("the whole recipe"),
    *(
        Variant(f"without {part}", (f"--model.without={part}",))
        for part in ("ngrams", "value-embeddings", "mixing", "qk-norm", "relu2", "zero-outputs", "cap")
    ),
    Variant("tied output", ("--model.tied=true",)),
    Variant("n-grams up to 3", ("--model.order=3",)),
    Variant(
        "AdamW in place of Muon",
        ("--train.optimizer=adamw", "--train.muon_scale=", "--train.muon_rate=", "--train.muon_momentum="),
    ),
    Variant("NorMuon", ("--train.muon_normalised=true",)),
    Variant("Muon every second step", ("--train.muon_every=2",)),
    Variant("dense updates of tables", ("--train.sparse_tables=", "--train.table_rate=")),
    Variant("cautious decay of 0.1", ("--train.weight_decay=0.1", "--train.cautious_decay=true")),
    Variant(
        "constant rate, mean of the last fifth", ("--train.schedule=constant", "--train.floor=", "--train.tail=0.2")
    ),
    Variant("twice the batch", ("--train.batch=32",)),
)


@dataclass(frozen=True)
class Result:
    """One variant: steps that fitted, and the loss of each seed."""

    name: str
    steps: int
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The mean."""
        return statistics.mean(self.losses)

    def difference(self, whole: "Result") -> tuple[float, float]:
        """Mean and half-width of the interval of the difference from the whole recipe, seed by seed."""
        apart = [mine - other for mine, other in zip(self.losses, whole.losses, strict=True)]
        return statistics.mean(apart), T_975 * statistics.stdev(apart) / len(apart) ** 0.5


def main() -> None:
    """Measures speeds, then trains, what the file of results does not hold yet; then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="training time of each run (6)")
    parser.add_argument("--results", type=Path, default=Path("ablations.json"), help="kept, so that a run goes on")
    parser.add_argument("--speeds", action="store_true", help="only measure speeds, which wants an idle machine")
    asked = parser.parse_args()
    root = Path(os.environ.get("NEXTWORD_REALDATA", "."))
    if not (root / TEXT).is_file():
        sys.exit(f"error: set NEXTWORD_REALDATA to a folder that has {TEXT}")
    known = json.loads(asked.results.read_text()) if asked.results.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        tokens = prepare(root / TEXT, Path(name))
        for number, variant in enumerate(VARIANTS):
            row = known.setdefault(variant.name, {})
            if "steps_per_second" not in row:
                row["steps_per_second"] = speed(variant, tokens, Path(name) / f"speed{number}")
                report(variant, row, known, asked.results)
        for number, variant in enumerate([] if asked.speeds else VARIANTS):
            row = known[variant.name]
            row["steps"] = max(TRIED, round(asked.seconds * row["steps_per_second"]))
            for seed in SEEDS[len(row.setdefault("losses", [])) :]:
                out = Path(name) / f"run{number}-{seed}"
                row["losses"].append(run_ours("fast", tokens, out, seed, row["steps"], variant.flags)[1])
                report(variant, row, known, asked.results)
    if not asked.speeds:
        print(table([Result(v.name, known[v.name]["steps"], tuple(known[v.name]["losses"])) for v in VARIANTS]))


def report(variant: Variant, row: dict[str, Any], known: dict[str, Any], path: Path) -> None:
    """Keeps the results, and says what is new."""
    path.write_text(json.dumps(known, indent=1))
    print(f"{variant.name}: {row}", file=sys.stderr, flush=True)


def speed(variant: Variant, tokens: Path, out: Path) -> float:
    """Steps a second, after the first few."""
    run_ours("fast", tokens, out, 0, TRIED, variant.flags)
    times = [line["seconds"] for line in log.read(out / "log.jsonl")]
    return (TRIED - SKIPPED) / (times[-1] - times[SKIPPED - 1])


def table(found: list[Result]) -> str:
    """The results as Markdown, worst for the whole recipe first; `worse` is a loss that leaving the part out costs."""
    whole = next(result for result in found if result.name == VARIANTS[0].name)
    lines = ["| variant | steps | loss | against the whole recipe |", "|---|---|---|---|"]
    lines.append(f"| {whole.name} | {whole.steps} | {whole.loss:.4f} | |")
    others = sorted((r for r in found if r is not whole), key=lambda r: -r.loss)
    for result in others:
        mean, half = result.difference(whole)
        verdict = "worse" if mean - half > 0 else "better" if mean + half < 0 else "not shown"
        lines.append(f"| {result.name} | {result.steps} | {result.loss:.4f} | {mean:+.4f} ± {half:.4f}, {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
