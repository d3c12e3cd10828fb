"""What training will take in memory, from a model's description alone: every operation runs, and no number is made.

    weights       P numbers in the type that the model computes with
    masters       P in fp32, where that type is shorter
    optimizer     AdamW 2 P in fp32; others less
    step          the most at any moment of a step: activations on the way up, gradients on the way down, and the
                  scores of one chunk of the vocabulary

PyTorch's fake tensors have shapes and no memory; `core/memory.Held` follows their bytes as it follows those of real
ones. So the figures are those of this code, whatever the family, and a model of hundreds of gigabytes is counted on a
laptop. `train/memory.py` measures the same on the real run before its first step. A process takes more than its tensors
where the allocator keeps holes: with glibc's defaults 1.2 to 1.3 times as much on a CPU (three sizes), hardly more with
MALLOC_MMAP_THRESHOLD_=1000000, at some cost in time.

The textbook's figure leaves the activations out: with weights and gradients in bf16 and Adam's two means in fp32, 2 + 2
+ 8 bytes a parameter, 84 GB for 7B (Rajbhandari et al., "ZeRO", 2020, count 4 more for fp32 masters, as ours has).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from nextword.core.device import DTYPES
from nextword.core.errors import SettingsError
from nextword.core.memory import Held, bytes_of
from nextword.models.base import Batch
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.family import find
from nextword.models.transformer import Transformer
from nextword.nn.loss import gradients
from nextword.train import blocks
from nextword.train.optimizer import find as find_optimizer
from nextword.train.precision import Weights
from nextword.train.roles import roles
from nextword.train.settings import TrainSettings

HIDDEN_SHARE = 0.15  # of an encoder's positions, those whose tokens are to be found
MEANS = 2  # Adam's
FP32, BF16 = 4, 2


@dataclass(frozen=True)
class Takes:
    """Bytes. step: the most beside what is held; of it are the gradients when it ends, the activations half-way.

    copies: main memory that a checkpoint takes besides while it is written.
    """

    weights: int
    masters: int
    optimizer: int
    gradients: int
    activations: int
    step: int
    copies: int

    @property
    def held(self) -> int:
        """From the beginning on."""
        return self.weights + self.masters + self.optimizer

    @property
    def all(self) -> int:
        """At the highest moment of a step."""
        return self.held + self.step


def textbook(parameters: int) -> tuple[int, int, int]:
    """Weights and gradients in bf16, Adam's means in fp32.

    >>> [size // 10**9 for size in textbook(7 * 10**9)], sum(textbook(7 * 10**9)) // 10**9
    ([14, 14, 56], 84)
    """
    return BF16 * parameters, BF16 * parameters, MEANS * FP32 * parameters


def anticipate(config: dict[str, Any], settings: TrainSettings, precision: str) -> Takes:
    """What a run with these settings takes, on one processor; `precision` as `train.precision`, but not auto."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = find(config.get("model_type"), "config.json").build(config)
        if not isinstance(model, Transformer | EncoderDecoder):
            raise SettingsError(
                f"what training takes is foretold for transformers, not for {config['model_type']!r}: n-grams are "
                "counted, and an LSTM's kernels keep what only a real step shows (`nextword pretrain` says it first)"
            )
        model.train()
        if settings.recompute:
            blocks.recompute(model)
        weights = Weights(model, precision)
        optimizer = find_optimizer(settings.optimizer)(weights.masters, settings, roles(model, weights.masters))
        kept, masters = list(weights.parameters.values()), list(weights.masters.values())
        activations, step = passes(model, weights, settings)
        state = bytes_of([*masters, *optimizer.state().values()] if weights.low else list(optimizer.state().values()))
        return Takes(
            weights=bytes_of(kept),
            masters=bytes_of(masters) if weights.low else 0,
            optimizer=bytes_of(list(optimizer.state().values())),
            gradients=sum(weight.numel() for weight in kept) * DTYPES[precision].itemsize,
            activations=activations,
            step=step,
            copies=state + 2 * bytes_of(kept),
        )


def passes(model: Transformer | EncoderDecoder, weights: Weights, settings: TrainSettings) -> tuple[int, int]:
    """Bytes after the forward pass, and at the most in a step."""
    held = Held(float("inf"))
    with held:
        if settings.micro_rows < settings.batch:  # the gradients of the parts before it are there
            for master in weights.masters.values():
                master.grad = torch.zeros_like(master)
        before = held.now
        hidden_ND = model.hidden(made_up(model, settings.micro_rows, settings.length)).hidden_BTD.flatten(0, 1)
        activations = held.now - before
        weights.backward(scored(model, hidden_ND))
    return activations, held.phase()


def made_up(model: Transformer | EncoderDecoder, rows: int, length: int) -> Batch:
    """Rows without content; an encoder-decoder reads a source as long as its target."""
    ids_BT = torch.zeros(rows, length, dtype=torch.int64)
    return Batch(ids_BT, source=Batch(ids_BT) if model.kind == "encoder-decoder" else None)


def scored(model: Transformer | EncoderDecoder, hidden_ND: Tensor) -> Tensor:
    """A number whose gradient by the hidden vectors is the loss's; that of the output matrix is there already."""
    if model.kind == "encoder":
        hidden_ND = hidden_ND[: max(1, int(HIDDEN_SHARE * len(hidden_ND)))]
    hidden_ND, bias_V, cap = model.head.prepare(hidden_ND), model.head.bias, model.head.settings.cap
    weight_VD, labels_N = model.output_VD, hidden_ND.new_zeros(len(hidden_ND), dtype=torch.int64)
    _, hidden_grad_ND, weight_grad_VD, _ = gradients(hidden_ND, weight_VD, labels_N, bias_V, cap)
    weight_VD.grad = weight_grad_VD.to(weight_VD.dtype)
    return (hidden_ND * hidden_grad_ND).sum()
