"""The nearest matrix with orthogonal rows or columns, roughly: U S Vᵀ -> U S' Vᵀ with all of S' near 1.

Newton-Schulz: X scaled to norm 1, then some steps of an odd polynomial of X, which acts on singular values alone:

    A = X Xᵀ,    X <- (a + b A + c A²) X

(a, b, c) = (3.4445, -4.7750, 2.0315) are tuned for speed, not for an exact limit (Jordan et al. 2024, "Muon"): small
singular values grow 3.4-fold a step, and after five steps all above 1/500 or so of the norm lie between 0.7 and 1.2.

Products are all the cost, so they are few and large. Matrices of one shape are multiplied together. A is on the short
side, whichever it is: for a tall X it is XᵀX, and multiplies from the right, which needs no transposed copy. Where the
long side is over 1.5 times the short one, only the small matrices are iterated:

    P = a + b A + c A²,    Q <- P Q,    A <- P A P,    at last X <- Q X

which is the same polynomial (P, Q and A commute) in 2 products with X instead of 2 a step. That half of A and A²
follows from the other half cannot be used: no batched product for symmetric results exists, and one matrix at a time is
slower than what it would save. bf16 is used where it is multiplied in hardware, and there X is iterated itself:
rounding errors of A would be multiplied up in P A P.
"""

import torch
from torch import Tensor

from nextword.nn.attention import fast_bfloat16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LEAST_NORM = 1e-12  # of a gradient that still counts as one: a zero gradient stays zero
FIRST_BF16_GPU = 8  # compute capability


def product_type(device: torch.device) -> torch.dtype:
    """bf16 where its products are fast, else fp32."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= FIRST_BF16_GPU
    else:
        fast = device.type == "cpu" and fast_bfloat16()
    return torch.bfloat16 if fast else torch.float32


class Orthogonaliser:
    """Newton-Schulz for `count` matrices of one shape at once, in buffers that are made once."""

    def __init__(self, count: int, rows: int, columns: int, steps: int, device: torch.device) -> None:
        self.steps, self.tall = steps, rows > columns
        self.type = product_type(device)
        short, long = min(rows, columns), max(rows, columns)
        self.small = self.type == torch.float32 and steps > 1 and 2 * long > 3 * short
        squares, whole = (4 if self.small else 2, count, short, short), (count, rows, columns)
        self.squares = torch.empty(squares, dtype=self.type, device=device).unbind()
        self.spare = torch.empty(whole, dtype=self.type, device=device)
        self.input = torch.empty(whole, dtype=self.type, device=device) if self.type != torch.float32 else None

    def __call__(self, x_NRC: Tensor) -> Tensor:
        """The matrices orthogonalised, fp32; `x_NRC` is overwritten, and so is the result by the next call."""
        x_NRC.div_(torch.linalg.vector_norm(x_NRC, dim=(1, 2), keepdim=True).clamp_min_(LEAST_NORM))
        count = len(x_NRC)
        squares, spare = [square[:count] for square in self.squares], self.spare[:count]
        if self.input is not None:
            x_NRC = self.input[:count].copy_(x_NRC)
        found = self.iterate_small(x_NRC, *squares, spare) if self.small else self.iterate(x_NRC, *squares, spare)
        return found.float()

    def iterate(self, x_NRC: Tensor, a: Tensor, p: Tensor, spare: Tensor) -> Tensor:
        """X <- P X, step by step."""
        for _ in range(self.steps):
            self.gram(x_NRC, a)
            polynomial(a, p)
            x_NRC, spare = self.times(p, x_NRC, spare), x_NRC
        return x_NRC

    def iterate_small(self, x_NRC: Tensor, a: Tensor, p: Tensor, q: Tensor, other: Tensor, spare: Tensor) -> Tensor:
        """Q <- P Q and A <- P A P, step by step; then X <- Q X."""
        self.gram(x_NRC, a)
        polynomial(a, q)  # the first Q is P
        torch.bmm(q, a, out=other)
        torch.bmm(other, q, out=a)
        for step in range(1, self.steps):
            polynomial(a, p)
            torch.bmm(p, q, out=other)
            q, other = other, q
            if step < self.steps - 1:  # nobody needs the last A
                torch.bmm(p, a, out=other)
                torch.bmm(other, p, out=a)
        return self.times(q, x_NRC, spare)

    def gram(self, x_NRC: Tensor, out: Tensor) -> None:
        """A, on the short side."""
        torch.bmm(*((x_NRC.mT, x_NRC) if self.tall else (x_NRC, x_NRC.mT)), out=out)

    def times(self, p: Tensor, x_NRC: Tensor, out: Tensor) -> Tensor:
        """P times X, from the short side."""
        return torch.bmm(*((x_NRC, p) if self.tall else (p, x_NRC)), out=out)


def polynomial(a: Tensor, out: Tensor) -> None:
    """P = a + b A + c A²."""
    constant, linear, square = COEFFICIENTS
    torch.baddbmm(a, a, a, beta=linear, alpha=square, out=out)
    out.diagonal(dim1=1, dim2=2).add_(constant)
