"""Two sentences, of which the second follows the first in half of the rows, and tokens hidden in both.

    ids     [CLS] my cat was lazy . [SEP] she sat . [SEP]
    types     0   0   0   0   0   0   0    1   1  1   1

A "sentence" is any stretch of text: a document is cut at a random end of a sentence, and its second part is kept or
replaced by the beginning of a sentence in another document. (Devlin et al., "BERT", 2019. Liu et al., "RoBERTa", 2019,
found that large models learn as well without; a small one learns what a text is about.)
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.core.errors import DataError, SettingsError
from nextword.data.form import Reads, Row, draw
from nextword.data.forms.masked import Hider
from nextword.data.labelled import IGNORED, Ids, Labelled, real, stack
from nextword.data.marks import Marks, needed

ADDED = 3  # [CLS] and two [SEP]
SALT = 2  # of the draw of the sentences, apart from that of the masks


class Pairs:
    """Rows of [CLS] first [SEP] second [SEP] with types, hidden tokens, and whether the second is a random one."""

    reads: Reads = "pairs"
    extra = 0

    def __init__(self, marks: Marks, hide: Hider, sentence_ends: NDArray[np.bool_]) -> None:
        """sentence_ends: by id, whether a sentence may end with it."""
        self.cls = needed(marks.cls, "tokens that begin and end a text, such as [CLS] and [SEP],", "bert")
        self.sep = needed(marks.sep, "a token that ends a text, such as [SEP],", "bert")
        self.hide, self.ends, self.fill = hide, sentence_ends, marks.fill

    def room(self, length: int) -> int:
        """All but the three special tokens; a token each for both sentences at least."""
        if length < ADDED + 2:
            raise SettingsError(
                f"rows of {length} tokens have no room for two sentences beside [CLS] and two [SEP]: use 5 or more"
            )
        return length - ADDED

    def cost(self, tokens: int, length: int) -> int:
        """Pairs are not packed: a document has the row to itself."""
        return length

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """Inputs, labels, types and classes."""
        inputs, labels, types, random_rows = [], [], [], []
        for row in rows:
            first, second, random = self.sentences(row, self.room(length))
            ids = np.concatenate([[self.cls], first, [self.sep], second, [self.sep]]).astype(np.int64)
            shown, wanted = self.hide(ids, draw(row))
            inputs.append(shown)
            labels.append(wanted)
            types.append(np.repeat([0, 1], [len(first) + 2, len(second) + 1]))
            random_rows.append(int(random))
        return Labelled(
            stack(inputs, self.fill, length=length),
            stack(labels, IGNORED, length=length),
            real(inputs, length),
            types_BT=stack(types, 0, length=length),
            random_B=torch.tensor(random_rows),
            spans=tuple(span for row in rows for span in row.spans),
        )

    def sentences(self, row: Row, room: int) -> tuple[Ids, Ids, bool]:
        """First, second, and whether the second is a random one; together at most `room` tokens."""
        document, other = (self.text(piece) for piece in row.pieces)
        draws = draw(row, SALT)
        cut = self.cut(document, draws)
        first, second, random = document[:cut], document[cut:], bool(draws.random() < 0.5)
        if random:
            second = other[self.cut(other, draws) if len(other) > 1 else 0 :]
        over = len(first) + len(second) - room
        if over > 0:  # a random second sentence may be longer: both give, the first its beginning
            from_second = min(over, max(len(second) - room // 2, 0))
            second = second[: len(second) - from_second]
            first = first[over - from_second :]
        return first, second, random

    def text(self, piece: Ids) -> Ids:
        """A piece without the token that ends its document; DataError where nothing is left."""
        found = piece[:-1] if len(piece) and piece[-1] == self.sep else piece
        if not len(found):
            raise DataError("a document is empty: a row of it would be all padding; remove it")
        return found

    def cut(self, ids: Ids, draws: np.random.Generator) -> int:
        """Where the second part begins: after the end of a sentence, or where there is none inside anywhere."""
        places = np.flatnonzero(self.ends[ids[:-1]]) + 1
        if not len(places):
            return int(draws.integers(1, len(ids))) if len(ids) > 1 else 0
        return int(places[draws.integers(len(places))])
