"""Training by counting: one pass over the text, no gradients, the same folder at the end.

An n-gram has no steps to resume: it counts again from the start when it was killed, and ends with the same tables.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from nextword.core.device import describe
from nextword.core.errors import DataError
from nextword.core.files import atomic_folder
from nextword.core.log import StepLog
from nextword.core.meter import peak_memory
from nextword.data.stream import TokenRow
from nextword.models.base import LanguageModel
from nextword.objectives.next_token import NextToken
from nextword.train import folder
from nextword.train.lock import only_one
from nextword.train.pretrain import ModelFiles, Text, say
from nextword.train.settings import TrainSettings
from nextword.train.validation import Validation

CPU = torch.device("cpu")


class Counted(LanguageModel, Protocol):
    """A model that learns by counting."""

    def count(self, tokens: TokenRow) -> None:
        """Learns the counts of all tokens, in place of those it had."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Its tables."""
        ...


def pretrain(
    model: Counted,
    text: Text,
    settings: TrainSettings,
    out: Path,
    files: ModelFiles,
    *,
    depends: Mapping[str, Any],
    quiet: bool = False,
) -> folder.Summary:
    """Counts `text` into `model` and writes it to `out/model`; the figures at the end.

    `train.length` is the length of the rows on which the loss is measured, which are those of every other model.
    """
    with only_one(out):
        used = {"length": settings.length, "eval_tokens": settings.eval_tokens}
        resolved = folder.begin(out, {**depends, "train": used}, settings, resolve)
        done = folder.finished(out, settings)
        if done is not None:
            say(f"{out} is finished; nothing to do", quiet)
            return done
        if len(text.train) < 2:
            raise DataError(f"the text has {len(text.train)} tokens; counting needs at least 2")
        say(f"counting {len(text.train):,} tokens; of [train] only length and eval_tokens apply", quiet)
        began = time.perf_counter()
        model.count(text.train)
        seconds = round(time.perf_counter() - began, 3)
        measured = settings.length, settings.eval_tokens, 16
        losses = [
            None if tokens is None else Validation(tokens, NextToken(), *measured).loss(model, CPU)
            for tokens in (text.train, text.validation)
        ]
        with atomic_folder(out / folder.MODEL) as place:
            files.write(place, model)
        summary = folder.Summary(
            model=str(out / folder.MODEL),
            parameters=sum(table.numel() for table in model.state_dict().values()),
            steps=1,
            tokens=len(text.train),
            seconds=seconds,
            loss=losses[0],
            validation_loss=losses[1],
            best_step=None if losses[1] is None else 1,
            precision=resolved.precision,
            threads=resolved.threads,
            device=resolved.processor,
            memory=peak_memory(CPU),
            ended="finished",
        )
        with StepLog(out / folder.LOG) as log:
            log.write({"step": 1, "loss": losses[0], "tokens": len(text.train), "seconds": seconds,
                       "validation_loss": losses[1], "memory": summary.memory})  # fmt: skip
        summary.save(out)
        return summary


def resolve() -> folder.Resolved:
    """What counts are made with."""
    return folder.Resolved("counts", "no matrix products", "cpu", torch.get_num_threads(), describe(CPU))
