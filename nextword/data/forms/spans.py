"""Stretches of text taken out, each replaced by a sentinel; what was taken out is to be written.

    text     Thank you for inviting me to your party last week .
    source   Thank you <extra_id_0> me to your party <extra_id_1> week . </s>
    target   <extra_id_0> for inviting <extra_id_1> last </s>
    decoder's input: the target moved on by one, <pad> first

15 % of the tokens are taken out, in spans of 3 on average: n tokens lose m = round(0.15 n) in s = round(m / 3) spans.
What is lost is cut into s parts at random, and what stays into the s + 1 parts around them. So the lengths depend on n
alone, and a window is made as long as its source fills the row. (Raffel et al., "Exploring the Limits of Transfer
Learning with a Unified Text-to-Text Transformer", 2020, 3.3.4. Their code lets every text end with a span, so that a
short one loses its end and nothing else; here a span may stand anywhere.)
"""

from collections.abc import Sequence

import numpy as np

from nextword.core.errors import DataError, SettingsError
from nextword.data.form import Reads, Row, draw
from nextword.data.labelled import IGNORED, Ids, Labelled, Source, numbered, real, stack
from nextword.data.marks import Marks, lacking, needed

RATE, MEAN = 0.15, 3.0


class Spans:
    """Rows of a source with sentinels and a target that fills them, out of windows or packed documents."""

    extra = 0

    def __init__(self, marks: Marks, rate: float = RATE, mean: float = MEAN, packed: bool = False) -> None:
        """rate: share of the tokens taken out; mean: tokens of a span."""
        self.reads: Reads = "documents" if packed else "windows"
        self.end = needed(marks.eos, "a token that ends a text, such as </s>,", "t5")
        self.start = needed(marks.pad, "a padding token, which begins the decoder's input,", "t5")
        self.sentinels, self.fill = marks.sentinels, marks.fill
        self.rate, self.mean = rate, mean
        self.rooms: dict[int, int] = {}  # by length, since it takes a search
        if not self.sentinels:
            raise lacking("sentinels (<extra_id_0> and so on)", "t5")

    def taken(self, tokens: int) -> tuple[int, int]:
        """How many of so many tokens are taken out, and in how many spans."""
        lost = min(max(round(self.rate * tokens), 1), tokens - 1)
        return lost, min(max(round(lost / self.mean), 1), lost, tokens - lost)

    def lengths(self, tokens: int) -> tuple[int, int]:
        """Positions of the source and of the target, ends included, that so many tokens of text become."""
        lost, spans = self.taken(tokens)
        return tokens - lost + spans + 1, lost + spans + 1

    def room(self, length: int) -> int:
        """The most tokens of text whose source is at most `length` positions long."""
        if length in self.rooms:
            return self.rooms[length]
        most = SHORTEST
        if length < self.lengths(most)[0]:
            raise SettingsError(
                f"rows of {length} tokens have no room for text beside a sentinel and </s>: use "
                f"{self.lengths(most)[0]} or more"
            )
        while max(self.lengths(most + 1)) <= length:
            most += 1
        spans = self.taken(most)[1]
        if spans > len(self.sentinels):
            raise SettingsError(
                f"a row of {length} tokens needs {spans} sentinels and the tokenizer has {len(self.sentinels)}: "
                "use a smaller --train.length, or longer spans (--objective.span_mean)"
            )
        self.rooms[length] = most
        return most

    def cost(self, tokens: int, length: int) -> int:
        """What fills first, the source or the target (which has its own share of a full row)."""
        source, target = self.lengths(max(tokens, 2))
        return max(source, -(-target * length // self.widest_target(length)))

    def widest_target(self, length: int) -> int:
        """Positions of the target of a full row."""
        return self.lengths(self.room(length))[1]

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """Decoder inputs and labels, with the source."""
        sources: list[list[Ids]] = []
        targets: list[list[Ids]] = []
        for row in rows:
            random = draw(row)
            sources.append([])
            targets.append([])
            for piece in row.pieces:
                text = piece[:-1] if len(piece) > SHORTEST and piece[-1] == self.end else piece
                source, target = self.corrupt(text, random)
                sources[-1].append(source)
                targets[-1].append(target)
        inputs = [[np.concatenate([[self.start], target[:-1]]) for target in row] for row in targets]
        width = self.widest_target(length)
        joined = [np.concatenate(row) for row in sources]
        read = [np.concatenate(row) for row in inputs]
        return Labelled(
            stack(read, self.fill, length=width),
            stack([np.concatenate(row) for row in targets], IGNORED, length=width),
            real(read, width),
            numbered(inputs, width),
            source=Source(stack(joined, self.fill, length=length), real(joined, length), numbered(sources, length)),
            spans=tuple(span for row in rows for span in row.spans),
        )

    def corrupt(self, ids: Ids, random: np.random.Generator) -> tuple[Ids, Ids]:
        """Source and target of a text of at least two tokens, each with its end."""
        if len(ids) < SHORTEST:
            raise DataError(f"a text of {len(ids)} tokens cannot lose a part and keep one: remove so short documents")
        lost, spans = self.taken(len(ids))
        kept, lost_S = parts(len(ids) - lost + 2, spans + 1, random), parts(lost, spans, random)
        kept[[0, -1]] -= 1  # a text may begin and end with a span
        kept_S = kept[:-1]
        begins_S = np.cumsum(kept_S + lost_S) - lost_S  # where each span that is taken out begins
        ends_S = begins_S + lost_S
        marks_S = np.array(self.sentinels[:spans])
        out = np.zeros(len(ids), np.bool_)
        for begin, end in zip(begins_S, ends_S, strict=True):
            out[begin:end] = True
        source = np.insert(ids[~out].astype(np.int64), np.cumsum(kept_S), marks_S)
        target = np.insert(ids[out].astype(np.int64), np.cumsum(lost_S) - lost_S, marks_S)
        return np.append(source, self.end), np.append(target, self.end)


SHORTEST = 2  # tokens: one that stays and one that goes


def parts(total: int, count: int, random: np.random.Generator) -> Ids:
    """`total` as a sum of `count` numbers of at least 1, every such sum equally likely."""
    cuts = np.sort(random.permutation(total - 1)[: count - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def restored(source: Ids, target: Ids, sentinels: Sequence[int]) -> Ids:
    """The text back: every sentinel of a source (without its end) replaced by what follows it in the target."""
    filled: dict[int, list[int]] = {}
    for number in target:
        if number in sentinels:
            current = filled.setdefault(int(number), [])
        else:
            current.append(int(number))
    text = [filled[int(n)] if n in sentinels else [int(n)] for n in source]
    return np.array([number for part in text for number in part], np.int64)
