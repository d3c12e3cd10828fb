"""How texts that are continued together are read: a pool of blocks where the model's state is a plain cache.

PagedReader   decoders whose attention sees all before it: one row of tokens of all texts (`nn/paged`)
ApartReader   everything else (counts, recurrence, windows, encoder-decoders): each text by itself
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode.scores import Draw, draw
from nextword.engine.blocks import Blocks
from nextword.engine.plans import decoder, graph
from nextword.engine.scheduler import Apart, Scheduler, Text, Work
from nextword.engine.settings import EngineSettings
from nextword.engine.static_pages import StaticPages
from nextword.engine.step import Compiled, PlainSteps, Stepper
from nextword.models.base import Batch, LanguageModel
from nextword.models.mixture import MixtureTransformer
from nextword.models.stack import Places
from nextword.models.transformer import Transformer
from nextword.nn.mask import Reach
from nextword.nn.paged import PagedAttend, PagedCache, PagedView
from nextword.nn.position.rope import STRETCHING
from nextword.quant import model as quantised

FEW_TOKENS = 32  # up to which reading the weights is what takes time, and the compiled step is the faster one
TOKENS = 1_000_000  # that an engine generates: more than any compiling costs
SHARE_OF_MEMORY = 4  # a quarter of what is free
UNLIMITED = 1 << 16  # places that a text of a model without a limit may need


def pages(model: LanguageModel) -> bool:
    """Whether a model can read from blocks: every token sees all before it, at places that only the text decides.

    Kinds of transformers with a state of their own beside the cache (the last tokens, for n-gram embeddings) cannot.
    """
    if type(model) not in {Transformer, MixtureTransformer}:
        return False
    if model.kind != "decoder" or model.settings.bias is not None:
        return False
    scaled = [rope.scaling for rope in (model.settings.rope, model.settings.near_rope) if rope]
    blocks = model.settings.blocks
    whole = all(block.attention.reach == Reach() and block.arrangement != "disentangled" for block in blocks)
    return whole and not any(isinstance(scaling, STRETCHING) for scaling in scaled)


class PagedReader:
    """All texts as one row of tokens; their keys and values in a pool.

    A step of few tokens is one compiled call where the model has such a plan (`engine/plans`): its time is that of
    reading the weights. One of many is PyTorch's products, with the compiled attention over blocks; but with weights of
    few bits it is compiled calls, too, so that every token is read with inputs rounded alike (`engine/compiled`).
    """

    def __init__(self, model: Transformer, settings: EngineSettings, compiled: Compiled = "auto") -> None:
        self.model = model
        like = model.embedding.like
        on_cpu, self.coded = like.device.type == "cpu", quantised.of(model) is not None
        self.whole = None
        if compiled != "never" and on_cpu:
            self.whole = decoder.plan(model, TOKENS, compiled)
        if self.whole is not None:
            like = torch.empty(0, dtype=torch.float32)  # what it computes in, whatever the type of the model
        places = settings.cache_tokens or affordable(model, settings, like)
        blocks = Blocks(-(-places // settings.block), settings.block)
        self.cache = PagedCache.empty(model.shapes, blocks.count, settings.block, like)
        self.scheduler = Scheduler(blocks, settings.rows, settings.step_tokens)
        self.single: StaticPages | None = None  # how texts of one token each are read on a GPU
        if compiled != "never" and graph.fits(model):
            self.single = StaticPages(model, self.cache, self.longest, graph.recorder(model, TOKENS, compiled))
        uncapped = all(block.attention.cap is None for block in model.settings.blocks)
        whole = like.dtype == torch.float32  # keys and values, as the kernel reads them
        self.kernel = kernel() if compiled != "never" and on_cpu and whole and uncapped else None
        if compiled == "always" and not self.compiled:
            raise SettingsError(
                "nothing of this model's steps can be compiled (on the CPU that takes fp32, or bf16 and few bits in "
                "models shaped as Llama or GPT-2; on a GPU all but mixtures): use compiled = auto"
            )

    @property
    def compiled(self) -> bool:
        """Whether something of its steps is compiled."""
        return any(one is not None for one in (self.whole, self.kernel, self.single))

    @property
    def draw(self) -> Draw:
        """How tokens are drawn from the scores."""
        return draw if self.whole is None else self.whole.draw

    @property
    def longest(self) -> int:
        """Places that a text may need at most."""
        return self.scheduler.blocks.count * self.scheduler.blocks.size

    @torch.inference_mode()
    def read(self, works: Sequence[Work]) -> Tensor:
        """Reads the work of a step; logits_NV after those texts whose next token is to be chosen."""
        ends, wanted = 0, []
        for work in works:
            ends += work.count
            if work.last:
                wanted.append(ends - 1)
        if self.whole is not None and (self.coded or ends <= FEW_TOKENS):
            return self.read_whole(works, wanted)
        if self.single is not None and ends == len(works) == len(wanted):
            return self.single.read(works)
        model, device = self.model, self.cache.layers[0].k_BKSE.device
        view = PagedView([work.part for work in works], self.cache.size, device, self.kernel)
        batch = Batch(torch.tensor([[number for work in works for number in work.ids]], device=device))
        places = Places(view.positions_BT, view.span, None, None, view)
        return model.logits(model.through(batch, places, self.cache)[0][wanted])

    def read_whole(self, works: Sequence[Work], wanted: Sequence[int]) -> Tensor:
        """The same by the compiled step."""
        tokens = [
            (number, row, place)
            for row, work in enumerate(works)
            for place, number in enumerate(work.ids, work.text.read)
        ]
        blocks_BM = np.zeros((len(works), max(len(work.text.blocks) for work in works)), dtype=np.int64)
        for line_M, work in zip(blocks_BM, works, strict=True):
            line_M[: len(work.text.blocks)] = work.text.blocks
        tokens_3N = np.array(tokens, dtype=np.int64).T
        return self.whole.read(tokens_3N, np.array(wanted, dtype=np.int64), self.cache, blocks_BM)

    def forget(self, text: Text) -> None:
        """Nothing to do: the scheduler has the blocks."""


class ApartReader:
    """Each text with a state of its own."""

    def __init__(self, model: LanguageModel, settings: EngineSettings, steps: Stepper) -> None:
        self.model, self.steps, self.draw = model, steps, steps.draw
        self.scheduler = Apart(settings.rows)
        self.longest = model.max_length or UNLIMITED
        self.compiled = not isinstance(steps, PlainSteps)
        self.states: dict[int, Any] = {}

    @torch.inference_mode()
    def read(self, works: Sequence[Work]) -> Tensor:
        """Reads the work of a step; logits_NV after each text."""
        found = []
        for work in works:
            text = work.text
            if text.read == 0:
                length = len(text.ids) + text.row.left
                sources = None if text.source is None else [text.source]
                logits_1V, state = self.steps.prefill([work.ids], length, sources)
            else:
                logits_1V, state = self.steps.step(work.ids, self.states[text.number])
            self.states[text.number] = state
            found.append(logits_1V)
        return torch.cat(found)

    def forget(self, text: Text) -> None:
        """Drops the state of a text."""
        self.states.pop(text.number, None)


def affordable(model: Transformer, settings: EngineSettings, like: Tensor) -> int:
    """Places that a cache like that gets: for all rows at their longest, if a quarter of the free memory allows."""
    each = sum(2 * heads * width for heads, width in model.shapes) * like.element_size()
    wanted = settings.rows * (model.max_length or UNLIMITED)
    free = psutil.virtual_memory().available
    if like.device.type == "cuda":
        free = torch.cuda.mem_get_info(like.device)[0]
    return max(settings.block, min(wanted, free // SHARE_OF_MEMORY // each))


def kernel() -> PagedAttend | None:
    """The compiled attention over blocks; None without Numba."""
    if find_spec("numba") is None:
        return None
    from nextword.nn.kernels.paged import attend  # noqa: PLC0415 - Numba costs a second that not everybody need pay

    return attend
