"""What is verified: a model in fp32, and texts in its own tokens, few and short.

Everything is computed in fp32 whatever the folder stores: in bf16, with 8 bits, rounding would hide the errors that are
looked for. Where all layers would take long, a model with the first layers alone stands in: the same code, the same
weights; the finding then says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nextword.models.base import Batch, LanguageModel, Output, State
from nextword.models.checkpoint import widest
from nextword.models.family import Storable
from nextword.models.family import find as find_family
from nextword.models.transformer import Transformer
from nextword.quant import model as quantised
from nextword.tokenizers.base import Tokenizer
from nextword.verify.rows import Row, alone

Ids = npt.NDArray[np.int64]
LONGEST = 24  # tokens of the longest row
SHARES = (0.4, 1.0, 0.0, 0.7, 0.2)  # of it that the rows have, but at least one token
TOGETHER = 3  # rows that are packed into one
TOKENS = 1000  # of text that are used
DISTINCT = 16  # different tokens that a text must have to show a difference
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers")  # what config.json calls the layers
SHALLOW = 2  # layers of the model that stands in for a large one
LARGE = 30_000_000  # parameters from which on it does


@dataclass(frozen=True)
class Subject:
    """A model folder on trial. tokens: ids of its text, one after the other; scratch: an empty folder to write in."""

    model: Storable
    tokenizer: Tokenizer
    folder: Path
    scratch: Path
    tokens: Ids

    @property
    def longest(self) -> int:
        """Tokens of the longest row: three rows fit into the model together."""
        limit = self.model.max_length
        return LONGEST if limit is None else max(1, min(LONGEST, limit // TOGETHER))

    @property
    def fill(self) -> int:
        """The id that padding holds: a token of the text, so that a model which looks at it is not spared."""
        return int(self.tokens[-1])

    def rows(self) -> list[Row]:
        """Texts of different lengths, one of them a single token."""
        stream = iter(self.tokens.tolist())
        found = []
        for length in (max(1, round(share * self.longest)) for share in SHARES):
            ids, source, types = tuple(islice(stream, length)), None, None
            if self.model.kind == "encoder-decoder":  # a short target has a long source
                source = tuple(islice(stream, self.longest - length + 1))
            if self.model.config.get("type_vocab_size", 1) > 1:
                types = tuple(int(place >= length // 2) for place in range(length))
            found.append(Row(ids, source, types))
        return found

    def small(self) -> tuple[Storable, str]:
        """A model that shares this one's weights, of fewer layers if it is large, and a remark that says so."""
        config = self.model.config
        size = sum(tensor.numel() for tensor in self.model.state_dict().values())
        fewer: dict[str, Any] = {key: SHALLOW for key in DEPTHS if size > LARGE and config.get(key, 0) > SHALLOW}
        depth = max((config[key] for key in fewer), default=0)
        note = f"by the first {SHALLOW} of {depth} layers" if fewer else ""
        for key, listed in config.items():
            if depth and isinstance(listed, list) and len(listed) == depth:  # one value a layer
                fewer[key] = listed[:SHALLOW]
        return rebuilt(self.model, fewer), note


def read_text(texts: Iterable[str], tokenizer: Tokenizer, vocab_size: int) -> tuple[Ids, str]:
    """Ids of the texts, and a remark where they were too uniform to show a difference and random ids stand in."""
    ids = list(islice(chain.from_iterable(tokenizer.encode(text) for text in texts), TOKENS))
    if len(set(ids)) >= min(DISTINCT, vocab_size // 2):
        return np.fromiter(islice(cycle(ids), TOKENS), np.int64, TOKENS), ""
    drawn = np.random.default_rng(0).integers(0, min(vocab_size, tokenizer.vocab_size), TOKENS)
    return drawn, f"the text has only {len(set(ids))} different tokens in this vocabulary: random ones stand in"


def rebuilt(model: Storable, changes: dict[str, Any]) -> Storable:
    """A model of the same weights (shared, not copied) with some keys of its config.json changed.

    A tensor that only the new model has (the output matrix of an untied model) is drawn at random, in their type.
    """
    config = {**model.config, **changes}
    with torch.device("meta"):  # the shapes alone
        fresh = find_family(config["model_type"], "the model").build(config)
    quantisation = quantised.of(model)
    if quantisation is not None:
        quantised.empty(cast(nn.Module, fresh), quantisation)
    have, wanted = model.state_dict(), fresh.state_dict()
    draw = torch.Generator().manual_seed(0)
    dtype = widest(tensor.dtype for tensor in have.values())
    new = {name: torch.randn(x.shape, generator=draw).to(dtype) for name, x in wanted.items() if name not in have}
    held = have | new
    fresh.load_state_dict({name: held[name] for name in wanted}, strict=True, assign=True)
    if isinstance(fresh, nn.Module):
        fresh.eval()
    return fresh


def scores(model: LanguageModel, output: Output) -> Tensor:
    """What the model says at every place, logits_BTV.

    A model without scores over the vocabulary says its hidden vectors. Behind the logits of counts stand the contexts
    that they were looked up by: where one was never counted, the logits alone would not show that it is the wrong one.
    """
    hidden_BTD = output.hidden_BTD
    if isinstance(model, Transformer) and not model.settings.output:
        return hidden_BTD
    logits_BTV = model.logits(hidden_BTD.flatten(0, 1)).view(*hidden_BTD.shape[:2], -1)
    return logits_BTV if hidden_BTD.is_floating_point() else torch.cat([logits_BTV.double(), hidden_BTD.double()], -1)


def read(model: LanguageModel, batch: Batch, state: State | None = None) -> tuple[Tensor, State | None]:
    """logits_BTV of a batch, and the state after it."""
    with torch.inference_mode():
        output = model.hidden(batch, state)
        return scores(model, output), output.state


def read_alone(model: LanguageModel, rows: Iterable[Row]) -> list[Tensor]:
    """logits_TV of each row, read by itself and whole: what every other way of reading is held against."""
    return [read(model, alone(row))[0][0] for row in rows]
