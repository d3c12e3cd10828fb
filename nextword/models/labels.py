"""The names of classes, as config.json carries them: `id2label`, or as many as `num_labels` says (2 by default).

`problem_type` says how scores become probabilities: one class is right (softmax), each is right or wrong on its own
(σ), or the score is itself the answer (regression, also where there is a single class).
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.family import typed

ONE, SEVERAL, NUMBER = "single_label_classification", "multi_label_classification", "regression"
DEFAULT_LABELS = 2  # transformers'


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of all classes in the order of their numbers; CheckpointError where numbers are missing."""
    names = typed(config, "id2label", dict, None)
    if names is None:
        return tuple(f"LABEL_{number}" for number in range(typed(config, "num_labels", int, DEFAULT_LABELS)))
    by_number = {str(number): str(name) for number, name in names.items()}
    wanted = [str(number) for number in range(len(by_number))]
    if not wanted or set(by_number) != set(wanted):
        raise CheckpointError(
            f"config.json: id2label must name the classes 0, 1, 2, ..., received the numbers {', '.join(by_number)}"
        )
    return tuple(by_number[number] for number in wanted)


def problem(config: Mapping[str, Any]) -> str:
    """How scores are to be read: ONE, SEVERAL or NUMBER."""
    named = typed(config, "problem_type", str, NUMBER if len(labels(config)) == 1 else ONE)
    if named not in {ONE, SEVERAL, NUMBER}:
        raise CheckpointError(f"config.json: problem_type {named!r} is not among {ONE}, {SEVERAL}, {NUMBER}")
    return str(named)
