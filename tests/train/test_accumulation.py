"""A batch computed in parts has the gradient of the whole, also when the parts count differently."""

import numpy as np
import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.data.labelled import Labelled
from nextword.models.base import Batch
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.nn.loss import Term
from nextword.objectives.next_token import NextToken, shift
from nextword.train.loop import gradients
from nextword.train.precision import Weights
from nextword.train.run import Run
from nextword.train.settings import TrainSettings

ROWS, TIME = 5, 9


def make_run(micro_batch: int, objective: object = None) -> Run:
    model = create(ModelSettings(width=16, depth=1, heads=2), 16, 1)
    weights = Weights(model, "fp32")
    settings = TrainSettings(batch=ROWS, micro_batch=micro_batch)
    return Run(model, weights, None, objective or NextToken(), None, settings)


def ragged() -> Labelled:
    draw = np.random.default_rng(0)
    lengths = torch.tensor([TIME, 2, 3, TIME, 2])  # parts of two rows predict 9, 10 and 1 tokens
    mask = torch.arange(TIME)[None] < lengths[:, None]
    return shift(Batch(torch.tensor(draw.integers(0, 16, (ROWS, TIME))), mask))


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_parts_equal_the_whole(micro_batch: int) -> None:
    whole, parts = make_run(ROWS), make_run(micro_batch)
    loss, summed = gradients(whole, ragged()), gradients(parts, ragged())
    torch.testing.assert_close(summed, loss)
    for expected, found in zip(whole.weights.gradients(), parts.weights.gradients(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_the_loss_is_the_mean_over_all_predictions() -> None:
    run, batch = make_run(2), ragged()
    term = NextToken()(run.model, batch)["next_token"]
    torch.testing.assert_close(gradients(run, batch), (term.total / term.count).detach())


class TwoTerms:
    """Two terms with weights and counts of their own."""

    additive = True
    extra = None

    def counts(self, batch: Labelled) -> dict[str, int]:
        return {"a": batch.ids_BT.numel(), "b": len(batch.ids_BT)}

    def __call__(self, model: torch.nn.Module, batch: Labelled) -> dict[str, Term]:
        used = model.embedding(batch.ids_BT)
        return {
            "a": Term(used.square().sum(), torch.tensor(batch.ids_BT.numel()), 0.5),
            "b": Term(used[:, 0].sum(), torch.tensor(len(batch.ids_BT)), 2.0),
        }


def test_terms_with_different_counts_and_weights() -> None:
    run = make_run(2, TwoTerms())
    batch = Labelled(ragged().ids_BT, ragged().labels_BT)
    used = run.model.embedding(batch.ids_BT)
    expected = 0.5 * used.square().sum(-1).mean() + 2.0 * used[:, 0].sum(-1).mean()
    torch.testing.assert_close(gradients(run, batch), expected.detach())


def test_an_objective_that_needs_its_whole_batch_is_not_split() -> None:
    objective = TwoTerms()
    objective.additive = False
    with pytest.raises(SettingsError, match="micro_batch"):
        gradients(make_run(2, objective), ragged())
    gradients(make_run(ROWS, objective), ragged())
