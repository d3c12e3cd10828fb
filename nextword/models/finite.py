"""Scores that are not finite, and the weight that is the cause.

Loading does not look at most numbers of a model (`checkpoint.SHOWN`), since that would read all of them before the
first is needed. A NaN among them shows in the scores of every text that it touches; then all weights are searched.
"""

import torch
from torch import Tensor, nn

from nextword.core.errors import CheckpointError
from nextword.models.base import LanguageModel
from nextword.models.family import find


def finite(scores: Tensor, model: LanguageModel) -> Tensor:
    """The scores themselves; CheckpointError naming the broken weight where one of them is NaN or infinite."""
    if not bool(scores.isfinite().all()):
        raise not_finite(model)
    return scores


def not_finite(model: LanguageModel) -> CheckpointError:
    """The error for scores that are not finite."""
    return CheckpointError(
        f"the model's scores are not finite: {_cause(model)}; the training diverged or the file is corrupt: take an "
        "earlier checkpoint"
    )


def _cause(model: LanguageModel) -> str:
    if not isinstance(model, nn.Module):
        return "no distribution follows from its counts"
    return broken_weight(model) or "its weights are, but grow beyond the range of their type on the way"


def broken_weight(model: LanguageModel) -> str | None:
    """The first tensor with numbers that are NaN or infinite, by its name in the file, and how many; None without."""
    if not isinstance(model, nn.Module):
        return None
    rules = find(model.config.get("model_type"), "the model").rules(model.config)
    theirs = {ours: " + ".join(map(repr, rule.theirs)) for rule in rules for ours in rule.ours}
    for name, tensor in model.state_dict().items():
        if broken := count_broken(tensor):
            return f"{theirs.get(name, name)} has {broken} of {tensor.numel()} numbers that are NaN or infinite"
    return None


def count_broken(tensor: Tensor) -> int:
    """How many numbers are NaN or infinite. One sum tells whether any is, unless it overflows: then each is asked."""
    if not tensor.is_floating_point() or torch.isfinite(tensor.sum(dtype=torch.float32)):
        return 0
    return int((~torch.isfinite(tensor)).sum())
