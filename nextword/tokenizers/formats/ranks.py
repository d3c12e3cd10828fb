r"""tiktoken's files: a token in base64 and its rank, line by line.

    IQ== 0
    Ig== 1

The rank is both the id and the order of merging: of all neighbours whose union is a token, the pair whose union has the
lowest rank is joined first. So a token of n bytes stands for up to n - 1 merges, one for each way to cut it into two
tokens. The pattern that cuts words and the control tokens are not in the file: they go by its name (cl100k_base,
o200k_base, ...) or stand in tokenizer_config.json (`pattern`; `added_tokens_decoder`).
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from nextword.core.errors import DataError
from nextword.tokenizers.bytelevel import CHARACTER_OF
from nextword.tokenizers.found import (
    CONFIG,
    Found,
    added_tokens,
    check_ids,
    frame,
    mark_special,
    read_lines,
    special_names,
)
from nextword.tokenizers.names import END, FIM

ENDING = ".tiktoken"
LONGEST_RANK = 9  # digits
LONGEST_TOKEN = 4096  # bytes; the longest of public vocabularies has 128

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_CONTROL = {
    "<|begin_of_text|>": 0, "<|end_of_text|>": 1, "<|start_header_id|>": 6, "<|end_header_id|>": 7, "<|eot_id|>": 9,
}  # fmt: skip
LLAMA3_RESERVED = 256  # control tokens in all, behind the ranks


class Known(NamedTuple):
    """What tiktoken's files do not say: how words are cut, and which ids are control tokens."""

    pattern: str
    control: Mapping[str, int]


PREFIX, SUFFIX, MIDDLE = FIM[0], FIM[1], FIM[2]
KNOWN = {
    "r50k_base": Known(GPT2, {END: 50256}),
    "p50k_base": Known(GPT2, {END: 50256}),
    "cl100k_base": Known(
        CL100K, {END: 100257, PREFIX: 100258, MIDDLE: 100259, SUFFIX: 100260, "<|endofprompt|>": 100276}
    ),
    "o200k_base": Known(O200K, {END: 199999, "<|endofprompt|>": 200018}),
}


def find(folder: Path) -> tuple[Path, ...]:
    """The file, if it is there: by its ending, or Llama 3's tokenizer.model, which is one too."""
    paths = sorted(folder.glob(f"*{ENDING}"))
    if len(paths) > 1:
        raise DataError(
            f"{folder} has several vocabularies, {paths[0].name} and {paths[1].name}; leave one of them there"
        )
    llama = folder / "tokenizer.model"
    return tuple(paths) or ((llama,) if is_ranks(llama) else ())


def is_ranks(path: Path) -> bool:
    """Whether the file's first line is a token in base64 and a number."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        line = file.read(LONGEST_TOKEN).split(b"\n")[0]
    token, _, rank = line.partition(b" ")
    return rank.strip().isdigit() and bool(token) and token.isascii()


def read(folder: Path, config: Mapping[str, Any]) -> Found:
    """The tokenizer of the file; DataError where it is broken or nothing says how words are cut."""
    (path,) = find(folder)
    ranks = read_ranks(path)
    known = _known(path, config, len(ranks))
    added = added_tokens(folder, config)
    named = set(added.values())  # what the folder says goes before what the name of the file implies
    control = {token: number for token, number in known.control.items() if number not in named} | added
    written = {token: "".join(map(CHARACTER_OF.__getitem__, token)) for token in ranks}
    vocabulary = {written[token]: rank for token, rank in ranks.items()}
    taken = {number: token for token, number in vocabulary.items()}
    for token, number in control.items():
        if taken.get(number, token) != token:
            raise DataError(
                f"{path}: the id {number} belongs to both {taken[number]!r} and the control token {token!r}"
            )
    vocabulary |= control
    beyond = range(len(ranks), 1 + max(control.values(), default=-1))  # tiktoken leaves gaps between control tokens
    check_ids(path, vocabulary, beyond)
    merges = [(written[left], written[right]) for left, right in merges_of(ranks)]
    inner = tokenizers.Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=True))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(known.pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    mark_special(inner, [*control, *special_names(config)])
    roles = {"bos": END, "eos": END} if END in control else {}
    if "<|begin_of_text|>" in control:
        roles = {"bos": "<|begin_of_text|>", "eos": "<|end_of_text|>"}
        frame(inner, roles["bos"], None)
    return Found(inner, roles)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Rank by token; DataError for a broken line, a token or rank twice, or a byte without a token."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        token, _, rank = line.strip().partition(" ")
        try:
            data = base64.b64decode(token, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        whole = rank.isascii() and rank.isdecimal() and len(rank) <= LONGEST_RANK
        if not whole or not 0 < len(data) <= LONGEST_TOKEN:
            raise DataError(
                f"{path}, line {number}: {line[:40]!r} is not a token in base64 and its rank; fetch it again"
            )
        if data in ranks:
            raise DataError(f"{path}, line {number}: the token {data!r} has come before; fetch the file again")
        ranks[data] = int(rank)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise DataError(f"{path} has no token for the byte 0x{missing[0]:02x}, so some texts cannot be encoded")
    return ranks


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pairs whose union is a token, lowest rank of the union first."""
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        cuts = [(token[:place], token[place:]) for place in range(1, len(token))]
        pairs = [(left, right) for left, right in cuts if left in ranks and right in ranks]
        merges += sorted(pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


def _known(path: Path, config: Mapping[str, Any], ranks: int) -> Known:
    pattern = config.get("pattern")
    if isinstance(pattern, str):
        try:
            Regex(pattern)
        except Exception as error:  # the library raises bare Exception
            raise DataError(
                f"{CONFIG}: the pattern is not a regular expression: {' '.join(str(error).split())}"
            ) from None
        return Known(pattern, {})
    name = path.name.removesuffix(ENDING)
    if name in KNOWN:
        return KNOWN[name]
    if path.suffix == ".model":
        names = {offset: token for token, offset in LLAMA3_CONTROL.items()}
        spare = iter(range(LLAMA3_RESERVED))
        control = {
            names.get(place) or f"<|reserved_special_token_{next(spare)}|>": ranks + place
            for place in range(LLAMA3_RESERVED)
        }
        return Known(LLAMA3, control)
    raise DataError(
        f"{path}: nothing says how words are cut; name the file {', '.join(KNOWN)} (+ {ENDING}), or give the regular "
        f'expression as "pattern" in {CONFIG}'
    )
