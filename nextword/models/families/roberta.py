"""RoBERTa: BERT trained longer on more text, without judging sentences; positions begin behind the padding's id.

Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach" (2019). Its first token has position
pad_token_id + 1, a relic of its first code: as many rows of the table are never used. transformers gives a padding
token no position wherever it stands; here padding stands behind a text only, which is the same. Read and written as
transformers' `RobertaForMaskedLM` and its classes for other tasks do.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models import encoders
from nextword.models.families import bert
from nextword.models.family import Family, Special, check_keys
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule
from nextword.nn.head import HeadSettings

HONOURED = bert.FAMILY.honoured - {"next_sentence"}
EPSILON = 1e-5
PADDING = 1  # transformers' default
OUTPUT = {"dense": "dense", "layer_norm": "norm"}
BIAS, DECODER = "lm_head.bias", "lm_head.decoder"
PREFIX = "roberta."  # XLM-RoBERTa's files have it too
CLASSES = {"classifier.dense": "sequence.prepare.dense", "classifier.out_proj": "sequence.classes"}


def top(config: Mapping[str, Any], stem: str) -> encoders.Architecture:
    """What stands on the body, by the config's `architectures`."""
    sequence = encoders.sequence_head(config, "tanh", drops=bert.DROPS)
    known = encoders.usual(config, stem, PREFIX, sequence, CLASSES, "pooler.dense")
    return encoders.architecture(config, known, f"{stem}ForMaskedLM")


def family(stem: str, model_type: str) -> Family:
    """RoBERTa under the name that its classes begin with, and its `model_type`."""

    def describe(config: Mapping[str, Any]) -> TransformerSettings:
        check_keys(config, bert.KEYS)
        body = bert.body(config)
        skipped = padding(config) + 1
        room = body.max_length - skipped
        if room < 1:
            raise CheckpointError(
                f"config.json: max_position_embeddings {body.max_length} leaves no position behind pad_token_id "
                f"{skipped - 1}"
            )
        body = replace(body, max_length=room, embedding=replace(body.embedding, skipped=skipped))
        return encoders.crowned(
            body, top(config, stem), HeadSettings(bias=True, transform="gelu", norm=body.blocks[0].norm)
        )

    def rules(config: Mapping[str, Any]) -> Iterable[Rule]:
        on = top(config, stem)
        yield from bert.body_rules(config, on.prefix)
        if on.output:
            yield from encoders.pairs("lm_head.", "head.prepare.", OUTPUT)
            yield from encoders.output_rules(config, BIAS, DECODER)
        yield from encoders.head_rules(on)

    def ignored(config: Mapping[str, Any]) -> frozenset[str]:
        tables = {f"{prefix}embeddings.position_ids" for prefix in ("", PREFIX)}
        return tables | encoders.unused(top(config, stem), (f"{PREFIX}pooler.dense",))

    def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
        config = bert.fresh(settings, vocab_size, special)
        pad_id = PADDING if special.pad_id is None else special.pad_id
        return config | {
            "architectures": [f"{stem}ForMaskedLM"],
            "layer_norm_eps": EPSILON if settings.norm_eps is None else settings.norm_eps,
            "max_position_embeddings": config["max_position_embeddings"] + pad_id + 1,
            "model_type": model_type,
            "pad_token_id": pad_id,
            "type_vocab_size": 1,
        }

    build: Callable[[dict[str, Any]], Transformer] = lambda config: Transformer(describe(config), config)  # noqa: E731
    return Family(honoured=HONOURED, config=fresh, build=build, rules=rules, ignored=ignored, copies=copies)


def padding(config: Mapping[str, Any]) -> int:
    """The id of the padding token, behind which positions begin."""
    number = config.get("pad_token_id", PADDING)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise CheckpointError(
            f"config.json: pad_token_id must be an id, received {number!r}: positions begin behind it"
        )
    return number


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix and bias of a tied model, which some files repeat."""
    return encoders.output_copies(config, f"{PREFIX}embeddings.word_embeddings.weight", BIAS, DECODER)


FAMILY = family("Roberta", "roberta")
