"""Micro-batches = batch: a batch computed in parts has the gradient of the whole.

Broken by taking the mean of each part's mean: a part with few predictions then weighs as much as one with many, as it
did in widely used trainers until late 2024. It shows as a loss that depends on how much memory the machine has.
"""

from nextword.objectives.settings import ObjectiveSettings
from nextword.train import loop
from nextword.verify.equality import EPSILON, ROUNDINGS, Equality, Measured, largest
from nextword.verify.subject import SHARES, Subject, rebuilt
from nextword.verify.training import begin, unequal, untrained

MICRO = 2  # rows of a part: 33, 17 and 5 predictions or so
DOCUMENTS = ObjectiveSettings(packing="documents")  # rows may then be of any length
WHOLE_TEXTS = {"decoder": None, "encoder": DOCUMENTS, "encoder-decoder": DOCUMENTS}
BALANCE = "router_aux_loss_coef"  # the key of its weight
FLOOR = 0.01  # a tensor whose gradients are smaller than this share of the largest is measured against that share


def measure(subject: Subject) -> Measured:
    """Rows with unequal numbers of predictions: gradients of the whole, and of parts added up."""
    model, note = subject.small()
    if model.config.get(BALANCE):  # which each part has for itself (`nextword.models.mixture`)
        model, note = rebuilt(model, {BALANCE: 0.0}), f"{note} without the balance of experts".strip()
    sides = []
    for micro in (None, MICRO):
        run = begin(subject, model, len(SHARES), micro, WHOLE_TEXTS[model.kind])
        run.training(False)  # dropout draws anew for each part
        loop.gradients(run, unequal(subject, run.objective))
        sides.append({name: w.grad for name, w in run.weights.masters.items() if w.grad is not None})
        for weight in run.weights.masters.values():
            weight.grad = None
    whole, parts = sides
    most = max(float(gradient.abs().max()) for gradient in whole.values())
    worst, where = 0.0, ""
    for name, gradient in whole.items():
        scale = max(float(gradient.abs().max()), FLOOR * most)
        apart, place, _ = largest([(name, parts[name], gradient)])
        if apart / scale > worst:
            worst, where = apart / scale, place
    reason = f"fp32 rounding, sums in another order: {ROUNDINGS} · 2⁻²³ of each tensor's largest gradient"
    return Measured(worst, ROUNDINGS * EPSILON, reason, where, note)


EQUALITY = Equality(
    title="micro-batches = batch",
    says="the gradient of a batch in parts with unequal numbers of predictions, against that of the batch as a whole",
    obstacle=untrained,
    measure=measure,
)
