"""What came of a tune as a table, a picture and a page."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nextword.core import log
from nextword.core.progress import duration, quantity
from nextword.core.settings import to_tree
from nextword.recipes.chart import ACCENT, INK, picture, plain
from nextword.recipes.report import Figure, Report, Section, html
from nextword.recipes.trials import Choice
from nextword.recipes.tune_plan import Plan
from nextword.recipes.tune_result import TRIALS, ranking
from nextword.train.folder import LOG

PANEL = (3.0, 3.2)  # inches of the picture for each rung
NARROWEST = 6.4
LINES = ("-", "--", ":", "-.")


def results(plan: Plan, tree: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A table with a row a trial, best first, the trials of each width by themselves: its heading, its rows."""
    names = plan.fields
    rungs = [f"loss, rung {rung + 1}" for rung in range(len(plan.sizes))]
    rows = []
    for group in plan.groups.values():
        for rank, choice in enumerate(ranking(tree, group), 1):
            entry = tree["trials"][choice.name]
            losses = ["diverged" if loss is None else f"{loss:.4f}" for loss in entry["losses"]]
            losses += ["-"] * (len(rungs) - len(losses))
            speed = [duration(entry["seconds"]), quantity(entry["tokens_per_second"])]
            rows.append([f"{rank}", *(f"{getattr(choice, name):g}" for name in names), *losses, *speed])
    return ["rank", *(name.replace("_", " ") for name in names), *rungs, "time", "tokens/s"], rows


def by_width(plan: Plan, tree: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A table of the best trial of each width: loss after equally many tokens, and after equal time."""
    entries = {width: tree["trials"][name] | {"name": name} for width, name in tree["best_of_width"].items()}
    rows = []
    if entries:
        shortest = min(entry["seconds"] for entry in entries.values())
        for width, entry in entries.items():
            early = loss_within(plan.settings.out / TRIALS / entry["name"], shortest)
            rows.append(
                [width, f"{entry['learning_rate']:g}", quantity(entry["parameters"]), f"{entry['losses'][-1]:.4f}",
                 duration(entry["seconds"]), "-" if early is None else f"{early:.4f}"]
            )  # fmt: skip
        heading = ["width", "learning rate", "parameters", "loss", "time", f"loss within {duration(shortest)}"]
        return heading, rows
    return [], []


def loss_within(out: Path, seconds: float) -> float | None:
    """The last validation loss that a run had measured after so many seconds of training."""
    looks = [row for row in log.read(out / LOG) if row.get("validation_loss") is not None]
    return next((row["validation_loss"] for row in reversed(looks) if row["seconds"] <= seconds), None)


def chart(plan: Plan, tree: dict[str, Any]) -> str:
    """Loss over the learning rate, a panel a rung, a line for each width and batch; the best of each is marked."""
    series: dict[str, list[Choice]] = {}
    for group in plan.groups.values():
        for choice in group:
            series.setdefault(choice.words([name for name in plan.fields if name != "learning_rate"]), []).append(
                choice
            )

    def draw(axes: Any) -> None:
        panels = axes if len(plan.sizes) > 1 else [axes]
        for rung, panel in enumerate(panels):
            for number, (name, choices) in enumerate(series.items()):
                shade = 1.0 if len(series) == 1 else 0.35 + 0.65 * number / (len(series) - 1)
                line(panel, points(tree, choices, rung), name, shade, LINES[number % len(LINES)])
            panel.set_xscale("log")
            loss = "validation loss" if rung == 0 else ""
            first = next(iter(plan.groups.values()))[0]
            tokens = plan.step(first, rung) * first.batch * plan.settings.train.length
            panel.set_title(f"rung {rung + 1}: {quantity(tokens)} tokens", color=INK, fontsize=10)
            plain(panel, "learning rate", loss)
        if len(series) > 1:
            panels[0].legend(frameon=False, labelcolor=INK, fontsize=9)

    width = max(NARROWEST, PANEL[0] * len(plan.sizes))
    return picture(draw, "Validation loss over the learning rate", (width, PANEL[1]), len(plan.sizes))


def line(panel: Any, found: Sequence[tuple[float, float]], name: str, shade: float, style: str) -> None:
    """One line with its points, the lowest in the page's accent."""
    if not found:
        return
    panel.plot(*zip(*found, strict=True), style, color=INK, alpha=shade, linewidth=1.2, marker="o", markersize=3.5,
               label=name)  # fmt: skip
    best = min(found, key=lambda point: point[1])
    panel.plot(*best, "o", color=ACCENT, markersize=6.5)


def points(tree: dict[str, Any], choices: Sequence[Choice], rung: int) -> list[tuple[float, float]]:
    """(learning rate, loss) of those that ended a rung, by the learning rate; what diverged has no point."""
    losses = [(choice.learning_rate, tree["trials"][choice.name]["losses"][rung : rung + 1]) for choice in choices]
    return sorted((rate, found[0]) for rate, found in losses if found and found[0] is not None)


def page(plan: Plan, tree: dict[str, Any]) -> str:
    """The report as HTML."""
    entries, settings = tree["trials"], plan.settings
    best = entries[tree["best"]]
    seconds = sum(entry["seconds"] for entry in entries.values())
    heading, rows = results(plan, tree)
    diverged = sum(bool(entry["diverged"]) for entry in entries.values())
    notes = [*tree["advice"], *([f"{diverged} of {len(entries)} trials diverged."] if diverged else [])]
    sections = [Section("Trials", heading, rows, " ".join(notes))]
    if tree["best_of_width"]:
        note = "Loss after equally many tokens; and what each had reached in the time that the fastest took."
        sections.append(Section("Widths", *by_width(plan, tree), note))
    tree_of = {name: to_tree(getattr(settings, name)) for name in ("tune", "model", "objective", "train")}
    return html(
        Report(
            title=f"Tune {settings.out.name}",
            summary=f"{len(entries)} trials of a {settings.model.family} on {len(plan.sizes)} rungs in "
            f"{duration(seconds)} of training, {tree['precision']}; nextword {version('nextword')}.",
            figures=[
                *(
                    Figure(name.replace("_", " "), f"{best[name]:g}", "of the best trial")
                    for name in plan.fields
                ),
                Figure("validation loss", f"{best['losses'][-1]:.4f}", "nats per prediction, best trial"),
                Figure("time", duration(seconds), "of training, all trials"),
            ],
            chart=chart(plan, tree),
            samples=[],
            sections=sections,
            settings=tree_of,
            commands=[tree["next"]],
        )
    )  # fmt: skip
