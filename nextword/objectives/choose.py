"""The objective that the settings name, or the one that is usual for the model's kind, made for a model."""

from collections.abc import Container
from dataclasses import fields, replace
from typing import cast

from torch import nn

from nextword.core.errors import SettingsError
from nextword.core.registry import names, part
from nextword.models.base import LanguageModel
from nextword.models.transformer import Transformer
from nextword.objectives.base import Objective, Part
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

OBJECTIVES = "nextword.objectives"
NO_OBJECTIVES = {"base", "choose", "settings"}  # files of the package that are not parts
USUAL = {"decoder": "next-token", "encoder": "masked", "encoder-decoder": "spans"}
PURPOSES = {"decoder": "gpt", "encoder": "bert", "encoder-decoder": "t5"}  # of tokenizers
INFILL = "infill"


def settled(settings: ObjectiveSettings, kind: str, heads: Container[str] = ()) -> ObjectiveSettings:
    """The settings with the objective named, checked against a kind of model and the names of its further heads.

    SettingsError for an objective that does not fit the kind, or a setting that the objective has no use for.
    """
    name = settings.name or ("replaced-token" if "replaced_token" in heads else USUAL[kind])
    found = find(name)
    if kind not in found.kinds:
        fitting = [other for other in known() if kind in find(other).kinds]
        raise SettingsError(
            f"the objective {name!r} is for {' and '.join(map(plural, sorted(found.kinds)))}, this model is of kind "
            f"{kind!r}: choose --objective {' or '.join(fitting)}, or another --model"
        )
    for field in fields(settings):
        if field.name != "name" and field.name not in found.honours and getattr(settings, field.name) is not None:
            able = ", ".join(sorted(found.honours)) or "no settings"
            raise SettingsError(f"objective.{field.name} does not apply to {name!r}, which has {able}")
    return replace(settings, name=name)


def choose(settings: ObjectiveSettings, model: LanguageModel, tokenizer: Tokenizer, seed: int = 0) -> Objective:
    """The objective for training `model` on text of `tokenizer`; SettingsError where they do not fit together.

    seed: draws what is trained beside the model.
    """
    settings = settled(settings, model.kind, heads(model))
    return find(cast(str, settings.name)).make(settings, tokenizer, cast(nn.Module, model), seed)


def heads(model: LanguageModel) -> tuple[str, ...]:
    """The names of a model's further heads."""
    return tuple(model.heads) if isinstance(model, Transformer) else ()


def purpose(settings: ObjectiveSettings, kind: str) -> str:
    """Which special tokens a tokenizer has to have for an objective and a kind of model."""
    return INFILL if settings.name == INFILL else PURPOSES[kind]


def known() -> list[str]:
    """The names of all objectives, as the command line has them."""
    return [name.replace("_", "-") for name in names(OBJECTIVES) if name not in NO_OBJECTIVES]


def find(name: str) -> Part:
    """The objective called `name`; SettingsError, naming the nearest, when there is none."""
    return cast(Part, part(OBJECTIVES, name if name not in NO_OBJECTIVES else f"no {name}", "PART"))


def plural(kind: str) -> str:
    """A kind of model, many of them."""
    return f"{kind}s"
