"""What the report of a run shows, taken from the run's folder: ledger, log, figures, samples."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nextword.core import log
from nextword.core.progress import duration, quantity
from nextword.recipes.chart import Curve, svg
from nextword.recipes.report import Figure, Report, Sample, Section, html
from nextword.recipes.stages import Ledger

SMOOTHING = 40  # the drawn training loss has about so many independent points: a mean over 1/40 of the steps
DRAWN_POINTS = 400  # more than a picture of this width can show


def figure_rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each source of held-out text with tokens, loss, perplexity and bits per byte as text; all together last."""
    parts = list(figures["sources"].items())
    for name, row in [*parts, ("all", figures["all"])] if len(parts) > 1 else [("all", figures["all"])]:
        numbers = (number(row["loss"], 3), number(row["perplexity"], 2), number(row["bits_per_byte"], 3))
        yield name, (f"{row['tokens']:,}", *numbers)


HEADINGS = ["tokens", "loss", "perplexity", "bits per byte"]


def metric_rows(metrics: Mapping[str, float]) -> dict[str, str]:
    """An objective's metrics as text: accuracies in percent, what else there is as a number."""
    return {
        name.replace("_", " "): f"{100 * value:.1f} %" if name.endswith("_accuracy") else f"{value:,.2f}"
        for name, value in metrics.items()
    }


def number(value: float | None, digits: int) -> str:
    """A figure with so many digits behind the point; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def smooth(values: list[float]) -> list[float]:
    """The running mean over about 1/40 of the values, so that the curve shows the way and not the noise."""
    window = max(1, len(values) // SMOOTHING)
    sums, result = 0.0, []
    for place, value in enumerate(values):
        sums += value - (values[place - window] if place >= window else 0.0)
        result.append(sums / min(place + 1, window))
    return result


def curves(records: list[dict[str, Any]]) -> list[Curve]:
    """Training loss (running mean) and validation loss over the steps of a log."""
    training = [record for record in records if record.get("loss") is not None]
    every = max(1, len(training) // DRAWN_POINTS)
    means = smooth([record["loss"] for record in training])
    drawn = []
    if training:
        steps = [record["step"] for record in training]
        drawn.append(Curve("training (running mean)", steps[::every], means[::every]))
    looks = [record for record in records if record.get("validation_loss") is not None]
    if looks:
        points = [record["step"] for record in looks], [record["validation_loss"] for record in looks]
        drawn.append(Curve("validation", *points, main=True))
    return drawn


def main_figures(whole: Mapping[str, Any], tokens: Mapping[str, Any]) -> list[Figure]:
    """What says most about the model: perplexities of a decoder, metrics of what fills gaps."""
    if "metrics" in whole:
        return [Figure(name, value, "held-out text") for name, value in metric_rows(whole["metrics"]).items()]
    known = f"{tokens['vocab_size']:,} tokens known"
    return [
        Figure("bits per byte", number(whole["bits_per_byte"], 3), "held-out text; lower is better"),
        Figure("perplexity per token", number(whole["perplexity"], 2), known),
    ]


def commands(out: Path, fills: bool) -> list[str]:
    """What to type next with a model that fills gaps, or one that goes on with a text."""
    if fills:
        return [f"nextword evaluate {out / 'model'} --gaps --tokens {out / 'tokens'}"]
    return [
        f'nextword generate {out / "model"} "Once upon a time" --temperature 0.8',
        f"nextword evaluate {out / 'model'} --perplexity --text FILE",
    ]


def page(ledger: Ledger) -> str:
    """The report of a finished run as HTML."""
    summaries = {name: ledger.summary(name) for name in ledger.tree["stages"]}
    trained, figures, tokens = summaries["pretrain"], summaries["evaluate"], summaries["tokenize"]
    whole = figures["all"]
    total = sum(ledger.seconds(name) for name in summaries)
    records = log.read(ledger.out / "pretrain" / "log.jsonl")
    drawn = curves(records)
    chart = svg(drawn, "step", "nats per token", "Loss over the steps of training") if drawn else ""
    settings = ledger.tree["settings"]
    model = settings["model"]["family"]
    sizes = f"{quantity(trained['parameters'])} parameters"
    machine = f"{trained['device']}, {trained['precision']}; nextword {version('nextword')}, torch {version('torch')}"
    return html(
        Report(
            title=f"Run {ledger.tree['recipe']}",
            summary=f"A {model} of {sizes}, trained on {quantity(trained['tokens'])} tokens in {duration(total)}.",
            figures=[
                *main_figures(whole, tokens),
                Figure("loss", number(whole["loss"], 3), "nats per prediction, held-out text"),
                Figure("parameters", quantity(trained["parameters"]), "embeddings included"),
                Figure("time", duration(total), "all stages"),
                Figure("peak memory", f"{trained['memory'] / 1e9:.1f} GB", "of the process while training"),
            ],
            chart=chart,
            samples=[Sample(row["prompt"], row["text"]) for row in summaries["sample"]["samples"]],
            sections=[
                Section(
                    "Held-out text",
                    ["source", *HEADINGS],
                    [(name, *row) for name, row in figure_rows(figures)],
                    f"Scored: {figures['what']}. The split: {tokens['split']}.",
                ),
                Section(
                    "Stages",
                    ["stage", "time"],
                    [(name, duration(ledger.seconds(name))) for name in summaries],
                    f"On {machine}.",
                ),
            ],
            settings=settings,
            commands=[
                *commands(ledger.out, "metrics" in whole),
                f"nextword verify {ledger.out / 'model'}",
                f"nextword inspect {ledger.out / 'model'}",
            ],
        )
    )
