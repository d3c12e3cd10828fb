"""The training loop: batch, gradient, clip, step, hooks.

    theta <- theta - update(gradient of the mean loss over the whole batch)

A batch may be computed in parts (micro-batches) when it does not fit in memory. Each part's summed loss is divided by
the number of predictions in the whole batch, so that the parts' gradients add up to exactly the whole batch's; the mean
of the parts' means would weigh a part with few predictions too heavily.
"""

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nextword.core.errors import SettingsError, TrainingError
from nextword.core.meter import Meter
from nextword.data.labelled import Labelled
from nextword.train.divergence import broken, diverged, not_finite, too_high
from nextword.train.hook import Hook, Record
from nextword.train.parallel.share import even
from nextword.train.run import Run
from nextword.train.schedule import factor, find, plan_of

ROWS = "rows"  # counted beside the predictions


def train(run: Run, hooks: Sequence[Hook], meter: Meter, last_good: Callable[[int], str]) -> None:
    """Trains until the settings' last step, or until a hook ends the run or interrupts it.

    last_good: says which checkpoint of at most so many steps to go back to, for the error when training is broken.
    """
    settings, at = run.settings, run.at
    schedule, plan = find(settings.schedule), plan_of(settings)
    run.training(True)
    for hook in hooks:
        hook.start(run)
    feed = run.feed()
    meter.go()
    since = time.perf_counter()
    while not run.last:
        rows = settings.rows_at(at.step)
        batch = feed.take(rows, settings.length_at(at.step), even(rows, run.world.rank, run.world.size))
        rate = settings.learning_rate * factor(schedule, at.step, plan)
        record = update(run, batch, rate)
        if broken(run, record):
            raise run.world.told(TrainingError(not_finite(run, batch, record) + last_good(at.step - at.high_steps)))
        if diverged(at, record["loss"]):
            raise run.world.told(TrainingError(too_high(run, record) + last_good(record["step"] - at.high_steps)))
        at.step += 1
        at.tokens += record["tokens"]
        at.place, at.loss = feed.place.to_json(), record["loss"]
        meter.step(record["tokens"])
        now = time.perf_counter()
        at.seconds, since = at.seconds + now - since, now
        if at.step == settings.steps:
            at.ended = "finished"
        record |= {"tokens": at.tokens, "seconds": round(at.seconds, 3)}
        for hook in hooks:
            hook.step(run, record)
    for hook in hooks:
        hook.end(run)


def update(run: Run, batch: Labelled, rate: float) -> Record:
    """One step: the gradient of the batch's mean loss, clipped; then the optimizer's update with learning rate `rate`.

    The weights stay as they are when loss or gradient is not finite.
    """
    parts: dict[str, float] = {}
    loss = gradients(run, batch, parts)
    grads = run.weights.gradients()
    norm = run.weights.norm(grads)
    if run.settings.clip > 0:
        torch._foreach_mul_(grads, torch.clamp(run.settings.clip / (norm + 1e-6), max=1.0))
    whole, tokens, *means = run.world.total([loss.item(), batch.tokens, *parts.values()])
    record = {"step": run.at.step + 1, "loss": whole, "learning_rate": rate, "grad_norm": norm.item()}
    record |= dict(zip(parts, means, strict=True)) | {"tokens": int(tokens)}
    run.settle()
    run.weights.adjust_scale(record["grad_norm"])
    if math.isfinite(record["loss"]) and math.isfinite(record["grad_norm"]):
        run.optimizer.step(rate)
    if run.average is not None:
        run.average.update(run.at.step)
    run.weights.publish()
    return record


def gradients(run: Run, batch: Labelled, parts: dict[str, float] | None = None) -> Tensor:
    """Adds up the gradients of the batch's parts in the masters; the batch's loss. `parts` gets each term's mean.

    Where several processes share a batch, `batch` holds this one's rows: each sum is divided by the number of
    predictions in the whole batch, and loss and means are this process's share of it.
    """
    rows = batch.rows
    if (run.settings.micro_rows < rows or run.world.several) and not run.objective.additive:
        raise SettingsError("this objective needs its whole batch at once: leave train.micro_batch and torchrun out")
    counts = run.world.counts({**run.objective.counts(batch), ROWS: rows})
    pieces = pieces_of(rows, counts.pop(ROWS), run.settings.micro_rows, run.world.size)
    loss = torch.zeros((), device=run.device)
    means: dict[str, Tensor] = {}
    for number, (start, stop) in enumerate(pieces, 1):
        piece = batch.part(start, stop or 1).to(run.device)
        terms = run.weights.call(lambda model, piece=piece: run.objective(model, piece))
        if not stop:
            terms = {name: term._replace(total=term.total * 0) for name, term in terms.items()}
        share = sum(term.total * (term.weight / max(counts[name], 1)) for name, term in terms.items())
        run.weights.backward(share, last=number == len(pieces))
        loss += share.detach()
        for name, term in terms.items():
            means[name] = means.get(name, 0) + term.total.detach() / max(counts[name], 1)
    if parts is not None and len(means) > 1:
        parts |= {f"loss_{name}": value.item() for name, value in means.items()}
    return loss


def pieces_of(rows: int, whole: int, at_once: int, size: int) -> list[tuple[int, int]]:
    """(start, stop) of the parts of this process's rows: as many on each of the `size` processes that share `whole`.

    A process that has a row less may get an empty part, for which it computes a row that counts nothing.

    >>> pieces_of(5, 5, 2, 1), pieces_of(3, 7, 3, 2)
    ([(0, 2), (2, 4), (4, 5)], [(0, 3), (0, 0)])
    """
    found = [(start, min(start + at_once, rows)) for start in range(0, rows, at_once)]
    most = -(-whole // size)
    return found + [(0, 0)] * (-(-most // at_once) - len(found))
