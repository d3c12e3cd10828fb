"""A tokenizer's folder, as Hugging Face's AutoTokenizer reads and writes it.

`tokenizer.json` is the tokenizer itself; `tokenizer_config.json` says which tokens begin, end, pad and replace what is
unknown. A folder written elsewhere may say so in `special_tokens_map.json` or, as numbers, in the model's
`config.json`; they are read in this order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from nextword.core.errors import DataError
from nextword.core.files import read_json, write_atomic, write_json
from nextword.tokenizers.names import END

TOKENIZER, CONFIG, MAP, MODEL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"
ROLES = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")
LIMIT_BYTES = 256 << 20  # the largest public vocabularies have about 40 MB of JSON
NO_LIMIT = int(1e30)  # what Hugging Face writes for a tokenizer without a longest text
OURS = "nextword"  # the key of our own facts in tokenizer_config.json


@dataclass(frozen=True)
class Parts:
    """What a tokenizer's folder holds: the tokenizer, its kind, and the ids of its roles (None: it has none)."""

    inner: tokenizers.Tokenizer
    kind: str
    lossless: bool
    roles: Mapping[str, int | None]


def read(folder: Path) -> Parts:
    """The tokenizer in `folder`; DataError when there is none or it is broken."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder: a tokenizer is a folder with {TOKENIZER}; `nextword tokenizer train` makes one"
        )
    tree = read_json(folder / TOKENIZER, limit_bytes=LIMIT_BYTES) if (folder / TOKENIZER).exists() else None
    if not isinstance(tree, dict):
        raise DataError(
            f"{folder} has no {TOKENIZER}: give a tokenizer's or a model's folder; `nextword tokenizer train` makes one"
        )
    try:
        inner = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises bare Exception for whatever it cannot read
        raise DataError(f"{folder / TOKENIZER} is not a tokenizer that can be read: {_one_line(error)}") from None
    inner.no_padding()
    inner.no_truncation()
    config = _optional(folder / CONFIG)
    ours = config.get(OURS)
    if isinstance(ours, dict) and isinstance(ours.get("kind"), str):
        kind, lossless = ours["kind"], ours.get("lossless") == "any text" and tree.get("normalizer") is None
    else:
        kind = str((tree.get("model") or {}).get("type", "unknown")).lower()
        lossless = (tree.get("decoder") or {}).get("type") == "ByteLevel" and tree.get("normalizer") is None
        lossless = lossless and not (tree.get("pre_tokenizer") or {}).get("add_prefix_space", False)
    return Parts(inner, kind, lossless, {role: _role(folder, inner, config, role) for role in ROLES})


def write(folder: Path, inner: tokenizers.Tokenizer, roles: Mapping[str, str | None], ours: Mapping[str, str]) -> None:
    """Writes the two files; `roles` are the tokens (not ids) by role, `ours` is kept under the key "nextword"."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": NO_LIMIT,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": token for role, token in roles.items() if token is not None},
        OURS: dict(ours),
    }
    write_atomic(folder / TOKENIZER, inner.to_str(pretty=True))
    write_json(folder / CONFIG, config)


def _role(folder: Path, inner: tokenizers.Tokenizer, config: Mapping[str, Any], role: str) -> int | None:
    for tree in (config, _optional(folder / MAP)):
        token = tree.get(f"{role}_token")
        if isinstance(token, dict):  # an AddedToken written out
            token = token.get("content")
        if isinstance(token, str):
            found = inner.token_to_id(token)
            if found is not None:
                return int(found)
    number = _optional(folder / MODEL).get(f"{role}_token_id")
    if isinstance(number, list) and number:  # several tokens end a text: the first stands for them
        number = number[0]
    if isinstance(number, int) and inner.id_to_token(number) is not None:
        return number
    special = {token.content for token in inner.get_added_tokens_decoder().values() if token.special}
    found = inner.token_to_id(END) if role in {"bos", "eos"} and END in special else None
    return None if found is None else int(found)


def _optional(path: Path) -> dict[str, Any]:
    tree = read_json(path) if path.exists() else {}
    return tree if isinstance(tree, dict) else {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
