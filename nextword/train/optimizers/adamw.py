"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019).

m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
w = w (1 - lr * decay) - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

The decay shrinks matrices only: a norm's gain or a bias has one dimension and a size that means something.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.train.settings import TrainSettings

FUSED = {"cpu", "cuda"}  # where PyTorch does the whole update in one pass over memory


def optimizer(parameters: Mapping[str, Tensor], settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW over named fp32 tensors, in two groups: with decay (two dimensions or more) and without."""
    matrices = [tensor for tensor in parameters.values() if tensor.ndim >= 2]
    others = [tensor for tensor in parameters.values() if tensor.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    device = next(iter(parameters.values())).device.type
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        fused=device in FUSED,
    )
