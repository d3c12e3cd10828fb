"""A model card: what a model is, what it was made from and how, and what was measured, for whoever finds it on a hub.

The idea is Mitchell et al., "Model Cards for Model Reporting" (2019). Everything in it is read from files: the model's
config, and the run in whose folder it lies (ledger, settings, evaluation, samples). What nobody wrote down is not in
it; intended use and limits are for the author to add.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nextword.core.files import read_json
from nextword.core.progress import duration, quantity
from nextword.models.checkpoint import load_config
from nextword.models.count import count, describe
from nextword.models.family import note_of
from nextword.recipes.run_report import HEADINGS, figure_rows, metric_rows
from nextword.recipes.stages import LEDGER

CARD = "README.md"
PIPELINES = {
    "decoder": "text-generation",
    "encoder": "fill-mask",
}  # the hub's names; it has none for what has two halves
LEVELS = 3  # a model lies in RUN/model or RUN/pretrain/model; a run's folder is looked for so far above
EVALUATION, SAMPLES, SUMMARY = "evaluation.json", "samples.json", "summary.json"


def write_card(folder: Path, name: str, source: Path, licence: str | None) -> Path:
    """Writes the card of the model in `folder`, unless its author wrote one; `source` is where the model was made."""
    path = folder / CARD
    if not path.exists():
        path.write_text("\n".join(lines(load_config(folder), name, run_of(source), licence)) + "\n")
    return path


def run_of(source: Path) -> Path | None:
    """The folder of the run that made a model; None where there is none above it."""
    above = source.resolve().parents[:LEVELS]
    found = (folder for name in (LEDGER, SUMMARY) for folder in above if (folder / name).is_file())
    return next(found, None)


def lines(config: dict[str, Any], name: str, run: Path | None, licence: str | None) -> Iterator[str]:
    """The card, line by line."""
    model = describe(config)
    alone = note_of(config)
    yield from ("---", f"library_name: {'nextword' if alone else 'transformers'}", "tags: [nextword]")
    if model.kind in PIPELINES:
        yield f"pipeline_tag: {PIPELINES[model.kind]}"
    if licence is not None:
        yield f"license: {licence}"
    figures = count(model)
    article = "An" if model.kind[0] in "aeio" else "A"
    reads = "any length" if model.max_length is None else f"up to {model.max_length:,} tokens"
    yield from ("---", "", f"# {name.rpartition('/')[2]}", "")
    yield f"{article} {model.kind} of the family `{config['model_type']}`: {quantity(figures.parameters)} parameters"
    yield f"({figures.without_embeddings:,} without embeddings), a vocabulary of {model.vocab_size:,} tokens, texts of"
    yield f"{reads}."
    yield from ("", "```python", "import nextword as nw", "", f'lm = nw.load("{name}")', "```", "")
    if alone:
        yield from (alone, "")
    if run is not None:
        yield from made(run)
        yield from measured(run)
        yield from said(run)
        yield from chosen(run)


def tree_of(path: Path) -> Any:
    """What a file of a run holds; nothing where it is missing."""
    return read_json(path) if path.is_file() else {}


def made(run: Path) -> Iterator[str]:
    """Data and training."""
    stages = tree_of(run / LEDGER).get("stages", {})
    summaries = {name: stage.get("summary", {}) for name, stage in stages.items()}
    trained = summaries.get("pretrain") or tree_of(run / SUMMARY)
    text = tree_of(run / LEDGER).get("settings", {}).get("text", {})
    tokens = summaries.get("tokenize", {})
    if text or tokens:
        yield from ("## Data", "")
        for source in text.get("sources", ()):
            yield f"- {source}"
        if "split" in tokens:
            yield f"- held out: {tokens['split']}"
        for part in ("train", "validation"):
            if part in tokens:
                yield f"- {part}: {tokens[part]['documents']:,} documents, {tokens[part]['tokens']:,} tokens"
        yield ""
    if trained.get("steps"):
        yield from ("## Training", "")
        yield f"{trained['steps']:,} steps, {quantity(trained['tokens'])} tokens in {duration(trained['seconds'])} on"
        yield f"{trained['device']}, in {trained['precision']}; objective: {trained['objective']}."
        if trained.get("validation_loss") is not None:
            yield f"Loss on held-out text: {trained['validation_loss']:.3f} nats a prediction."
        yield ""


def measured(run: Path) -> Iterator[str]:
    """The evaluation's table."""
    figures = tree_of(run / EVALUATION)
    if not figures:
        return
    yield from ("## Evaluation", "", f"{figures.get('what', 'Held-out text')}:", "")
    metrics = figures["all"].get("metrics")
    if metrics:
        cells = metric_rows(metrics)
        yield from (row(["held-out text", *cells]), row(["---"] * (1 + len(cells))), row(["all", *cells.values()]))
    else:
        yield from (row(["held-out text", *HEADINGS]), row(["---"] * (1 + len(HEADINGS))))
        for name, cells_of in figure_rows(figures):
            yield row([name, *cells_of])
    yield ""


def said(run: Path) -> Iterator[str]:
    """What the model made of a few prompts, unchosen."""
    samples = tree_of(run / SAMPLES)
    if samples:
        yield from ("## Samples", "", "Drawn once, none left out:", "")
    for sample in samples or ():
        text = f"{sample['prompt']}{sample['text']}"
        yield from ("```text", text.replace("```", "'''"), "```", "")


def chosen(run: Path) -> Iterator[str]:
    """Every setting."""
    settings = tree_of(run / LEDGER).get("settings") or tree_of(run / "settings.json").get("settings")
    if settings:
        tree = json.dumps(settings, indent=2, ensure_ascii=False)
        yield from (
            "## Settings",
            "",
            "<details><summary>All of them</summary>",
            "",
            "```json",
            tree,
            "```",
            "</details>",
        )


def row(cells: Mapping[str, str] | list[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
