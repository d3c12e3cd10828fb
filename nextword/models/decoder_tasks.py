"""What a decoder was saved for besides writing: classes of a text or of its tokens, answers, a reward, or its vectors.

The class that saved it, in `architectures`, says what:

    ...ForSequenceClassification    scores of the last token, which has seen all others (Radford et al., 2018); one
                                    score is a reward (Ouyang et al., "InstructGPT", 2022)
    ...ForTokenClassification       scores of each token
    ...ForQuestionAnswering         log-odds of each token to be the first and the last of the answer
    ...Model                        the body, whose vectors serve; it still writes where its output is its embedding

All families keep these heads alike, so that none knows of them: they stand on whatever body a family describes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.family import Family, Storable, Stored, typed
from nextword.models.heads import SEQUENCE, SPAN, TOKEN, FurtherHeadSettings
from nextword.models.labels import labels
from nextword.models.transformer import Transformer
from nextword.models.weights import Rule, same
from nextword.nn.head import HeadSettings

WRITING, BODY = "ForCausalLM", "Model"
TASKS = {"ForSequenceClassification": SEQUENCE, "ForTokenClassification": TOKEN, "ForQuestionAnswering": SPAN}
OWN_KEYS = ("classifier_dropout", "token_classification_bias")  # of the heads, which no body knows
OUTPUT = "head."  # with which our names of the output over the vocabulary begin
HEADS = ("lm_head.", "embed_out.", "score.", "classifier.", "qa_outputs.")  # what stands on a body, in files
DROPOUT = 0.1  # transformers', before the classes of tokens


def with_tasks(family: Family, prefix: str, *, answers: str | None = None, tokens: str = "score") -> Family:
    """The same family with all that stands on its body.

    prefix: with which the body's names begin in files; answers: where it has a head for answers, `prefix` unless given.
    tokens: what the layer is called that gives classes to tokens.
    """

    def base(config: Mapping[str, Any]) -> str:
        kind = task(config)
        return "" if kind == BODY else answers if kind == SPAN and answers is not None else prefix

    def renamed(name: str, config: Mapping[str, Any]) -> str:
        return base(config) + name.removeprefix(prefix) if name.startswith(prefix) else name

    def build(config: dict[str, Any]) -> Storable:
        return family.build(config) if task(config) is None else crowned(family, config)

    def rules(config: dict[str, Any]) -> Iterable[Rule]:
        kind = task(config)
        if kind is None:
            return family.rules(config)
        found = [rule for rule in family.rules(of_body(config)) if not is_output(rule)]
        found = [Rule(tuple(renamed(name, config) for name in one.theirs), one.ours, one.transform) for one in found]
        return found if kind == BODY else [*found, *head_rules(config, kind, tokens)]

    def ignored(config: dict[str, Any]) -> frozenset[str]:
        return frozenset(renamed(name, config) for name in family.ignored(of_body(config)))

    def copies(config: dict[str, Any]) -> Mapping[str, str]:
        return {copy: renamed(name, config) for copy, name in family.copies(of_body(config)).items()}

    def older(names: Iterable[str], config: dict[str, Any]) -> Mapping[str, str]:
        """Names of a body alone, for a model that is more; and the other way round."""
        names, wanted = list(names), base(config)
        found = dict(family.older(names, config))
        if wanted != prefix and any(name.startswith(prefix) for name in names):
            return found | {name: renamed(name, config) for name in names}
        if not wanted or any(name.startswith(wanted) for name in names):
            return found
        return {name: wanted + name for name in names if not name.startswith(HEADS)} | found

    def settled(config: dict[str, Any], stored: Stored) -> tuple[dict[str, Any], Stored]:
        """A body whose config still speaks of writing, though the output is not in its file, is a body alone."""
        named = architecture(config)
        bare = named.endswith(WRITING) and not any(name.startswith((prefix, *HEADS)) for name in stored)
        if bare and any(is_output(rule) for rule in family.rules(config)):
            config = config | {"architectures": [named.removesuffix(WRITING) + BODY]}
        return config, stored

    return replace(family, build=build, rules=rules, ignored=ignored, copies=copies, older=older, settled=settled)


def architecture(config: Mapping[str, Any]) -> str:
    """The class that a config says it was saved by; "" where it does not."""
    named = typed(config, "architectures", list, None)
    return str(named[0]) if named else ""


def task(config: Mapping[str, Any]) -> str | None:
    """SEQUENCE, TOKEN, SPAN or BODY; None for a model that writes."""
    named = architecture(config)
    if named.endswith(BODY) and not named.endswith("LMHeadModel"):
        return BODY
    return next((found for ending, found in TASKS.items() if named.endswith(ending)), None)


def of_body(config: dict[str, Any]) -> dict[str, Any]:
    """What a config says of the body alone."""
    return config if task(config) is None else {key: value for key, value in config.items() if key not in OWN_KEYS}


def is_output(rule: Rule) -> bool:
    """Whether a rule is of the output over the vocabulary."""
    return any(name.startswith(OUTPUT) for name in rule.ours)


def crowned(family: Family, config: dict[str, Any]) -> Transformer:
    """The body that a family describes, with what the config was saved for."""
    body = family.build(of_body(config))
    assert isinstance(body, Transformer)
    settings, kind = body.settings, task(config)
    if settings.head.narrow is not None:
        raise CheckpointError(
            f"config.json: {architecture(config)} on a body whose embeddings are narrower than its stream "
            "(word_embed_proj_dim) is not known"
        )
    writes = kind == BODY and not any(is_output(rule) for rule in family.rules(of_body(config)))
    if not writes:
        heads = () if kind == BODY else (head(config, str(kind), settings.width),)
        settings = replace(settings, output=False, tied=True, head=HeadSettings(), heads=heads)
    return type(body)(settings, config)


def head(config: Mapping[str, Any], kind: str, width: int) -> FurtherHeadSettings:
    """The head for a task."""
    if kind == SPAN:
        return FurtherHeadSettings(SPAN, width, 2)
    count = len(labels(config))
    if kind == SEQUENCE:
        mark = config.get("pad_token_id")
        return FurtherHeadSettings(SEQUENCE, width, count, "last", bias=False, mark=mark)
    drop = next(
        (config[key] for key in ("classifier_dropout", "hidden_dropout") if config.get(key) is not None), DROPOUT
    )
    return FurtherHeadSettings(TOKEN, width, count, dropout=drop, bias=has_bias(config))


def has_bias(config: Mapping[str, Any]) -> bool:
    """Whether the classes of tokens have a bias."""
    return bool(typed(config, "token_classification_bias", bool, True))


def head_rules(config: Mapping[str, Any], kind: str, tokens: str) -> list[Rule]:
    """How the layer of a head is named."""
    theirs = {SEQUENCE: "score", TOKEN: tokens, SPAN: "qa_outputs"}[kind]
    bias = kind == SPAN or (kind == TOKEN and has_bias(config))
    return [same(f"{theirs}.{part}", f"heads.{kind}.classes.{part}") for part in ("weight", "bias")[: 1 + bias]]
