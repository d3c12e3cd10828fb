"""Training on trial: small steps on the subject's own text, by the code that trains and with the model's objective."""

from typing import cast

import numpy as np
from torch import nn

from nextword.core.errors import SettingsError
from nextword.data.feed import make
from nextword.data.form import Row as Piece
from nextword.data.labelled import Labelled
from nextword.models.family import Storable
from nextword.objectives.base import Objective
from nextword.objectives.choose import choose
from nextword.objectives.next_token import shift
from nextword.objectives.settings import ObjectiveSettings
from nextword.quant import model as quantised
from nextword.train.pretrain import Text, assemble
from nextword.train.run import Run
from nextword.train.settings import TrainSettings
from nextword.verify.rows import padded
from nextword.verify.subject import Ids, Subject

STEPS = 3
ROWS = 2
SHORTEST = 2  # tokens of a text in which something can be hidden
UNTRAINED = "it is counted, without gradients and steps; counting begins anew when it was interrupted"
QUANTISED = "weights of few bits are not trained; what is trained beside them is"
DOCUMENT = 50  # tokens of a document


class Tokens:
    """Ids in memory as a text that is trained on, in documents that end as documents do."""

    def __init__(self, ids: Ids, end: int | None) -> None:
        ends = np.arange(DOCUMENT, len(ids) + 1, DOCUMENT)
        self.ids = ids.copy()
        if end is not None:
            self.ids[ends - 1] = end
        self.documents = np.stack([ends, 0 * ends, 0 * ends, 0 * ends], 1)
        self.sources = ("the text of the check",)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> Ids:
        """The ids from `start` to `stop`."""
        return self.ids[start:stop]


def begin(
    subject: Subject,
    model: Storable,
    rows: int = ROWS,
    micro: int | None = None,
    settings: ObjectiveSettings | None = None,
) -> Run:
    """A run of `model` at its first step, with `rows` rows a step, `micro` of them computed at once."""
    length = subject.longest
    train = TrainSettings(steps=STEPS, batch=rows, micro_batch=micro, length=length, warmup=0, precision="fp32")
    text = Text(Tokens(subject.tokens, subject.tokenizer.eos_id))
    return assemble(cast(nn.Module, model), text, train, "fp32", objective(subject, model, settings))


def objective(subject: Subject, model: Storable, settings: ObjectiveSettings | None = None) -> Objective:
    """What the model is usually trained for; SettingsError where its tokenizer lacks the special tokens for it."""
    return choose(settings or ObjectiveSettings(), model, subject.tokenizer)


def unequal(subject: Subject, wanted: Objective) -> Labelled:
    """Rows with unequal numbers of labels, the longest first."""
    rows = sorted(subject.rows(), key=len, reverse=True)
    if subject.model.kind == "decoder":
        return shift(padded(rows, subject.fill))
    sizes = [min(max(len(row), SHORTEST), wanted.form.room(subject.longest)) for row in rows]
    ends = np.cumsum(sizes)
    texts = [subject.tokens[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    pieces = [Piece((ids,), (0, 0, number), ((0, len(ids)),)) for number, ids in enumerate(texts)]
    return make(wanted.form, pieces, subject.longest)


def untrained(subject: Subject) -> str | None:
    """Why a model has no training to compare; None for one that has."""
    if not isinstance(subject.model, nn.Module):
        return UNTRAINED
    if quantised.of(subject.model) is not None:
        return QUANTISED
    try:
        objective(subject, subject.small()[0])
    except SettingsError as error:
        return str(error)
    return None
