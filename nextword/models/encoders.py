"""What BERT and its descendants share: what they were saved for, and how their heads are named in files.

An encoder's body is saved with what its task needs: an output over the vocabulary, classes for a text or for each of
its tokens, or nothing at all. The class that saved it, in `architectures`, says what; the names of its heads' layers
are the same in most families, and where they are not the family says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from nextword.core.errors import CheckpointError
from nextword.models.family import typed
from nextword.models.heads import POOLED, SEQUENCE, SPAN, TOKEN, FurtherHeadSettings
from nextword.models.labels import labels
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, Tensors, Transform, pair, same
from nextword.nn.head import HeadSettings

Names = Mapping[str, str]


@dataclass(frozen=True)
class Architecture:
    """What stands on an encoder's body.

    prefix: with which the body's names begin in the file. output: scores over the vocabulary. heads: the further heads.
    names: their linear layers and norms in the file -> ours, behind "heads.".
    """

    prefix: str
    output: bool = False
    heads: tuple[FurtherHeadSettings, ...] = ()
    names: Names = field(default_factory=dict)


def usual(
    config: Mapping[str, Any], stem: str, prefix: str, sequence: FurtherHeadSettings, names: Names, pooler: str = ""
) -> dict[str, Architecture]:
    """The architectures that most families have: the classes `stem` + "ForMaskedLM" and so on.

    sequence: the head for a whole text, whose layers are called `names`. A body alone is saved without the prefix;
    pooler: its layer that makes a vector of [CLS], "" where it has none.
    """
    width, drop = sequence.width, sequence.dropout
    found = {
        "ForMaskedLM": Architecture(prefix, output=True),
        "ForSequenceClassification": Architecture(prefix, heads=(sequence,), names=names),
        "ForTokenClassification": Architecture(
            prefix,
            heads=(FurtherHeadSettings(TOKEN, width, len(labels(config)), dropout=drop),),
            names={"classifier": f"{TOKEN}.classes"},
        ),
        "ForQuestionAnswering": Architecture(
            prefix, heads=(FurtherHeadSettings(SPAN, width, 2),), names={"qa_outputs": f"{SPAN}.classes"}
        ),
        "Model": Architecture(""),
    }
    if pooler:
        head = FurtherHeadSettings(POOLED, width, 0, "first", "tanh")
        found["Model"] = Architecture("", heads=(head,), names={pooler: f"{POOLED}.prepare.dense"})
    return {stem + kind: architecture for kind, architecture in found.items()}


def sequence_head(
    config: Mapping[str, Any], transform: str, *, width: str = "hidden_size", drops: Iterable[str]
) -> FurtherHeadSettings:
    """The usual head for a whole text: one layer on [CLS], then its classes; `drops`: keys of the dropout, by rank."""
    share = next((config[key] for key in drops if config.get(key) is not None), 0.0)
    return FurtherHeadSettings(SEQUENCE, config[width], len(labels(config)), "first", transform, dropout=share)


def architecture(config: Mapping[str, Any], known: Mapping[str, Architecture], default: str) -> Architecture:
    """The one that a config names; CheckpointError where it is not among those known."""
    named = typed(config, "architectures", list, None) or [default]
    if named[0] not in known:
        raise CheckpointError(
            f"config.json: architectures {named[0]!r} is not known for model_type {config.get('model_type')!r}; known: "
            f"{', '.join(known)}"
        )
    return known[named[0]]


def crowned(body: TransformerSettings, top: Architecture, head: HeadSettings) -> TransformerSettings:
    """The body with what stands on it; `head` is the output over the vocabulary where there is one."""
    if top.output:
        return replace(body, head=head, heads=top.heads)
    return replace(body, output=False, tied=True, heads=top.heads)


def head_rules(top: Architecture) -> list[Rule]:
    """How the layers of the further heads are named."""
    return [rule for theirs, ours in top.names.items() for rule in pair(theirs, f"heads.{ours}")]


def pairs(theirs: str, ours: str, names: Names) -> list[Rule]:
    """The rules for weight and bias of several layers, whose names stand behind `theirs` and `ours`."""
    return [rule for their, our in names.items() for rule in pair(theirs + their, ours + our)]


def tied(config: Mapping[str, Any]) -> bool:
    """Whether the output matrix is the embedding."""
    return bool(typed(config, "tie_word_embeddings", bool, True))


def output_rules(config: Mapping[str, Any], bias: str, decoder: str) -> list[Rule]:
    """How the output's matrix and bias are named; an untied model's bias stands in its file under two names."""
    if tied(config):
        return [same(bias, "head.bias")]

    def one_of_both(tensors: Tensors) -> Tensors:
        if not torch.equal(*tensors):
            raise CheckpointError(
                f"{bias!r} and '{decoder}.bias' differ: they are one bias, of which the latter is used"
            )
        return tensors[1:]

    twice = Transform(one_of_both, lambda tensors: (tensors[0], tensors[0].clone()))
    return [same(f"{decoder}.weight", "head.weight"), Rule((bias, f"{decoder}.bias"), ("head.bias",), twice)]


def output_copies(config: Mapping[str, Any], embedding: str, bias: str, decoder: str) -> dict[str, str]:
    """The output matrix and bias of a tied model, which some files repeat."""
    return {f"{decoder}.weight": embedding, f"{decoder}.bias": bias} if tied(config) else {}


def unused(top: Architecture, layers: Iterable[str]) -> frozenset[str]:
    """The tensors of layers that some files hold although what they were saved for does not use them."""
    return frozenset(f"{layer}.{kind}" for layer in layers if layer not in top.names for kind in ("weight", "bias"))
