"""Encoders write: a prompt, masks behind it, and as many calls as `decode/strategies/mask_predict` wants.

    [CLS] prompt [MASK] [MASK] [MASK] [SEP]

Nothing is kept between calls, since every token sees every other.
"""

from collections.abc import Iterator, Sequence

import torch

from nextword.decode.row import Row, Step
from nextword.decode.strategies.mask_predict import Gap
from nextword.models.base import LanguageModel, pad


def run(model: LanguageModel, rows: Sequence[Row]) -> Iterator[Step]:
    """The steps of all rows, row by row, when all are done."""
    blanks = [row.asked.blank for row in rows]
    assert all(blank is not None for blank in blanks), "requests for encoders say what a mask is"
    gaps = [Gap(row, blank.never) for row, blank in zip(rows, blanks, strict=True)]
    while open_ := [(gap, blank) for gap, blank in zip(gaps, blanks, strict=True) if gap.masked]:
        with torch.inference_mode():
            texts = [[*gap.row.asked.prompt, *gap.ids(blank.mask_id), *blank.after] for gap, blank in open_]
            batch = pad(texts).to(next(iter(model.state_dict().values())).device)
            hidden_BTD = model.hidden(batch).hidden_BTD
            for (gap, _), hidden_TD in zip(open_, hidden_BTD, strict=True):
                begin = len(gap.row.asked.prompt)
                gap.fill(model.logits(hidden_TD[[begin + place for place in gap.masked]]))
    for gap in gaps:
        yield from gap.say()
