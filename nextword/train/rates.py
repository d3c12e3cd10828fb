"""Learning rates that fit a model's width: muP, the maximal update parametrisation, for AdamW.

In a layer of n inputs, an update of size r for each weight changes a sum of n products by about n · r, because the
updates of one column of weights all pull the same way. So with the usual fresh weights and one learning rate for all, a
step changes a wide model more than a narrow one, and the best learning rate falls as models grow. muP scales what
depends on n so that a step's change of every layer stays the same, and with it the best learning rate: find it with a
small model (width m, `train.mup_width`), train a large one (width D) with it.

    role     learning rate    deviation of the fresh weights
    hidden   · m / D          · sqrt(m / D)
    output   · m / D          · m / D
    table    stays            stays
    vector   stays            stays

Yang et al., "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer" (2022), table 3,
the column of Adam, relative to width m: a model of that width is the usual one. The output starts smaller than a hidden
matrix: what random weights put into the scores then vanishes as models grow beside what is learned, whose D terms pull
the same way; with sqrt(m / D) it would be as large at every width, and the limit would not be that of learning alone.
Table 3 also scales attention's scores by 1/E instead of 1/sqrt(E) for heads that grow; here models grow by more heads
of the same width E, so that 1/sqrt(E) is a constant.

Weight decay stays what it is, learning rate times decay a step, for every weight: the size at which growth and decay
balance transfers then too (Wang & Aitchison, "How to set AdamW's weight decay as you scale model and dataset size",
2024). Left out: tied models, whose one matrix is table and output at once; encoders, recurrent models and the family
`nextword`, for which nobody has checked it; depth.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.models.mixed import MixedTransformer
from nextword.models.transformer import Transformer
from nextword.train.roles import Role, roles
from nextword.train.settings import TrainSettings

ABLE = ("adamw",)  # optimizers that apply a factor to each weight's learning rate


def check(model: nn.Module, settings: TrainSettings) -> None:
    """Refuses `train.mup_width` where it cannot be right."""
    if settings.mup_width is None:
        return
    if settings.optimizer not in ABLE:
        raise SettingsError(
            f"train.mup_width is for {' and '.join(ABLE)}, not {settings.optimizer!r}: its factors follow from Adam's "
            "update; leave it out, or choose --train.optimizer=adamw"
        )
    if not isinstance(model, Transformer) or isinstance(model, MixedTransformer) or model.kind != "decoder":
        raise SettingsError("train.mup_width is for plain decoders: choose --model llama or gpt2, or leave it out")
    if model.head.weight is None:
        raise SettingsError(
            "train.mup_width needs an output matrix of its own, which learns at another rate than the embedding: add "
            "--model.tied=false"
        )


def width(model: nn.Module) -> int:
    """The width of a model that `check` has let pass."""
    assert isinstance(model, Transformer)
    return model.settings.width


def factors(known: Mapping[str, Role], mup_width: int, width: int) -> dict[str, float]:
    """What each weight's learning rate is multiplied by.

    >>> factors({"a": "hidden", "b": "table", "c": "output"}, 64, 256)
    {'a': 0.25, 'b': 1.0, 'c': 0.25}
    """
    return {name: mup_width / width if role in {"hidden", "output"} else 1.0 for name, role in known.items()}


@torch.no_grad()
def fit(model: nn.Module, settings: TrainSettings) -> None:
    """Scales a model's fresh weights, drawn as for width `mup_width`, to its own width; nothing without one."""
    if settings.mup_width is None:
        return
    check(model, settings)
    share = settings.mup_width / width(model)
    weights: dict[str, Tensor] = dict(model.named_parameters())
    for name, role in roles(model, weights).items():
        if role in {"hidden", "output"}:
            weights[name].mul_(share if role == "output" else math.sqrt(share))
