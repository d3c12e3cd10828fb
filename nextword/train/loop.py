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
from nextword.data.stream import documents_of
from nextword.train.hook import Hook, Record
from nextword.train.run import Run
from nextword.train.schedule import Plan, factor, find


def train(run: Run, hooks: Sequence[Hook], meter: Meter, last_good: Callable[[], str]) -> None:
    """Trains until the settings' last step, or until a hook ends the run or interrupts it.

    last_good: says which checkpoint to go back to, for the error when the loss is not finite.
    """
    settings, at = run.settings, run.at
    schedule = find(settings.schedule)
    plan = Plan(settings.steps, settings.warm_steps, settings.decay, settings.floor)
    run.training(True)
    for hook in hooks:
        hook.start(run)
    feed = run.feed()
    meter.go()
    since = time.perf_counter()
    while not run.last:
        batch = feed.take(settings.rows_at(at.step), settings.length_at(at.step))
        rate = settings.learning_rate * factor(schedule, at.step, plan)
        record = update(run, batch, rate)
        if not (math.isfinite(record["loss"]) and (math.isfinite(record["grad_norm"]) or run.weights.scaling)):
            raise TrainingError(not_finite(run, batch, record) + last_good())
        at.step += 1
        at.tokens += batch.tokens
        at.place, at.loss = feed.place.to_json(), record["loss"]
        meter.step(batch.tokens)
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
    norm = torch.nn.utils.get_total_norm(grads)
    if run.settings.clip > 0:
        torch._foreach_mul_(grads, torch.clamp(run.settings.clip / (norm + 1e-6), max=1.0))
    record = {"step": run.at.step + 1, "loss": loss.item(), "learning_rate": rate, "grad_norm": norm.item()}
    record |= parts if len(parts) > 1 else {}
    run.weights.adjust_scale(record["grad_norm"])
    if math.isfinite(record["loss"]) and math.isfinite(record["grad_norm"]):
        run.optimizer.step(rate)
    run.weights.publish()
    return record


def gradients(run: Run, batch: Labelled, parts: dict[str, float] | None = None) -> Tensor:
    """Adds up the gradients of the batch's parts in the masters; the batch's loss. `parts` gets each term's mean."""
    rows, whole = run.settings.micro_rows, batch.rows
    if rows < whole and not run.objective.additive:
        raise SettingsError("this objective needs its whole batch at once: leave train.micro_batch out")
    counts = run.objective.counts(batch)
    loss = torch.zeros((), device=run.device)
    means: dict[str, Tensor] = {}
    for start in range(0, whole, rows):
        terms = run.objective(run.model, batch.part(start, start + rows).to(run.device))
        share = sum(term.total * (term.weight / max(counts[name], 1)) for name, term in terms.items())
        run.weights.backward(share)
        loss += share.detach()
        for name, term in terms.items():
            means[name] = means.get(name, 0) + term.total.detach() / max(counts[name], 1)
    if parts is not None and len(means) > 1:
        parts |= {f"loss_{name}": value.item() for name, value in means.items()}
    return loss


def not_finite(run: Run, batch: Labelled, record: Record) -> str:
    """What went wrong, where, and what may help."""
    what = "loss" if not math.isfinite(record["loss"]) else "gradient"
    return (
        f"the {what} of step {record['step']} is not finite (loss {record['loss']:.4g}, gradient norm "
        f"{record['grad_norm']:.4g}); its rows came from {documents_of(run.tokens, batch.spans)}; try a lower "
        "--train.learning_rate, a longer --train.warmup, or --train.precision=fp32; "
    )
