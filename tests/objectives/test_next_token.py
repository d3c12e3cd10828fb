"""The labels are the ids shifted by one; padding does not count."""

import torch

from nextword.models.base import Batch
from nextword.objectives.next_token import NextToken, shift


class Uniform:
    """Scores label k with log-probability -k, and notes what it was asked."""

    def score(self, batch: Batch, labels_BT: torch.Tensor) -> torch.Tensor:
        self.seen = batch.ids_BT, labels_BT
        return torch.where(labels_BT == -100, 0, -labels_BT).float()


def test_labels_are_the_next_ids() -> None:
    model, objective = Uniform(), NextToken()
    batch = shift(Batch(torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])))
    term = objective(model, batch)["next_token"]
    assert model.seen[0].tolist() == [[1, 2, 3], [5, 6, 7]]
    assert model.seen[1].tolist() == [[2, 3, 4], [6, 7, 8]]
    assert term.total == 2 + 3 + 4 + 6 + 7 + 8 and term.count == 6 and term.weight == 1
    assert objective.counts(batch)["next_token"] == 6


def test_padding_is_not_predicted() -> None:
    model, objective = Uniform(), NextToken()
    real = torch.tensor([[True] * 4, [True, True, False, False]])
    batch = shift(Batch(torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), real))
    term = objective(model, batch)["next_token"]
    assert model.seen[1].tolist() == [[2, 3, 4], [6, -100, -100]]
    assert term.total == 2 + 3 + 4 + 6 and term.count == 4
    assert objective.counts(batch)["next_token"] == 4
