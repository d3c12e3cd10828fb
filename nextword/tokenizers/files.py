"""A tokenizer's folder, as Hugging Face's AutoTokenizer reads and writes it.

`tokenizer.json` is the tokenizer itself; `tokenizer_config.json` says which tokens begin, end, pad and replace what is
unknown. A folder written elsewhere may say so in `special_tokens_map.json` or, as numbers, in the model's
`config.json`; they are read in this order. Where there is no `tokenizer.json`, the files that families had before it
are read by the formats in `nextword/tokenizers/formats`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import tokenizers

from nextword.core.errors import DataError
from nextword.core.files import read_json, write_atomic, write_json
from nextword.core.registry import names
from nextword.tokenizers.bytelevel import CHARACTER_OF
from nextword.tokenizers.found import CONFIG, LIMIT_BYTES, MODEL, Found, optional
from nextword.tokenizers.names import END

TOKENIZER, MAP = "tokenizer.json", "special_tokens_map.json"
FORMATS = "nextword.tokenizers.formats"
ROLES = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")
NO_LIMIT = int(1e30)  # what Hugging Face writes for a tokenizer without a longest text
OURS = "nextword"  # the key of our own facts in tokenizer_config.json


@dataclass(frozen=True)
class Parts:
    """What a tokenizer's folder holds: the tokenizer, its kind, and the ids of its roles (None: it has none).

    begins, ends: the ids that its model's texts begin and end with, as the folder says; most often none or one.
    """

    inner: tokenizers.Tokenizer
    kind: str
    lossless: bool
    roles: Mapping[str, int | None]
    begins: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()


class Format(Protocol):
    """Files that a vocabulary may come in: a module in nextword/tokenizers/formats."""

    def find(self, folder: Path) -> tuple[Path, ...]:
        """Those of its files that are in `folder`; empty unless all are that it needs."""
        ...

    def read(self, folder: Path, config: Mapping[str, Any]) -> Found:
        """The tokenizer of these files; `config` is the content of tokenizer_config.json."""
        ...


def read(folder: Path) -> Parts:
    """The tokenizer in `folder`; DataError when there is none or it is broken."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder: a tokenizer is a folder with {TOKENIZER}; `nextword tokenizer train` makes one"
        )
    config = optional(folder / CONFIG)
    found = _own(folder) if (folder / TOKENIZER).exists() else _foreign(folder, config)
    if found is None:
        raise DataError(
            f"{folder} has no {TOKENIZER}: give a tokenizer's or a model's folder; `nextword tokenizer train` makes one"
        )
    inner = found.inner
    inner.no_padding()
    inner.no_truncation()
    tree = json.loads(inner.to_str())
    lossless = keeps_text(tree)
    ours = config.get(OURS)
    if isinstance(ours, dict) and isinstance(ours.get("kind"), str):
        kind, lossless = ours["kind"], ours.get("lossless") == "any text" and tree.get("normalizer") is None
    else:
        kind = str((tree.get("model") or {}).get("type", "unknown")).lower()
    trees = (config, optional(folder / MAP), {f"{role}_token": token for role, token in found.roles.items()})
    roles = {role: _role(folder, inner, trees, role) for role in ROLES}
    begins, ends = _frame(inner, config, roles)
    return Parts(inner, kind, lossless, roles, begins, ends)


def keeps_text(tree: Mapping[str, Any]) -> bool:
    """Whether decode(encode(text)) == text for every text: all bytes have tokens, and nothing changes the text."""
    model = tree.get("model") or {}
    if (tree.get("decoder") or {}).get("type") != "ByteLevel" or tree.get("normalizer") is not None:
        return False
    if '"add_prefix_space": true' in json.dumps(tree.get("pre_tokenizer")):
        return False
    return model.get("type") == "BPE" and set(CHARACTER_OF.values()) <= set(model.get("vocab") or ())


def _own(folder: Path) -> Found | None:
    tree = read_json(folder / TOKENIZER, limit_bytes=LIMIT_BYTES)
    if not isinstance(tree, dict):
        return None
    try:
        return Found(tokenizers.Tokenizer.from_file(str(folder / TOKENIZER)))
    except Exception as error:  # the library raises bare Exception for whatever it cannot read
        raise DataError(f"{folder / TOKENIZER} is not a tokenizer that can be read: {_one_line(error)}") from None


def _foreign(folder: Path, config: Mapping[str, Any]) -> Found | None:
    formats = [cast(Format, import_module(f"{FORMATS}.{name}")) for name in names(FORMATS)]
    present = [(form, form.find(folder)) for form in formats]
    present = [(form, paths) for form, paths in present if paths]
    if len(present) > 1:
        files = " and ".join(paths[0].name for _, paths in present)
        raise DataError(
            f"{folder} has several vocabularies, {files}; leave only the one that its model was trained with"
        )
    return present[0][0].read(folder, config) if present else None


def _frame(
    inner: tokenizers.Tokenizer, config: Mapping[str, Any], roles: Mapping[str, int | None]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the tokenizer's own template puts around a text; add_bos_token and add_eos_token go before it."""
    framed = inner.encode("", add_special_tokens=True).ids
    middle = inner.encode("a", add_special_tokens=True).ids
    bare = inner.encode("a", add_special_tokens=False).ids
    width = len(middle) - len(bare)
    start = next((place for place in range(width + 1) if middle[place : place + len(bare)] == bare), 0)
    begins, ends = tuple(framed[:start]), tuple(framed[start:])
    sides = {"bos": begins, "eos": ends}
    for role in sides:
        wanted = config.get(f"add_{role}_token")
        if wanted is None:
            continue
        if not isinstance(wanted, bool):
            raise DataError(f"{CONFIG}: add_{role}_token is {wanted!r}; it is true or false")
        number = roles[role]
        if wanted and number is None:
            raise DataError(f"{CONFIG} says add_{role}_token, but names no {role}_token that the vocabulary has")
        sides[role] = (number,) if wanted and number is not None else ()
    return sides["bos"], sides["eos"]


def write(
    folder: Path,
    inner: tokenizers.Tokenizer,
    roles: Mapping[str, str | None],
    ours: Mapping[str, str],
    more: Mapping[str, Any],
) -> None:
    """Writes the two files; `roles` are the tokens (not ids) by role, `ours` is kept under the key "nextword"."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": NO_LIMIT,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": token for role, token in roles.items() if token is not None},
        **more,
        OURS: dict(ours),
    }
    write_atomic(folder / TOKENIZER, inner.to_str(pretty=True))
    write_json(folder / CONFIG, config)


def _role(folder: Path, inner: tokenizers.Tokenizer, trees: Sequence[Mapping[str, Any]], role: str) -> int | None:
    for tree in trees:
        token = tree.get(f"{role}_token")
        if isinstance(token, dict):  # an AddedToken written out
            token = token.get("content")
        if isinstance(token, str):
            try:
                found = inner.token_to_id(token)
            except UnicodeError:  # half of a surrogate pair, which no vocabulary has
                continue
            if found is not None:
                return int(found)
    number = optional(folder / MODEL).get(f"{role}_token_id")
    if isinstance(number, list) and number:  # several tokens end a text: the first stands for them
        number = number[0]
    if isinstance(number, int) and inner.id_to_token(number) is not None:
        return number
    special = {token.content for token in inner.get_added_tokens_decoder().values() if token.special}
    found = inner.token_to_id(END) if role in {"bos", "eos"} and END in special else None
    return None if found is None else int(found)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
