"""What the readers of older vocabularies have in common: what they find, and what they check.

Before `tokenizer.json` every family had files of its own. A reader in `nextword/tokenizers/formats` knows one of these
formats by the names of its files and builds the same tokenizer in the `tokenizers` library. An error says which file,
which entry, and what is wrong with it, since a vocabulary with a mistake gives ids that look right.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import processors

from nextword.core.errors import DataError
from nextword.core.files import read_json

CONFIG, MODEL = "tokenizer_config.json", "config.json"
LIMIT_BYTES = 256 << 20  # the largest public vocabularies have about 40 MB
SHOWN = 3  # examples in an error


@dataclass(frozen=True)
class Found:
    """A tokenizer built from a folder's files; roles: the tokens ("<s>") that its format gives to them by itself."""

    inner: tokenizers.Tokenizer
    roles: Mapping[str, str] = field(default_factory=dict)


def optional(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, empty where there is no such file."""
    tree = read_json(path) if path.exists() else {}
    return tree if isinstance(tree, dict) else {}


def family(folder: Path, config: Mapping[str, Any]) -> str:
    """Whose tokenizer it is, in small letters ("llama", "xlmroberta"): by its class, else by the model's type."""
    name = config.get("tokenizer_class")
    if isinstance(name, str) and not name.startswith("PreTrained"):
        return name.removesuffix("Fast").removesuffix("Tokenizer").lower()
    return str(optional(folder / MODEL).get("model_type", "")).replace("-", "").replace("_", "").lower()


def read_bytes(path: Path) -> bytes:
    """The content of a vocabulary's file; DataError where it is larger than any of its kind, or empty."""
    size = path.stat().st_size
    if not 0 < size <= LIMIT_BYTES:
        raise DataError(f"{path} has {size} bytes; a vocabulary has 1 to {LIMIT_BYTES}: fetch the file again")
    return path.read_bytes()


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, ended by newlines alone (a token may contain other separators)."""
    try:
        lines = read_bytes(path).decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid UTF-8 at byte {error.start}: fetch the file again") from None
    return lines[:-1] if lines[-1] == "" else lines


def added_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """Tokens with ids that the folder names beside the vocabulary; DataError where two of them share an id."""
    found: dict[str, int] = {}
    decoder = config.get("added_tokens_decoder")
    for number, token in (decoder if isinstance(decoder, dict) else {}).items():
        content = token.get("content") if isinstance(token, dict) else token
        if not (isinstance(content, str) and str(number).isdecimal()):
            raise DataError(
                f"{folder / CONFIG}: added_tokens_decoder has an entry {number!r} that is no token with an id"
            )
        found[content] = int(number)
    for content, number in optional(folder / "added_tokens.json").items():
        if not isinstance(number, int):
            raise DataError(f"{folder / 'added_tokens.json'}: the id of {content!r} is not a whole number")
        found[content] = number
    return found


def special_names(config: Mapping[str, Any]) -> list[str]:
    """The control tokens that the folder names, whatever their role."""
    names = [config.get(f"{role}_token") for role in ("bos", "eos", "pad", "unk", "cls", "sep", "mask")]
    more = config.get("additional_special_tokens")
    names += more if isinstance(more, list) else []
    decoder = config.get("added_tokens_decoder")
    entries = (decoder if isinstance(decoder, dict) else {}).values()
    names += [token for token in entries if isinstance(token, dict) and token.get("special")]
    texts = [name.get("content") if isinstance(name, dict) else name for name in names]
    return [text for text in texts if isinstance(text, str)]


def mark_special(inner: tokenizers.Tokenizer, names: Iterable[str]) -> None:
    """Makes those of `names` that are in the vocabulary control tokens; their ids stay."""
    inner.add_special_tokens([name for name in dict.fromkeys(names) if inner.token_to_id(name) is not None])


def check_ids(path: Path, vocabulary: Mapping[str, Any], spare: Iterable[int] = ()) -> None:
    """DataError unless the ids are 0, 1, 2, ... each once, those in `spare` apart."""
    owner: dict[int, str] = {}
    for token, number in vocabulary.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise DataError(f"{path}: the id of {token!r} is {number!r}; ids are whole numbers from 0")
        if number in owner:
            raise DataError(
                f"{path}: the id {number} belongs to both {owner[number]!r} and {token!r}; each has one token"
            )
        owner[number] = token
    if not owner:
        raise DataError(f"{path} holds no token: fetch the file again")
    missing = _missing(owner, frozenset(spare))
    if missing:
        raise DataError(
            f"{path}: no token has the id {', '.join(map(str, missing))}, though there are {len(owner)} with ids up to "
            f"{max(owner)}: the file is incomplete, or added_tokens.json is missing; fetch the folder again"
        )


def _missing(owner: Mapping[int, str], spare: frozenset[int]) -> list[int]:
    found: list[int] = []
    last = max(owner)
    for number in range(min(last, len(owner) + len(spare) + SHOWN)):  # a gap shows early, however large the largest id
        if number not in owner and number not in spare:
            found.append(number)
            if len(found) == SHOWN:
                break
    return found


def check_merges(path: Path, merges: Sequence[tuple[str, str]], vocabulary: Mapping[str, int]) -> None:
    """DataError where a merge joins pieces, or makes one, that the vocabulary does not have."""
    for rank, (left, right) in enumerate(merges):
        for piece in (left, right, left + right):
            if piece not in vocabulary:
                raise DataError(
                    f"{path}: merge {rank + 1} ({left!r} + {right!r}) needs the piece {piece!r}, which the vocabulary "
                    "does not have: the two files do not belong together"
                )


def frame(inner: tokenizers.Tokenizer, begin: str | None, end: str | None) -> None:
    """Says in the tokenizer's file that a text begins and ends with these tokens; DataError for names with a colon."""
    present = [token for token in (begin, end) if token is not None]
    if colon := next((token for token in present if ":" in token), None):
        raise DataError(
            f"a token that begins or ends a text cannot be called {colon!r}: what follows : is its type there"
        )
    single = " ".join([*([begin] if begin else []), "$A", *([end] if end else [])])
    inner.post_processor = processors.TemplateProcessing(
        single=[*([begin] if begin else []), "$A", *([end] if end else [])],
        pair=single.replace("$A", "$A:0").split(" ") + single.replace("$A", "$B:1").split(" "),
        special_tokens=[(token, inner.token_to_id(token)) for token in dict.fromkeys(present)],
    )
