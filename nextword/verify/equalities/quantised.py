"""Quantised within its bound: few bits change a model by what rounding explains, and by nothing else.

Broken by scales read for the wrong group, halves of bytes in the wrong order, a kernel whose sums overflow. It shows as
a model that answers, but worse than its bits would make it.

Of each weight, what is stored can be off by no more than

    |w − ŵ| ≤ e       e: s/2 for a weight inside of the grid, its distance from the grid's end beyond

because that is what rounding to nearest means; it holds for every number and needs no statistics. The layer computes
with these ŵ, but for fp32's own rounding. Through many layers such bounds multiply to nothing useful. Small errors add
up, though: the logits of the whole may be off by what each layer alone, quantised in an otherwise whole model, does to
them, summed over all layers. TIMES allows for what errors do to each other.

A folder that is quantised already has its original no more. What it may add is that the compiled step rounds the inputs
of its products to 8 bits; its logits are held against what the same rounding does in plain PyTorch, TIMES over (numbers
that lie in the middle between two are rounded up here and down there).
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from nextword.engine.step import PlainSteps, stepper
from nextword.models.family import Storable
from nextword.quant import model as quantised
from nextword.quant.linear import QuantisedLinear, shrink
from nextword.quant.model import GROUPS, Quantisation, matrices, put
from nextword.verify.equalities.cached import GENERATED
from nextword.verify.equality import EPSILON, ROUNDINGS, Equality, Measured
from nextword.verify.rows import alone
from nextword.verify.subject import Subject, read, rebuilt

TIMES = 2
KINDS = (Quantisation(8), *(Quantisation(4, group) for group in GROUPS))
TOGETHER = 64  # numbers of an input that the compiled step rounds with one scale
HIGHEST = 127
Share = tuple[str, float]  # where, and how much of its bound a difference is


def measure(subject: Subject) -> Measured:
    """The largest share of its bound that anything is off by."""
    if quantised.of(subject.model) is not None:
        shares, note = [compiled(subject)], "its original is not here: the compiled step alone"
        reason = f"of {TIMES} x what inputs rounded to 8 bits change in plain PyTorch"
    else:
        model, note = subject.small()
        whole = cast(nn.Module, model)
        shares = [share for kind in KINDS for share in (*layers(subject, whole, kind), logits(subject, whole, kind))]
        reason = (
            f"of what rounding to nearest can do to a weight; of {TIMES} x the sum of the layers' effects on logits"
        )
    where, worst = max(shares, key=lambda share: share[1])
    return Measured(worst, 1.0, reason, where, note)


def inputs(subject: Subject, model: nn.Module) -> dict[str, Tensor]:
    """What every matrix is multiplied with when the model reads the longest row, by name, (N, K)."""
    found: dict[str, Tensor] = {}
    names = {linear: name for name, linear in matrices(model)}

    def note(linear: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[names[linear]] = given[0].flatten(0, -2)  # type: ignore[index]

    hooks = [linear.register_forward_pre_hook(note) for linear in names]
    logits_of(subject, model)
    for hook in hooks:
        hook.remove()
    return found


def logits_of(subject: Subject, model: nn.Module) -> Tensor:
    """What the model says of the longest row."""
    return read(cast(Storable, model), alone(max(subject.rows(), key=len)))[0]


def layers(subject: Subject, model: nn.Module, kind: Quantisation) -> Iterator[Share]:
    """Each weight that is stored against the whole one, and each layer's output against what the stored ones make."""
    found = inputs(subject, model)
    tiny = torch.finfo(torch.float32).tiny
    for name, linear in matrices(model):
        layer, x_NK = shrink(linear, kind.bits, kind.group), found.get(name, linear.weight)  # or an expert not asked
        with torch.inference_mode():
            dense_MK = layer.dense()
            weights_MK = (dense_MK - linear.weight).abs() / most(linear.weight, layer)
            apart_NM = (layer(x_NK) - nn.functional.linear(x_NK, dense_MK, layer.bias)).abs()
            bound_NM = ROUNDINGS * EPSILON * (x_NK.abs() @ dense_MK.abs().T)
        yield f"weights of {name}, {said(kind)}", float(weights_MK.max())
        yield f"output of {name}, {said(kind)}", float((apart_NM / bound_NM.clamp_min(tiny)).max())


def most(weight_MK: Tensor, layer: QuantisedLinear) -> Tensor:
    """The largest error that rounding to nearest can make in each weight."""
    step_MK = layer.scales.float().abs().repeat_interleave(layer.group, 1)[:, : weight_MK.shape[1]]
    size_MK = weight_MK.abs() / step_MK
    return (
        torch.maximum(torch.full_like(size_MK, 0.5), size_MK - layer.form.highest) * step_MK * (1 + ROUNDINGS * EPSILON)
    )


def logits(subject: Subject, model: nn.Module, kind: Quantisation) -> Share:
    """The quantised model's logits against the sum of what its layers do alone."""
    wanted = logits_of(subject, model)
    allowed = ROUNDINGS * EPSILON * float(wanted.abs().max())
    whole, one_changed = twin(model), twin(model)
    for name, linear in matrices(model):
        layer = shrink(linear, kind.bits, kind.group)
        put(whole, name, layer)
        put(one_changed, name, layer)
        allowed += float((logits_of(subject, one_changed) - wanted).abs().max())
        put(one_changed, name, linear)
    apart = float((logits_of(subject, whole) - wanted).abs().max())
    return f"logits, {said(kind)}", apart / (TIMES * allowed)


def twin(model: nn.Module) -> nn.Module:
    """Another module of the same weights, whose layers can be replaced."""
    return cast(nn.Module, rebuilt(cast(Storable, model), {}))


def said(kind: Quantisation) -> str:
    """A format in words."""
    return f"{kind.bits} bits" + (f" in groups of {kind.group}" if kind.group else "")


def compiled(subject: Subject) -> Share:
    """The compiled step of a quantised model against its plain one."""
    model = cast(nn.Module, subject.model)
    row = list(max(subject.rows(), key=len).ids)
    steps = stepper(subject.model, GENERATED, "auto")
    if isinstance(steps, PlainSteps):
        return "no compiled step for this model", 0.0
    wanted_BV = PlainSteps(subject.model).prefill([row], len(row))[0]
    found_BV = steps.prefill([row], len(row))[0]
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: (rounded(given[0]),))
        for layer in model.modules()
        if isinstance(layer, QuantisedLinear)
    ]
    near_BV = PlainSteps(subject.model).prefill([row], len(row))[0]
    for hook in hooks:
        hook.remove()
    allowed = ROUNDINGS * EPSILON * float(wanted_BV.abs().max()) + float((near_BV - wanted_BV).abs().max())
    return "logits of the compiled step", float((found_BV - wanted_BV).abs().max()) / (TIMES * allowed)


def rounded(x: Tensor) -> Tensor:
    """Numbers as the compiled step has them: whole multiples of the 127th of the largest of 64 neighbours."""
    width = x.shape[-1]
    filled = nn.functional.pad(x, (0, -width % TOGETHER))
    x_GK = filled.reshape(*x.shape[:-1], -1, TOGETHER)
    step_G1 = x_GK.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / HIGHEST
    near: Tensor = ((x_GK / step_G1).round() * step_G1).flatten(-2)[..., :width]
    return near


def obstacle(subject: Subject) -> str | None:
    """Only transformers are quantised."""
    model = subject.model
    if isinstance(model, nn.Module) and (quantised.of(model) is not None or any(True for _ in matrices(model))):
        return None
    return "it has no layers of a transformer, whose matrices are what is quantised"


EQUALITY = Equality(
    title="quantised within its bound",
    says="layers and logits in 8 and 4 bits, against the whole model's; of a quantised model, the compiled step's",
    obstacle=obstacle,
    measure=measure,
)
