"""Settings of a training run: how long, with what steps, how it is watched and saved."""

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from cyclopts import Parameter

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FIRST = 1 / 8  # of a batch or a length that grows
LENGTHS = 8  # a growing length is a multiple of it: odd ones make attention and matrix products slower
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PARALLEL = ("ddp", "fsdp", "none")
MUON_SCALES = ("moonlight", "shape")
SHAPE_RATE = 0.02  # Jordan's, for hidden matrices with scale "shape"


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained. The defaults train a Llama of 1-20M parameters well."""

    # may change when a run is resumed
    FREE: ClassVar[tuple[str, ...]] = ("max_time", "stop_at", "checkpoint_every", "keep", "parallel", "recompute",
                                       "micro_batch")  # fmt: skip

    steps: int = 1000
    "Updates of the weights."
    batch: int = 16
    "Rows a step."
    micro_batch: int | None = None
    "Rows computed at once; fewer than the batch saves memory and gives the same gradient. All of them if left out."
    length: int = 256
    "Tokens a row."
    batch_warmup: int = 0
    "Steps in which the rows of a batch grow from an eighth to all."
    length_warmup: int = 0
    "Steps in which rows grow from an eighth of the length to the whole."
    learning_rate: float = 1e-3
    "The highest learning rate, reached after the warm-up."
    mup_width: int | None = None
    "The width at which the learning rate was found; fresh weights and rates then fit the model's width (muP)."
    schedule: str = "cosine"
    "How the learning rate falls after the warm-up: constant, cosine, linear, wsd, wsd-sqrt, inverse-root."
    warmup: int | None = None
    "Steps in which the learning rate rises from 0; a tenth of all, at most 100, if left out."
    decay: float = 0.2
    "wsd, wsd-sqrt: the share of all steps in which the learning rate falls, at the end."
    floor: float = 0.1
    "cosine, linear, wsd, wsd-sqrt: the last learning rate, as a share of the highest."
    optimizer: str = "adamw"
    "What turns gradients into updates: adamw, muon, lion, adafactor, adamw8bit."
    betas: tuple[float, float] = (0.9, 0.99)
    "AdamW, Lion, Muon's AdamW: how much of the running means of the gradient and of its square is kept each step."
    eps: float = 1e-8
    "AdamW: added to the root of the mean square."
    weight_decay: float = 0.1
    "Share by which matrices shrink each step, times the learning rate; norms and biases do not shrink."
    cautious_decay: bool = False
    "AdamW, Muon, Lion: shrink a number only where the update does not push it away from 0."
    table_rate: float | None = None
    "AdamW, Muon: the highest learning rate of tables (embeddings, n-grams); learning_rate if left out."
    sparse_tables: bool = False
    "AdamW, Muon: change only those rows of the embedding that a step has looked up; cheaper for large vocabularies."
    muon_rate: float | None = None
    "Muon: the highest learning rate of hidden matrices; if left out 0.02 with scale shape, else learning_rate."
    muon_momentum: float = 0.95
    "Muon: how much of the gradient's running mean is kept each step."
    muon_scale: str = "moonlight"
    "Muon: an update as long as AdamW's (moonlight, the same learning rate serves), or by the matrix's form (shape)."
    muon_steps: int = 5
    "Muon: Newton-Schulz steps; fewer are cheaper and orthogonalise less."
    muon_every: int = 1
    "Muon: hidden matrices move only every so many steps, so many times as far; momentum takes every gradient in."
    muon_normalised: bool = False
    "Muon: bring the rows of an update to one running size (NorMuon)."
    clip: float = 1.0
    "The gradient's norm is cut to this; 0 leaves it."
    precision: str = "auto"
    "fp32, bf16 or fp16 (GPU) matrix products, with fp32 masters; auto: what is faster here, measured once."
    device: str = "auto"
    "cpu, cuda, cuda:1, mps; auto: a GPU if there is one."
    threads: int | None = None
    "Threads on the CPU; all cores if left out. Kept when a run is resumed, since sums depend on it."
    parallel: str | None = None
    "Under torchrun: ddp (a whole model in every process; the default) or fsdp (each keeps a part of it); else none."
    compile: bool = False
    "Compile the blocks of a transformer with torch.compile; where that does not work, a note says so."
    recompute: bool = False
    "Compute activations again in the backward pass instead of keeping them: less memory, a third more work."
    ema: float = 0.0
    "The finished model is a running mean of the weights that keeps this share each step (such as 0.999); 0: none."
    tail: float = 0.0
    "The finished model is the plain mean of the weights over this last share of all steps (such as 0.2); 0: none."
    seed: Annotated[int, Parameter(alias="--seed")] = 0
    "Draws the first weights, the order of the rows and dropout."
    max_time: Annotated[str | None, Parameter(alias="--max-time")] = None
    "Stop after this much training in all, resumed parts included: 90s, 10m, 1h30m."
    stop_at: int | None = None
    "Stop at this step; a larger number goes on. The schedule is that of all steps, wherever the run stops."
    eval_every: int = 100
    "Steps between two looks at the validation loss; 0 for none."
    eval_tokens: int = 32_768
    "Validation tokens of one look, always the same ones, spread over the whole split."
    patience: int = 0
    "Stop after this many looks in a row without a better validation loss; 0 never."
    checkpoint_every: int = 100
    "Steps between two checkpoints; one is saved at the end and at Ctrl-C too."
    keep: int = 2
    "Checkpoints that are kept, the newest ones."

    def __post_init__(self) -> None:
        """Refuses numbers out of range and settings that cannot take effect."""
        for name, low in (("steps", 1), ("batch", 1), ("length", 1), ("eval_tokens", 1), ("checkpoint_every", 1),
                          ("keep", 1), ("eval_every", 0), ("patience", 0), ("clip", 0), ("weight_decay", 0),
                          ("seed", 0)):  # fmt: skip
            in_range(f"train.{name}", getattr(self, name), low)
        in_range("train.learning_rate", self.learning_rate, 0, 100)
        for name in ("batch_warmup", "length_warmup"):
            in_range(f"train.{name}", getattr(self, name), 0, self.steps)
        in_range("train.warmup", self.warm_steps, 0, self.steps)
        in_range("train.decay", self.decay, 0, 1)
        in_range("train.floor", self.floor, 0, 1)
        in_range("train.eps", self.eps, 0, 1)
        for beta in self.betas:
            in_range("train.betas", beta, 0, 0.999999)
        if self.micro_batch is not None:
            in_range("train.micro_batch", self.micro_batch, 1, self.batch)
        if self.stop_at is not None:
            in_range("train.stop_at", self.stop_at, 1, self.steps)
        if self.mup_width is not None:
            in_range("train.mup_width", self.mup_width, 1)
        if self.threads is not None:
            in_range("train.threads", self.threads, 1, 1024)
        if self.precision not in PRECISIONS:
            raise SettingsError(f"train.precision must be {' or '.join(PRECISIONS)}, received {self.precision!r}")
        if self.parallel is not None and self.parallel not in PARALLEL:
            raise SettingsError(f"train.parallel must be {' or '.join(PARALLEL)}, received {self.parallel!r}")
        in_range("train.ema", self.ema, 0, 0.9999999)
        in_range("train.tail", self.tail, 0, 1)
        if self.ema and self.tail:
            raise SettingsError("train.ema and train.tail are two ways to average the weights: set one of them to 0")
        self._check_optimizer()
        if self.patience and not self.eval_every:
            raise SettingsError("train.patience needs validation losses: set train.eval_every above 0")
        if self.max_time is not None:
            seconds(self.max_time)

    def _check_optimizer(self) -> None:
        in_range("train.muon_momentum", self.muon_momentum, 0, 0.999999)
        in_range("train.muon_steps", self.muon_steps, 1, 20)
        in_range("train.muon_every", self.muon_every, 1, self.steps)
        if self.muon_rate is not None:
            in_range("train.muon_rate", self.muon_rate, 0, 100)
        if self.table_rate is not None:
            in_range("train.table_rate", self.table_rate, 1e-12, 100)
            in_range("train.learning_rate, of which train.table_rate is a multiple,", self.learning_rate, 1e-12)
        if self.muon_scale not in MUON_SCALES:
            raise SettingsError(f"train.muon_scale must be {' or '.join(MUON_SCALES)}, received {self.muon_scale!r}")
        if self.cautious_decay and not self.weight_decay:
            raise SettingsError("train.cautious_decay needs something to shrink by: set train.weight_decay above 0")

    @property
    def hidden_rate(self) -> float:
        """Muon's highest learning rate, the default worked out."""
        if self.muon_rate is not None:
            return self.muon_rate
        return SHAPE_RATE if self.muon_scale == "shape" else self.learning_rate

    @property
    def warm_steps(self) -> int:
        """Steps of warm-up, the default worked out."""
        return min(self.steps // 10, 100) if self.warmup is None else self.warmup

    def rows_at(self, step: int) -> int:
        """Rows of the batch of a step (from 0)."""
        return grown(self.batch, step, self.batch_warmup)

    def length_at(self, step: int) -> int:
        """Tokens of the rows of a step (from 0)."""
        return grown(self.length, step, self.length_warmup, LENGTHS)

    @property
    def micro_rows(self) -> int:
        """Rows computed at once, the default worked out."""
        return self.batch if self.micro_batch is None else self.micro_batch

    @property
    def last_step(self) -> int:
        """The step at which a sitting ends: the last of all, or `stop_at`."""
        return self.steps if self.stop_at is None else self.stop_at

    @property
    def max_seconds(self) -> float:
        """`max_time` in seconds; infinite where there is none."""
        return float("inf") if self.max_time is None else seconds(self.max_time)


def grown(whole: int, step: int, steps: int, multiple: int = 1) -> int:
    """What has grown in a straight line from a share of FIRST of the whole, all of it from step `steps` on.

    On the way it is a multiple of `multiple`, the nearest one, and at least one of them.

    Small batches and short rows first: while the weights are still random a rough gradient does as well and costs less
    (McCandlish et al., "An Empirical Model of Large-Batch Training", 2018), and long rows make the first steps unstable
    (Li, Zhang & He, "The Stability-Efficiency Dilemma: Investigating Sequence Length Warmup", 2022).

    >>> [grown(64, step, 8) for step in (0, 4, 8, 100)]
    [8, 36, 64, 64]
    >>> [grown(100, step, 8, 8) for step in (0, 1, 4, 7, 8)]
    [16, 24, 56, 88, 100]
    """
    if step >= steps:
        return whole
    multiples = round(whole * (FIRST + (1 - FIRST) * step / steps) / multiple)
    return min(max(multiples, 1) * multiple, whole)


def seconds(text: str) -> float:
    """A length of time as people write it, in seconds.

    >>> seconds("1h30m"), seconds("90s"), seconds("45")
    (5400.0, 90.0, 45.0)
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise SettingsError(f"train.max_time must be a time such as 90s, 10m or 1h30m, received {text!r}")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)
