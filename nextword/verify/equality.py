"""An equality: two ways to compute the same thing, which must agree on the user's own model.

The silent errors of this field raise nothing and print nothing: a cache that forgets a token, padding that is seen, a
checkpoint without the optimizer's means. Each breaks an equality that anyone would sign, and so each is found by
computing both sides. Every equality is a part, one small file in `nextword/verify/equalities`.

Both sides do the same arithmetic, sometimes in another order. Where the order is the same, they must be equal bit for
bit. Where it is not, they differ by rounding: a number of fp32 keeps 24 bits, so that one operation errs by up to
ε/2 with ε = 2⁻²³, and sums of many terms in many layers by some tens of ε (Higham, "Accuracy and Stability of Numerical
Algorithms", 2002, chapter 4: about √n·ε for n terms). ROUNDINGS·ε allows that; a real error is larger by orders.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nextword.core.errors import ResourceError
from nextword.core.registry import names, part
from nextword.verify.subject import Subject

EQUALITIES = "nextword.verify.equalities"
ROUNDINGS = 256  # times ε: what sums in another order may differ by, relative to the largest number they yield
EPSILON = torch.finfo(torch.float32).eps
EXACT = "exact: the same operations on the same numbers"
Verdict = Literal["passes", "fails", "does not apply"]


@dataclass(frozen=True)
class Measured:
    """How far the two sides are apart: largest |difference|, what is allowed, why, where it was, and any remark.

    The deviation is infinite where something is missing or not a number, None where nothing could be computed.
    """

    deviation: float | None
    tolerance: float | None
    reason: str
    where: str = ""
    note: str = ""


@dataclass(frozen=True)
class Equality:
    """title: what equals what. says: what is compared. obstacle: why it does not apply to a model, or None."""

    title: str
    says: str
    obstacle: Callable[[Subject], str | None]
    measure: Callable[[Subject], Measured]


@dataclass(frozen=True)
class Finding:
    """What came of one equality. Where it does not apply, `measured` says why and has no numbers."""

    name: str
    title: str
    says: str
    verdict: Verdict
    measured: Measured
    seconds: float


def known() -> tuple[str, ...]:
    """The names of all equalities, as the command line has them."""
    return tuple(name.replace("_", "-") for name in names(EQUALITIES))


def find(name: str) -> Equality:
    """The equality called `name`; SettingsError, naming the nearest, when there is none."""
    return cast(Equality, part(EQUALITIES, name, "EQUALITY"))


def verify(subject: Subject, only: Sequence[str] = ()) -> Iterator[Finding]:
    """Checks all equalities, or those named, one after the other. The model is left as it was."""
    for name, equality in [(name, find(name)) for name in only or known()]:
        yield check(name, equality, subject)


def check(name: str, equality: Equality, subject: Subject) -> Finding:
    """Measures one equality; generators of random numbers are put back as they were.

    A side that cannot even be computed is a failure, too, and says why; a full disk is not the model's.
    """
    began = time.perf_counter()
    obstacle = equality.obstacle(subject)
    found = None if obstacle is None else Measured(None, None, obstacle)
    if found is None:
        try:
            with torch.random.fork_rng(devices=[]):
                found = equality.measure(subject)
        except ResourceError:
            raise
        except Exception as error:
            found = Measured(None, None, f"{type(error).__name__}: {error}", "an error in computing it")
    verdict: Verdict = "fails"
    if obstacle is not None:
        verdict = "does not apply"
    elif found.deviation is not None and found.tolerance is not None and found.deviation <= found.tolerance:
        verdict = "passes"
    seconds = round(time.perf_counter() - began, 3)
    return Finding(name, equality.title, equality.says, verdict, found, seconds)


Pair = tuple[str, Tensor, Tensor]  # where, found, wanted


def largest(pairs: Iterable[Pair]) -> tuple[float, str, float]:
    """The largest |found − wanted|, where it was, and the largest |wanted|; infinite where one is not a number."""
    worst, where, scale = 0.0, "", 0.0
    for place, found, wanted in pairs:
        if found.shape != wanted.shape:
            return float("inf"), f"{place} (of shape {tuple(found.shape)}, not {tuple(wanted.shape)})", scale
        if not wanted.numel():
            continue
        scale = max(scale, float(wanted.abs().max()))
        apart = float((wide(found) - wide(wanted)).abs().max())
        apart = float("inf") if math.isnan(apart) else apart
        if apart > worst:
            worst, where = apart, place
    return worst, where, scale


def wide(tensor: Tensor) -> Tensor:
    """The tensor in a type in which differences are as they are."""
    return tensor if tensor.dtype in {torch.float32, torch.float64} else tensor.double()


def predictions(subject: Subject, pairs: Iterable[Pair], note: str = "") -> Measured:
    """Pairs of logits: of counts the same; of sums equal but for the rounding of another order."""
    if not isinstance(subject.model, nn.Module):
        return exact(pairs, "exact: the same counts are looked up", note)
    worst, where, scale = largest(pairs)
    reason = f"fp32 rounding, sums in another order: {ROUNDINGS} · 2⁻²³ · max |logit| {scale:.3g}"
    return Measured(worst, ROUNDINGS * EPSILON * scale, reason, where, note)


def exact(pairs: Iterable[Pair], reason: str = EXACT, note: str = "") -> Measured:
    """Pairs that must be the same numbers."""
    worst, where, _ = largest(pairs)
    return Measured(worst, 0.0, reason, where, note)
