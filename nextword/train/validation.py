"""The validation loss: the mean negative log-likelihood on a fixed part of text that is never trained on.

The part is made of windows spread evenly over the validation tokens, always the same ones, so that two losses differ by
the model alone. Perplexity is exp of it.
"""

import torch

from nextword.core.distributed import ALONE, World
from nextword.data.feed import make, open_source
from nextword.data.stream import Place, TokenRow
from nextword.models.base import LanguageModel
from nextword.nn.loss import Loss, Term
from nextword.objectives.base import Objective, Sums, add, add_terms, mean


class Validation:
    """A fixed set of rows of up to `length` tokens, together about `wanted` tokens; `rows` are computed at once."""

    def __init__(self, tokens: TokenRow, objective: Objective, length: int, wanted: int, rows: int) -> None:
        self.objective, self.at_once = objective, rows
        if objective.form.reads == "windows":
            least = length - objective.form.room(length) + objective.form.extra
            length = min(length, len(tokens) - objective.form.extra + least)
        self.length = length
        self.rows = open_source(tokens, objective.form, length, Place(0)).fixed(max(1, wanted // length))

    @torch.no_grad()
    def look(self, model: LanguageModel, device: torch.device, world: World = ALONE) -> dict[str, float]:
        """`validation_loss`, the mean in nats per prediction, and the objective's metrics by name.

        The model must be in evaluation mode (no dropout). Several processes share the rows; each computes equally many
        batches, at the end perhaps one that counts nothing.
        """
        mine = self.rows[world.rank :: world.size]
        loss: Loss = {}
        sums: Sums = {}
        for start in range(0, -(-len(self.rows) // world.size), self.at_once):
            rows = mine[start : start + self.at_once]
            batch = make(self.objective.form, rows or self.rows[:1], self.length)
            terms, more = self.objective.look(model, batch.to(device))
            if not rows:
                terms = {name: Term(term.total * 0, term.count * 0, term.weight) for name, term in terms.items()}
                more = {name: value * 0 for name, value in more.items()}
            loss, sums = add_terms(loss, terms), add(sums, more)
        loss, sums = together(loss, sums, world)
        terms = {f"validation_{name}": float(term.total) / max(int(term.count), 1) for name, term in loss.items()}
        found = {"validation_loss": mean(loss)} | (terms if len(terms) > 1 else {})
        return found | self.objective.figures(sums)

    def loss(self, model: LanguageModel, device: torch.device) -> float:
        """The loss alone."""
        return self.look(model, device)["validation_loss"]


def together(loss: Loss, sums: Sums, world: World) -> tuple[Loss, Sums]:
    """Terms and sums over all processes."""
    if not world.several:
        return loss, sums
    totals = world.tensors({name: term.total for name, term in loss.items()})
    counts = world.tensors({name: term.count for name, term in loss.items()})
    return {name: Term(totals[name], counts[name], loss[name].weight) for name in loss}, world.tensors(sums)
