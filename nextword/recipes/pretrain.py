"""`nextword pretrain`: tokens in, a trained model in a Hugging Face folder out."""

import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from torch import nn

from nextword.assembly.folder import locate
from nextword.core.distributed import ALONE, World, joined
from nextword.core.errors import SettingsError
from nextword.core.files import fingerprint
from nextword.core.progress import Progress, duration, quantity
from nextword.core.registry import part
from nextword.core.settings import to_tree
from nextword.data.shards import TOKENIZER, Tokens
from nextword.models.checkpoint import load_config, load_model, write_model
from nextword.models.count import count as count_costs
from nextword.models.create import create
from nextword.models.family import Family, Storable, note_of
from nextword.models.settings import FAMILIES, ModelSettings
from nextword.objectives.choose import choose, heads, settled
from nextword.objectives.settings import ObjectiveSettings
from nextword.recipes.pretrain_settings import PretrainSettings
from nextword.tokenizers.base import Tokenizer
from nextword.train import count, rates
from nextword.train import pretrain as training
from nextword.train.folder import Summary
from nextword.train.pretrain import ModelFiles, Text
from nextword.train.settings import TrainSettings


def main(settings: PretrainSettings) -> None:
    """Trains, then prints what came of it and the next command to type."""
    with joined() as world:
        summary = pretrain_tokens(
            settings.tokens,
            settings.model,
            settings.train,
            settings.out,
            init_from=settings.init_from,
            objective=settings.objective,
            quiet=settings.quiet,
            world=world,
        )
    if not world.first:
        return
    if settings.json:
        print(json.dumps(asdict(summary) | {"tokens_per_second": summary.tokens_per_second}))
        return
    show(summary)


def pretrain_tokens(
    tokens: Path | str,
    model: ModelSettings,
    train: TrainSettings,
    out: Path | str,
    *,
    init_from: str | None = None,
    objective: ObjectiveSettings | None = None,
    quiet: bool | Progress = False,
    world: World = ALONE,
) -> Summary:
    """Trains a model on a folder of tokens into `out`; called again with the same arguments, it goes on or is done.

    model: the family and sizes of a fresh model. init_from: a model folder or hub id to begin with instead. objective:
    what it is trained for, by its kind if left out. world: the processes that train together, all of which call this; a
    model that counts is process 0's work. quiet: True says nothing; a line of progress of the caller's is updated, and
    no more said.
    Raises DataError for tokens that cannot be used, SettingsError for settings that do not fit or an `out` that holds
    another run, TrainingError when the loss is not finite, KeyboardInterrupt after Ctrl-C with everything saved.
    """
    tokens, out = Path(tokens), Path(out)
    text, tokenizer, fresh, asked, depends = world.attempt(
        lambda: opened(tokens, model, train, init_from, objective or ObjectiveSettings())
    )

    def write(folder: Path, trained: Any) -> None:
        folder.mkdir(exist_ok=True)
        write_model(trained, folder)
        tokenizer.save(folder)

    files = ModelFiles(write, load_model)
    if not isinstance(fresh, nn.Module):
        counted = cast(count.Counted, fresh)

        def by_counting() -> dict[str, Any]:
            return asdict(count.pretrain(counted, text, train, out, files, depends=depends, quiet=quiet is not False))

        return Summary(**world.lead(by_counting, world.patient))
    flops = count_costs(fresh, train.length).flops_training
    chosen = world.attempt(lambda: choose(asked, fresh, tokenizer, train.seed))
    return training.pretrain(
        fresh, text, train, out, files, depends=depends, flops_per_token=flops, objective=chosen, quiet=quiet,
        world=world,
    )  # fmt: skip


def opened(
    tokens: Path, model: ModelSettings, train: TrainSettings, init_from: str | None, asked: ObjectiveSettings
) -> tuple[Text, Tokenizer, Storable, ObjectiveSettings, dict[str, Any]]:
    """All that training needs: text, tokenizer, model, objective, and what these are as a JSON-like tree."""
    splits = [Tokens.open(tokens, "train"), Tokens.open(tokens, "validation")]
    text = Text(splits[0], splits[1] if len(splits[1]) > 1 else None)
    tokenizer = Tokenizer.load(tokens / TOKENIZER)
    fresh, origin = begin(fitting(model, asked), train, splits[0].vocab_size, tokenizer, init_from)
    asked = settled(asked, fresh.kind, heads(fresh))
    depends = {"text": fingerprint([[split.fingerprint, split.checksums] for split in splits]), **origin}
    if asked != ObjectiveSettings(name="next-token"):  # which runs of earlier versions do not name
        depends["objective"] = to_tree(asked)
    return text, tokenizer, fresh, asked, depends


def fitting(model: ModelSettings, objective: ObjectiveSettings) -> ModelSettings:
    """The model with the further heads that the objective trains and no others, where the settings leave it open."""
    family = cast(Family, part(FAMILIES, model.family, "FAMILY"))
    if "next_sentence" not in family.honoured or model.next_sentence is not None:
        return model
    return replace(model, next_sentence=objective.name == "next-sentence")


def begin(
    model: ModelSettings, train: TrainSettings, vocab_size: int, tokenizer: Tokenizer, init_from: str | None
) -> tuple[Storable, dict[str, Any]]:
    """The model as it is before the first step, and where it comes from as a JSON-like tree."""
    if init_from is None:
        made = create(
            model,
            vocab_size,
            train.seed,
            eos_id=tokenizer.eos_id,
            bos_id=tokenizer.bos_id,
            pad_id=tokenizer.pad_id,
        )
        if isinstance(made, nn.Module):
            rates.fit(made, train)
        return made, {"model": to_tree(model)}
    if train.mup_width is not None:
        raise SettingsError(
            "train.mup_width scales fresh weights, and --init-from brings its own: leave one of them out"
        )
    if model != ModelSettings():
        raise SettingsError("--init-from brings a model of its own: leave the --model settings out")
    folder = locate(init_from)
    loaded, theirs = load_model(folder), Tokenizer.load(folder)
    if not isinstance(loaded, nn.Module):
        raise SettingsError(f"{init_from} is counted from text, it has no weights to go on from: leave --init-from out")
    if theirs.fingerprint != tokenizer.fingerprint:
        raise SettingsError(
            f"the tokens were made with another tokenizer than that of {init_from}: tokenise the text with "
            f"--tokenizer {init_from}"
        )
    weights = fingerprint([[name, tensor.double().sum().item()] for name, tensor in loaded.state_dict().items()])
    return loaded, {"init_from": weights}


def show(summary: Summary) -> None:
    """Prints the figures and the next command."""
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rows = [("model", summary.model), ("parameters", f"{summary.parameters:,}")]
    if summary.loss is not None:
        rows.append(("last training loss", f"{summary.loss:.4f} {UNIT.get(summary.objective, MIXED)}"))
    if summary.validation_loss is not None:
        found = f"{summary.validation_loss:.4f} {UNIT.get(summary.objective, MIXED)}"
        if summary.objective == "next_token":
            found += f", perplexity {math.exp(min(summary.validation_loss, 700.0)):,.2f}"
        rows.append(("validation loss", f"{found} (best, at step {summary.best_step:,})"))
    accuracies = {name: value for name, value in summary.metrics.items() if not name.startswith("validation_")}
    rows += [(name.replace("_", " "), f"{100 * value:.1f} %") for name, value in accuracies.items()]
    speed = f"{quantity(summary.tokens_per_second)} tokens/s"
    rows += [
        ("steps", f"{summary.steps:,} ({ENDED[summary.ended]}), {summary.tokens:,} tokens"),
        ("time", f"{duration(summary.seconds)}, {speed} on {summary.device}, {summary.precision}"),
        ("peak memory", f"{quantity(summary.memory)}B"),
    ]
    for row in rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table)
    if note := note_of(load_config(Path(summary.model))):
        print(f"note: {note}")
    print(f"next: {NEXT.get(summary.objective, NEXT['next_token'])}".format(model=summary.model))


UNIT = dict.fromkeys(("next_token", "infill", "prefix", "spans"), "nats per token")
UNIT["masked"] = "nats per hidden token"
MIXED = "(the sum of the objective's weighted means)"
NEXT = {  # objective -> the command to type
    "next_token": 'nextword generate {model} "Once upon a time"',
    **dict.fromkeys(
        ("masked", "masked + next_sentence", "generator + replaced_token", "spans"),
        "nextword evaluate {model} --gaps --tokens TOKENS",
    ),
}
ENDED = {
    "finished": "all",
    "patience": "stopped early: the validation loss got no better",
    "time": "the time was up: a larger --max-time goes on",
    "stop": "stopped where --train.stop_at says: a larger one goes on",
}
