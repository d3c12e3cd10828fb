"""Some tokens hidden, to be found again from both sides.

    text    the cat sat on the mat          inputs  [CLS] the cat [MASK] on the mat [SEP]
                                            labels    -    -   -   sat    -  -   -    -

Of 15 % of the positions 80 % show [MASK], 10 % a random token and 10 % the token itself: since any token may be wrong,
the model has to know all of them, and it meets no [MASK] when it is used. Special tokens are never chosen. With whole
words all tokens of a word are chosen together, as the rest of a word gives the missing piece away. (Devlin et al.,
"BERT", 2019; the masks are drawn anew each epoch, as in Liu et al., "RoBERTa", 2019.)
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.core.errors import DataError, SettingsError
from nextword.data.form import Reads, Row, draw
from nextword.data.labelled import IGNORED, Ids, Labelled, numbered, real, stack
from nextword.data.marks import Joints, Marks, needed

RATE = 0.15
BERT = (0.8, 0.1, 0.1)  # [MASK], a random token, the token itself
ELECTRA = (0.85, 0.0, 0.15)  # the generator's, in its authors' code: a true token where nothing is hidden is copied
ADDED = 2  # [CLS] and [SEP]


class Hider:
    """Chooses what is hidden in a row of ids, and what is shown in its place."""

    def __init__(
        self,
        marks: Marks,
        rate: float = RATE,
        shown: tuple[float, float, float] = BERT,
        joints: Joints | None = None,
    ) -> None:
        """shown: the shares of [MASK], random and unchanged tokens. joints: for whole words."""
        self.mask = needed(marks.mask, "a mask token such as [MASK]", "bert")
        self.rate, self.shown, self.joints = rate, shown, joints
        self.special, self.ordinary = marks.hides(), marks.ordinary()

    def __call__(self, ids: NDArray[np.int64], random: np.random.Generator) -> tuple[Ids, Ids]:
        """Inputs and labels of a row; round(rate · n) of its n ordinary tokens are chosen, one at least."""
        places = np.flatnonzero(~self.special[ids])
        if not len(places):
            raise DataError("a row holds nothing but special tokens: it would be all padding; remove empty documents")
        count = max(1, round(self.rate * len(places)))
        if self.joints is None:
            chosen = random.permutation(places)[:count]
        else:
            chosen = places[self.whole_words(ids, places, count, random)]
        labels = np.full_like(ids, IGNORED)
        labels[chosen] = ids[chosen]
        which = random.random(len(chosen))
        other = self.ordinary[random.integers(len(self.ordinary), size=len(chosen))]
        hidden, replaced, _ = np.cumsum(self.shown)
        inputs = ids.copy()
        inputs[chosen] = np.where(which < hidden, self.mask, np.where(which < replaced, other, ids[chosen]))
        return inputs, labels

    def whole_words(
        self, ids: NDArray[np.int64], places: NDArray[np.int64], count: int, random: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Which of the places: words in random order until `count` tokens are reached, those left out that go over."""
        assert self.joints is not None
        words = self.joints.words(ids)[places]
        found, number, sizes = np.unique(words, return_inverse=True, return_counts=True)
        order = random.permutation(len(found))
        fits, total = np.zeros(len(found), np.bool_), 0
        for word in order:
            if total + sizes[word] <= count or not total:
                fits[word] = True
                total += sizes[word]
            if total >= count:
                break
        kept: NDArray[np.bool_] = fits[number]
        return kept


class Masked:
    """Rows of [CLS] text [SEP] with hidden tokens, out of windows or packed documents; `noise`: with noise_BT."""

    extra = 0

    def __init__(self, marks: Marks, hide: Hider, packed: bool = False, noise: bool = False) -> None:
        self.reads: Reads = "documents" if packed else "windows"
        self.cls = needed(marks.cls, "tokens that begin and end a text, such as [CLS] and [SEP],", "bert")
        self.sep = needed(marks.sep, "a token that ends a text, such as [SEP],", "bert")
        self.hide, self.fill, self.noise = hide, marks.fill, noise

    def room(self, length: int) -> int:
        """All but [CLS] and [SEP]."""
        if length <= ADDED:
            raise SettingsError(f"rows of {length} tokens have no room for text beside [CLS] and [SEP]: use 3 or more")
        return length - ADDED

    def cost(self, tokens: int, length: int) -> int:
        """A document with its [CLS] and [SEP]."""
        return tokens + ADDED

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """Inputs and labels, and uniform noise where it is wanted."""
        pieces = [[self.wrapped(piece) for piece in row.pieces] for row in rows]
        inputs, labels, noise = [], [], []
        for row, whole in zip(rows, pieces, strict=True):
            random = draw(row)
            shown, wanted = self.hide(np.concatenate(whole), random)
            inputs.append(shown)
            labels.append(wanted)
            if self.noise:
                noise.append(random.random(len(shown)))
        return Labelled(
            stack(inputs, self.fill, length=length),
            stack(labels, IGNORED, length=length),
            real(inputs, length),
            numbered(pieces, length),
            noise_BT=stack(noise, 0, np.float64, length).to(torch.float64) if self.noise else None,
            spans=tuple(span for row in rows for span in row.spans),
        )

    def wrapped(self, piece: Ids) -> NDArray[np.int64]:
        """[CLS] piece [SEP]; a document's own end is that [SEP]."""
        text = piece[:-1] if len(piece) > 1 and piece[-1] == self.sep else piece
        return np.concatenate([[self.cls], text, [self.sep]]).astype(np.int64)
