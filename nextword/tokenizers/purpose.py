"""Which special tokens a tokenizer has, by what its model is to learn.

    gpt      <|endoftext|>                                     next token, prefix
    infill   and <|fim_prefix|> <|fim_suffix|> <|fim_middle|>  text with a gap (Bavarian et al., 2022)
    bert     [PAD] [UNK] [CLS] [SEP] [MASK]                    masked, next sentence, replaced token (Devlin, 2019)
    t5       <pad> </s> <unk> <extra_id_0> ... <extra_id_99>   spans, prefix (Raffel et al., 2020)

Every kind of tokenizer is trained with <|endoftext|> and, where its vocabulary is closed, <unk>; these then get the
names that the purpose has for them, and the others are put behind the vocabulary, where they disturb no id.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers

from nextword.core.errors import SettingsError
from nextword.tokenizers.names import END, FIM, SENTINEL, SENTINELS, UNKNOWN
from nextword.tokenizers.settings import TokenizerSettings


@dataclass(frozen=True)
class Purpose:
    """end, unknown: the names of the two tokens that every kind has. others: added behind. roles: what is what.

    The roles bos, eos, pad, cls, sep and mask are those of Hugging Face's tokenizer_config.json.
    """

    roles: Mapping[str, str]
    end: str = END
    unknown: str = UNKNOWN
    others: tuple[str, ...] = ()


BERT_ROLES = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]"}
GPT_ROLES = {"bos": END, "eos": END, "pad": END}
PURPOSES = {
    "gpt": Purpose(GPT_ROLES),
    "infill": Purpose(GPT_ROLES, others=FIM),
    "bert": Purpose(BERT_ROLES, end="[SEP]", unknown="[UNK]", others=("[PAD]", "[CLS]", "[MASK]")),
    "t5": Purpose(
        {"eos": "</s>", "pad": "<pad>"},
        end="</s>",
        others=("<pad>", *(SENTINEL.format(number) for number in range(SENTINELS))),
    ),
}


def added(settings: TokenizerSettings) -> tuple[str, ...]:
    """The special tokens that come behind what the kind itself makes."""
    return (*PURPOSES[settings.purpose or "gpt"].others, *settings.special)


def roles(settings: TokenizerSettings, inner: tokenizers.Tokenizer) -> dict[str, int | None]:
    """The ids of the roles in a tokenizer that `dress` has given its tokens."""
    purpose = PURPOSES[settings.purpose or "gpt"]
    found = {role: inner.token_to_id(name) for role, name in purpose.roles.items()}
    for name in settings.special:  # a mask by its usual names is one
        if name.strip("<[|]>").lower() == "mask":
            found["mask"] = inner.token_to_id(name)
    return found | {"unk": inner.token_to_id(purpose.unknown)}


def dress(inner: tokenizers.Tokenizer, settings: TokenizerSettings) -> tokenizers.Tokenizer:
    """The trained tokenizer with the names of its purpose and the special tokens that it lacks."""
    purpose = PURPOSES[settings.purpose or "gpt"]
    names = {END: purpose.end, UNKNOWN: purpose.unknown}
    names = {old: new for old, new in names.items() if old != new and inner.token_to_id(old) is not None}
    taken = [name for name in (*names.values(), *added(settings)) if inner.token_to_id(name) is not None]
    if taken:
        raise SettingsError(f"the text itself has made {taken[0]!r} a token: it cannot be a special one; leave it out")
    if names:
        inner = renamed(inner, names)
    inner.add_special_tokens(list(added(settings)))
    return inner


def renamed(inner: tokenizers.Tokenizer, names: Mapping[str, str]) -> tokenizers.Tokenizer:
    """The same tokenizer with other names for some tokens, their ids unchanged."""
    tree: dict[str, Any] = json.loads(inner.to_str())
    for token in tree["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = tree["model"]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    vocabulary: dict[str, int] | Sequence[list[Any]] = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(name, name): number for name, number in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(name, name), score] for name, score in vocabulary]
    return tokenizers.Tokenizer.from_str(json.dumps(tree))
