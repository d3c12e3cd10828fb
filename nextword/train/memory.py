"""What a step of training takes in memory, found out on a few rows before the first step.

    need(rows) = weights, masters, optimizer, mean       held from the start on
               + copies for checkpoints                  in main memory, while they are written
               + max over phases (base + slope · rows)   activations, gradients, and what is held for a moment

A step has one phase for each weight whose gradient it completes: in the first, the activations of the forward pass are
there and no gradient; in the last, all gradients and no activations. In each of them the bytes are a straight line in
the rows computed at once, so two small rehearsals (forward and backward, without an update) give the lines, and the
highest line at the real number of rows is what the step takes. The cross-entropy bends them: from `nn/loss.LIMIT_BYTES`
on, scores are computed in chunks; larger batches are rehearsed beyond the bend. A rehearsal costs at most what one
micro-batch costs. An LSTM's real peak is lower: its kernels ask for room that they do not touch. An optimizer that
holds large tensors only within its update would take more than this says.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from nextword.core import memory
from nextword.core.errors import ResourceError
from nextword.core.memory import Held, HeldOnGpu, TooMuch, bytes_of
from nextword.data.feed import Feed
from nextword.data.stream import Place
from nextword.nn.loss import LIMIT_BYTES
from nextword.train.loop import gradients
from nextword.train.run import Run

SCORE_BYTES = 4  # scores over the vocabulary are fp32
SPARE = 1.15  # measured: what malloc and operations within themselves take beside the tensors
FEW = 2  # rows of a first rehearsal: with a single one, kernels take other ways
GB = 1e9


@dataclass(frozen=True)
class Need:
    """Bytes that training takes. lines: (base, slope) of each phase of a step; together they say `step(rows)`."""

    held: int
    copies: int
    lines: tuple[tuple[float, float], ...]

    def step(self, rows: int) -> float:
        """Beside what is held: the most while a step computes so many rows at once."""
        return max(base + slope * rows for base, slope in self.lines)

    def rows(self, room: float) -> int:
        """The most rows whose step takes at most `room` bytes; 0 where not even one does."""
        if self.step(1) > room:
            return 0
        return int(min((room - base) / slope for base, slope in self.lines if slope > 0))


def rows_at_once(run: Run) -> int:
    """Rows that are computed at once when the batch has grown."""
    return run.settings.micro_rows


def rehearsed(run: Run, rows: int) -> list[int]:
    """The rows of the rehearsals from which a step of `rows` rows is foretold.

    Together they are no more than `rows`; where that does not work, `rows` itself is rehearsed.
    """
    bend = LIMIT_BYTES // (SCORE_BYTES * run.model.vocab_size * run.settings.length) + 1
    first = FEW if rows < bend else max(bend, FEW)
    return [first, 2 * first] if 3 * first <= rows else [rows]


def rehearse(run: Run, rows: int, most: float = float("inf"), parts: bool = False) -> list[int]:
    """Bytes at most in each phase of a step that computes so many rows at once; the run stays as it is.

    most: bytes above which it is given up with TooMuch (on the CPU). parts: as for one of several micro-batches, which
    finds the gradients of those before it.
    """
    device, settings = run.device, run.settings
    batch = Feed(run.tokens, run.objective.form, settings.length, Place(settings.seed)).take(rows)
    held = HeldOnGpu(device) if device.type == "cuda" else Held(most)
    phases: list[int] = []
    hooks = [
        tensor.register_post_accumulate_grad_hook(lambda _: phases.append(held.phase()))
        for tensor in run.weights.parameters.values()
    ]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), eagerly(settings.compile), held:
            if parts:
                for master in run.weights.masters.values():
                    master.grad = torch.zeros_like(master)
            gradients(run, batch)
            phases.append(held.phase())
    finally:
        for hook in hooks:
            hook.remove()
        run.weights.publish()  # forgets the gradients
    return phases


def eagerly(compiled: bool) -> AbstractContextManager[object]:
    """While it lasts, compiled blocks run as they are written, which takes no less memory."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def lines(run: Run, points: list[int], most: float, parts: bool) -> tuple[tuple[float, float], ...]:
    """The line of each phase through rehearsals of one or two numbers of rows."""
    low, *rest = [rehearse(run, rows, most, parts) for rows in points]
    if not rest:  # the line is used at this point only
        return tuple((0, bytes_ / points[0]) for bytes_ in low)
    slopes = [(above - below) / (points[1] - points[0]) for below, above in zip(low, rest[0], strict=True)]
    return tuple((below - slope * points[0], slope) for below, slope in zip(low, slopes, strict=True))


def held(run: Run) -> int:
    """Bytes of weights, masters, the optimizer's memory and the mean."""
    return bytes_of([*run.weights.parameters.values(), *run.weights.masters.values(), *run.tensors().values()])


def copies(run: Run) -> int:
    """Bytes of main memory that saving takes: an image of the state; the model, and once more in writing.

    With averaged weights there are two models, the current and the best, and the masters are kept while the mean
    stands in for them.
    """
    model, state = bytes_of(list(run.model.state_dict().values())), bytes_of(list(run.tensors().values()))
    averaged = 0 if run.average is None else model + bytes_of(list(run.weights.masters.values()))
    return state + 2 * model + averaged


def forecast(run: Run, rows: int | None = None, most: float = float("inf")) -> Need:
    """What the run takes with so many rows at once (as many as it will have, if left out)."""
    rows = rows_at_once(run) if rows is None else rows
    return Need(held(run), copies(run), lines(run, rehearsed(run, rows), most, parts=rows < run.settings.batch))


def check(run: Run) -> str | None:
    """What a step will take, in words; None where several processes train together, whose rehearsals would wait.

    Raises ResourceError where there is less, with what fits.
    """
    if run.world.several:
        return None
    rows, on_gpu = rows_at_once(run), run.device.type == "cuda"
    room = memory.free(run.device) / SPARE - (0 if on_gpu else copies(run))
    try:
        need = forecast(run, rows, room)
    except TooMuch:
        need = None
    step = None if need is None else need.step(rows)
    if step is not None and step <= room:
        return f"a step takes about {SPARE * step / GB:.2g} GB of memory, {SPARE * room / GB:.3g} are free"
    raise ResourceError(too_much(run, rows, room, step))


def too_much(run: Run, rows: int, room: float, step: float | None) -> str:
    """What is needed, what there is, and what fits."""
    try:
        small = Need(0, 0, lines(run, [1] if rows == 1 else [1, 2], 2 * room, run.objective.additive))
        fits, step = min(small.rows(room), rows - 1), small.step(rows) if step is None else step
    except TooMuch:
        fits = 0
    room *= SPARE
    needed = f"about {SPARE * step / GB:.3g} GB" if step is not None else f"more than {max(room, 0) / GB:.3g} GB"
    remedy = "shorten --train.length, set --train.recompute, or make the model smaller"
    if fits and run.objective.additive:
        remedy = f"--train.micro_batch={fits} fits and gives the same gradient"
    elif fits:
        remedy = f"--train.batch={fits} fits"
    return (
        f"a step that computes {rows} rows of {run.settings.length:,} tokens at once needs {needed} of memory beside "
        f"what is held already, and {max(room, 0) / GB:.3g} GB are free: {remedy}"
    )
