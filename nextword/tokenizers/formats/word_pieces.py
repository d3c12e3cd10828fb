"""BERT's file: `vocab.txt`, a token a line; its number is its id.

What is done to a text before it is cut stands in tokenizer_config.json: `do_lower_case` (true if it says nothing),
`strip_accents` (if it says nothing: as do_lower_case) and `tokenize_chinese_chars` (true: each is a word).

Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2019; DistilBERT and ELECTRA use the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from nextword.core.errors import DataError
from nextword.tokenizers.found import CONFIG, Found, frame, mark_special, read_lines, special_names

NAME = "vocab.txt"
ROLES = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
NEEDED = ("unk", "cls", "sep")  # without these no text can be written
PREFIX = "##"
LONGEST_WORD = 100  # in characters; a longer one is unknown, as in Google's code


def find(folder: Path) -> tuple[Path, ...]:
    """The file, if it is there."""
    path = folder / NAME
    return (path,) if path.exists() else ()


def read(folder: Path, config: Mapping[str, Any]) -> Found:
    """The tokenizer of the file; DataError where a token comes twice or a control token is missing."""
    (path,) = find(folder)
    vocabulary: dict[str, int] = {}
    for number, line in enumerate(read_lines(path)):
        token = line.removesuffix("\r")
        if token in vocabulary:
            raise DataError(
                f"{path}, line {number + 1}: the token {token!r} stands in line {vocabulary[token] + 1} already, so "
                "the ids behind it would not be the model's; fetch the file again"
            )
        vocabulary[token] = number
    roles = {role: _name(config, role, usual) for role, usual in ROLES.items()}
    missing = [roles[role] for role in NEEDED if roles[role] not in vocabulary]
    if missing:
        raise DataError(
            f"{path} has no token {missing[0]!r}: it is incomplete, or {CONFIG} names another; fetch it again"
        )
    inner = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=roles["unk"], max_input_chars_per_word=LONGEST_WORD)
    )
    inner.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(_flag(config, "tokenize_chinese_chars", True)),
        strip_accents=_flag(config, "strip_accents", None),
        lowercase=bool(_flag(config, "do_lower_case", True)),
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece(prefix=PREFIX)
    roles = {role: token for role, token in roles.items() if token in vocabulary}
    mark_special(inner, [*roles.values(), *special_names(config)])
    frame(inner, roles["cls"], roles["sep"])
    return Found(inner, roles)


def _name(config: Mapping[str, Any], role: str, usual: str) -> str:
    token = config.get(f"{role}_token", usual)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else usual


def _flag(config: Mapping[str, Any], name: str, usual: bool | None) -> bool | None:
    value = config.get(name, usual)
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{CONFIG}: {name} is {value!r}; it is true or false")
    return usual if value is None else value
