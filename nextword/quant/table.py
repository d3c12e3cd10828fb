"""The embedding and the output matrix in 8 bits: a row of whole numbers and one scale for each token.

Both are the same matrix in many models, and in a small one most of all weights. Looking a token up makes its row;
whoever wants the whole matrix (`weight`: scores over the vocabulary in plain PyTorch, a loss) gets it made on the spot.
"""

import torch
from torch import Tensor, nn

from nextword.nn.embedding import Embedding, FullEmbedding
from nextword.nn.head import Head
from nextword.quant import format as formats
from nextword.quant.linear import Stored

BITS = 8


class Coded(Stored):
    """In place of a module's parameter `weight`: codes_VD and scales_V1, and the weight as what they stand for.

    nothing: an empty tensor of the type that is computed in; it follows the module's.
    """

    nothing: Tensor
    stored_width: int

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device that vectors have."""
        return self.nothing

    @property
    def weight(self) -> Tensor:
        """The whole matrix, (V, D)."""
        return self.decoded(self.codes, self.scales)

    def decoded(self, codes: Tensor, scales: Tensor) -> Tensor:
        """The rows that these numbers stand for, in the type that is computed in."""
        width = self.stored_width
        form = formats.find(BITS)
        dense = formats.decode(codes, scales, form, form.group_of(None, width), width, torch.float32)
        return dense.to(self.nothing.dtype)


class _CodedRows(Coded):
    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of tokens."""
        flat = ids.flatten()
        return self.decoded(self.codes[flat], self.scales[flat]).unflatten(0, ids.shape)


class CodedEmbedding(_CodedRows, Embedding):
    """`Embedding` in 8 bits."""


class CodedFullEmbedding(_CodedRows, FullEmbedding):
    """`FullEmbedding` whose tokens' vectors have 8 bits."""


class CodedHead(Coded, Head):
    """`Head` whose own matrix has 8 bits."""


CODED: dict[type[nn.Module], type[Coded]] = {
    Embedding: CodedEmbedding,
    FullEmbedding: CodedFullEmbedding,
    Head: CodedHead,
}


def shrink(module: nn.Module) -> None:
    """Puts 8 bits in place of the `weight` of an Embedding or of a Head that has its own; the module stays itself.

    On the meta device nothing is computed.
    """
    weight = module.weight.detach()
    form, width = formats.find(BITS), weight.shape[1]
    if weight.is_meta:
        codes = torch.empty(len(weight), form.padded(width), dtype=torch.int8, device="meta")
        scales = torch.empty(len(weight), 1, dtype=form.scale, device="meta")
    else:
        codes, scales = formats.encode(weight, form, form.group_of(None, width))
    del module.weight
    module.register_buffer("codes", codes)
    module.register_buffer("scales", scales)
    module.register_buffer("nothing", torch.empty(0, dtype=weight.dtype, device="cpu"), persistent=False)
    module.stored_width = width
    module.__class__ = CODED[type(module)]  # what PyTorch's own parametrisations do to a module
