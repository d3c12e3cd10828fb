"""The n-gram: the next token's probability is how often it followed the last n − 1 tokens, mixed with shorter contexts.

    P(w | h) = (c(h w) + T(h) · P(w | h')) / (c(h) + T(h))          P(w) of no context at all = 1/V

c(h w) counts h followed by w; c(h) = Σ_w c(h w) counts h where something follows; T(h) is the number of different
tokens that followed; h' is h without its oldest token. This is Witten-Bell interpolation (Witten & Bell, 1991; Chen &
Goodman, 1998): a context that was followed by many different tokens trusts itself less. A context never seen leaves
P(w | h') as it is, and down at 1/V every token keeps a probability above 0.

Documents: a context does not reach over an end of document. The end token may stand only as the oldest token of a
context, where it means "the document begins here", and as the token that is predicted. So the first token of a document
has the context (end), and what stood in the document before is not seen.

hidden_BTD holds the last n − 1 ids themselves, oldest first, −1 where the context is shorter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.models.base import IGNORED, Batch, Output, refuse, refuse_packed
from nextword.models.costs import Costs
from nextword.models.counts import Counts, TokenSource, count_tokens
from nextword.nn import segments

NOTHING = -1  # in a context: no token here


@dataclass(frozen=True)
class NGramSettings:
    """An n-gram of `order` n; `entries` are the numbers of different k-grams for k = 2..n that its tables hold."""

    vocab_size: int
    order: int
    eos_id: int | None
    entries: tuple[int, ...]


class NGramState:
    """All ids that each row has read, so that it can be taken back to any of them; never written to."""

    def __init__(self, ids_BS: Tensor, lengths_B: Tensor) -> None:
        self.ids_BS, self.lengths_B = ids_BS, lengths_B

    def select(self, rows: Tensor) -> "NGramState":
        """The given rows, in their order."""
        return NGramState(self.ids_BS[rows], self.lengths_B[rows])

    def crop(self, lengths_B: Tensor) -> "NGramState":
        """The state after the first `lengths_B` tokens of each row."""
        return NGramState(self.ids_BS, lengths_B.clone())

    def fork(self, row: int, count: int) -> "NGramState":
        """`count` copies of one row."""
        return self.select(torch.full((count,), row, dtype=torch.int64))


class NGram:
    """Counts in sorted tables. A LanguageModel that is trained by `count` in one pass a length, without gradients."""

    kind = "decoder"
    max_length: int | None = None

    def __init__(self, settings: NGramSettings, config: dict[str, Any]) -> None:
        self.settings, self.config = settings, config
        self.vocab_size, self.reach = settings.vocab_size, settings.order - 1
        self.counts: Counts | None = None  # until they are read or counted

    @property
    def PARTS(self) -> dict[str, str]:  # noqa: N802 - the name that every model has for it
        """What the tables are counted as."""
        orders = range(1, self.settings.order + 1)
        return {f"{kind}_{k}": f"{k}-grams" for k in orders for kind in ("keys", "counts")}

    def count(self, tokens: TokenSource) -> None:
        """Learns the counts of a token file (or any source with `len` and `read`), in place of those it had."""
        self.counts = count_tokens(tokens, self.vocab_size, self.settings.order, self.settings.eos_id)
        self.config = {**self.config, "entries": [len(keys) for keys in self.counts.keys[1:]]}

    def start(self, rows: int, length: int) -> NGramState:
        """The state that has read nothing."""
        return NGramState(torch.empty(rows, 0, dtype=torch.int64), torch.zeros(rows, dtype=torch.int64))

    def hidden(self, batch: Batch, state: NGramState | None = None) -> Output:
        """The context at each position: the last n − 1 ids, (B, T, n − 1), int64."""
        refuse(batch, "an n-gram")
        if state is not None:
            refuse_packed(batch)
        rows, time = batch.ids_BT.shape
        before = self.start(rows, 0) if state is None else state
        places_BT = before.lengths_B[:, None] + torch.arange(time)
        ids_BS = torch.zeros(rows, int(places_BT.max()) + 1 if time else 0, dtype=torch.int64)
        kept = min(before.ids_BS.shape[1], ids_BS.shape[1])
        ids_BS[:, :kept] = before.ids_BS[:, :kept]
        ids_BS.scatter_(1, places_BT, batch.ids_BT.cpu())
        begins_BT = (
            torch.zeros_like(places_BT) if batch.segments_BT is None else segments.begins(batch.segments_BT.cpu())
        )
        hidden_BTD = self.contexts(ids_BS, places_BT, begins_BT)
        if state is None:
            return Output(hidden_BTD)
        counts_B = torch.full((rows,), time) if batch.mask_BT is None else batch.mask_BT.sum(1).cpu()
        return Output(hidden_BTD, NGramState(ids_BS, before.lengths_B + counts_B))

    def contexts(self, ids_BS: Tensor, places_BT: Tensor, begins_BT: Tensor) -> Tensor:
        """The ids at the last n − 1 places up to each of `places_BT`, −1 before `begins_BT` or the document's begin."""
        back_D = torch.arange(self.reach - 1, -1, -1)
        from_BTD = places_BT[..., None] - back_D
        found = ids_BS[torch.arange(len(ids_BS))[:, None, None], from_BTD.clamp(min=0)]
        ends = (found == self.settings.eos_id).long() if self.settings.eos_id is not None else torch.zeros_like(found)
        later = ends.flip(-1).cumsum(-1).flip(-1) - ends  # ends of documents between this place and the last
        return found.masked_fill((from_BTD < begins_BT[..., None]) | (later > 0), NOTHING)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Log-probabilities over the vocabulary, fp32, (N, V)."""
        return torch.from_numpy(np.log(self.counts.distributions(hidden_ND.cpu().numpy()))).float()

    def score(self, batch: Batch, labels_BT: Tensor) -> Tensor:
        """log p(label | context), fp32, (B, T); 0 where the label is -100. Looks up only the labels."""
        hidden_BTD = self.hidden(batch).hidden_BTD
        wanted_BT = labels_BT != IGNORED
        p_N = self.counts.probabilities(hidden_BTD[wanted_BT].numpy(), labels_BT[wanted_BT].cpu().numpy())
        logp_BT = torch.zeros(labels_BT.shape)
        logp_BT[wanted_BT.cpu()] = torch.from_numpy(np.log(p_N)).float()
        return logp_BT

    def state_dict(self) -> dict[str, Tensor]:
        """The tables `counts_1` (V), `keys_k` and `counts_k` of each longer k; shapes alone while there are none."""
        if self.counts is None:
            sizes = {"counts_1": self.vocab_size}
            for k, size in enumerate(self.settings.entries, 2):
                sizes |= {f"keys_{k}": size, f"counts_{k}": size}
            return {name: torch.empty(size, dtype=torch.int64, device="meta") for name, size in sizes.items()}
        return {name: torch.as_tensor(table) for name, table in self.counts.tables().items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> None:
        """Takes the tables that `state_dict` gives; CheckpointError when they are not what counting makes."""
        self.counts = Counts.of_tables({name: tensor.numpy() for name, tensor in tensors.items()}, self.vocab_size)
        problem = self.counts.problem()
        if problem:
            raise CheckpointError(f"the tables of this n-gram are corrupt: {problem}; count again")

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Forgets all counts: every token is as likely as any other."""
        self.counts = Counts.empty(self.vocab_size, self.settings.order)

    def costs(self) -> Costs:
        """No matrix products; the state is the ids read."""
        return Costs(0, state_bytes_per_token=torch.int64.itemsize)
