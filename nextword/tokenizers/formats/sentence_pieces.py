r"""SentencePiece's file: pieces with scores, and how a text is normalised before it is cut.

A text is normalised (a table that maps characters to others), spaces in a row become one where the model says so, one
is put in front, and every space is written "▁" (U+2581). Then Unigram takes the cut with the largest sum of scores, and
BPE joins the neighbours whose union has the highest score, again and again. A character without a piece becomes its
bytes (<0xE2>) or <unk>. Kudo and Richardson, SentencePiece, 2018.

The file does not say what a family adds: T5 appends sentinels and </s>, XLM-R and mBART shift the ids by one, LLaMA and
Gemma begin with <s>. They are told by the tokenizer's class or the model's type.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from nextword.core.errors import DataError
from nextword.tokenizers.formats import ranks
from nextword.tokenizers.found import (
    CONFIG,
    Found,
    added_tokens,
    check_merges,
    family,
    frame,
    mark_special,
    read_bytes,
    special_names,
)
from nextword.tokenizers.names import SENTINEL, SENTINELS
from nextword.tokenizers.wire import Value, fields

NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
SPACE = "▁"
UNIGRAM, BPE = 1, 2  # TrainerSpec.model_type
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # SentencePiece.type
LONGEST_PIECE = 512  # characters; SentencePiece's own limit when training is far below
BEGIN = {"llama", "codellama", "gemma", "gemma2", "gemma3", "mistral", "mixtral"}
SHIFTED = {"xlmroberta"}
T5 = {"t5", "mt5"}
REFUSED = {
    "mbart",
    "mbart50",
    "nllb",
    "camembert",
    "barthez",
    "albert",
    "debertav2",
    "xlnet",
    "pegasus",
    "bigbird",
    "rembert",
}


@dataclass
class Proto:
    """What a file holds. pieces: text, score and type by id; complete: what stands behind them was there too.

    The rest is as SentencePiece names it.
    """

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    complete: bool = False
    model_type: int = UNIGRAM
    byte_fallback: bool = False
    suffix: bool = False  # treat_whitespace_as_suffix
    ids: dict[str, int] = field(default_factory=lambda: {"unk": 0, "bos": 1, "eos": 2, "pad": -1})
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


def find(folder: Path) -> tuple[Path, ...]:
    """The file, if it is there."""
    paths = [folder / name for name in NAMES if (folder / name).exists()]
    return tuple(path for path in paths[:1] if not ranks.is_ranks(path))


def parse(data: bytes, where: str) -> Proto:
    """The content of a file; DataError where it is broken."""
    proto = Proto()
    for name, value in fields(data, where):
        if name == 1 and isinstance(value, bytes):
            proto.pieces.append(_piece(value, f"{where}: piece {len(proto.pieces)}"))
        elif name == 2 and isinstance(value, bytes):  # noqa: PLR2004 - TrainerSpec
            spec = dict(fields(value, where))
            proto.complete = True
            proto.model_type, proto.byte_fallback = _whole(spec.get(3, UNIGRAM), where), bool(spec.get(35, False))
            proto.suffix = bool(spec.get(24, False))
            for role, number in (("unk", 40), ("bos", 41), ("eos", 42), ("pad", 43)):
                proto.ids[role] = _whole(spec.get(number, proto.ids[role]), where)
        elif name == 3 and isinstance(value, bytes):  # noqa: PLR2004 - NormalizerSpec
            spec = dict(fields(value, where))
            charsmap = spec.get(2, b"")
            proto.charsmap = charsmap if isinstance(charsmap, bytes) else b""
            proto.add_dummy_prefix, proto.remove_extra_whitespaces = bool(spec.get(3, True)), bool(spec.get(4, True))
            proto.escape_whitespaces = bool(spec.get(5, True))
    return proto


def _piece(data: bytes, where: str) -> tuple[str, float, int]:
    found = dict(fields(data, where))
    text, score, kind = found.get(1, b""), found.get(2, 0.0), found.get(3, NORMAL)
    try:
        piece = text.decode() if isinstance(text, bytes) else ""
    except UnicodeDecodeError:
        piece = ""
    if not 0 < len(piece) <= LONGEST_PIECE or not isinstance(score, float) or not math.isfinite(score):
        raise DataError(f"{where} is no text with a score; fetch the file again")
    return piece, score, _whole(kind, where)


def _whole(value: Value, where: str) -> int:
    if not isinstance(value, int):
        raise DataError(f"{where} has {value!r:.40} where a whole number belongs; fetch the file again")
    return value


def read(folder: Path, config: Mapping[str, Any]) -> Found:
    """The tokenizer of the file; DataError where it is broken or its family changes it in a way not known here."""
    (path,) = find(folder)
    proto, name = parse(read_bytes(path), str(path)), family(folder, config)
    _check(path, proto, name)
    roles = {role: proto.pieces[number][0] for role, number in proto.ids.items() if 0 <= number < len(proto.pieces)}
    if name in SHIFTED:
        proto.pieces, proto.ids["unk"] = _shifted(proto.pieces), 3
        roles = {
            "bos": "<s>",
            "cls": "<s>",
            "eos": "</s>",
            "sep": "</s>",
            "pad": "<pad>",
            "unk": "<unk>",
            "mask": "<mask>",
        }
    if name in T5:
        extra = config.get("extra_ids", SENTINELS)
        count = extra if isinstance(extra, int) and 0 <= extra <= len(proto.pieces) else SENTINELS
        proto.pieces += [(SENTINEL.format(number), 0.0, CONTROL) for number in range(count - 1, -1, -1)]
    owner: dict[str, int] = {}
    for number, (piece, _, _) in enumerate(proto.pieces):
        if owner.setdefault(piece, number) != number:
            raise DataError(
                f"{path}: the piece {piece!r} has two ids, {owner[piece]} and {number}; fetch the file again"
            )
    inner = tokenizers.Tokenizer(_bpe(path, proto, owner) if proto.model_type == BPE else _unigram(proto))
    _dress(inner, proto)
    control = [piece for piece, _, kind in proto.pieces if kind == CONTROL]
    _add(inner, folder, added_tokens(folder, config))
    mark_special(inner, [*control, roles.get("unk", "<unk>"), *special_names(config)])
    begin = roles.get("bos") if name in BEGIN | SHIFTED else None
    end = roles.get("eos") if name in T5 | SHIFTED else None
    if begin or end:
        frame(inner, begin, end)
    return Found(inner, roles)


def _add(inner: tokenizers.Tokenizer, folder: Path, added: Mapping[str, int]) -> None:
    """Puts tokens behind the pieces; DataError where their ids are not those that the folder gives them."""
    for token, number in sorted(added.items(), key=lambda item: item[1]):
        if inner.token_to_id(token) is None:
            inner.add_special_tokens([token])
        if inner.token_to_id(token) != number:
            raise DataError(
                f"{folder / CONFIG} gives {token!r} the id {number}, but in the vocabulary it has "
                f"{inner.token_to_id(token)}: the two files do not belong together"
            )


def _check(path: Path, proto: Proto, name: str) -> None:
    if not proto.complete:
        raise DataError(
            f"{path} ends behind its piece {len(proto.pieces)}, before it says how to use them: fetch it again"
        )
    if not 0 <= proto.ids["unk"] < len(proto.pieces):
        raise DataError(
            f"{path} has {len(proto.pieces)} pieces, and none for the unknown ({proto.ids['unk']}): it is incomplete"
        )
    what = ""
    if proto.model_type not in {UNIGRAM, BPE}:
        what = f"cuts by model type {proto.model_type}; only Unigram (1) and BPE (2) are read"
    if proto.suffix or not proto.escape_whitespaces:
        what = "writes spaces in another way (treat_whitespace_as_suffix, escape_whitespaces) than is read here"
    if name in REFUSED:
        what = f"belongs to {name}, which changes its ids or its text in a way of its own"
    if what:
        raise DataError(f"{path} {what}: save it with transformers' AutoTokenizer, which writes a tokenizer.json")
    spelt = {piece for piece, _, kind in proto.pieces if kind == BYTE}
    if proto.byte_fallback and spelt != {f"<0x{byte:02X}>" for byte in range(256)}:
        raise DataError(f"{path} promises pieces for all 256 bytes and has {len(spelt)} of them; fetch the file again")


def _shifted(pieces: Sequence[tuple[str, float, int]]) -> list[tuple[str, float, int]]:
    """fairseq's order: <s> <pad> </s> <unk>, then SentencePiece's from the fourth on, then <mask>."""
    control = [(name, 0.0, CONTROL) for name in ("<s>", "<pad>", "</s>")]
    return [*control, ("<unk>", 0.0, UNKNOWN), *pieces[3:], ("<mask>", 0.0, CONTROL)]


def _bpe(path: Path, proto: Proto, owner: Mapping[str, int]) -> models.BPE:
    usable = {piece: score for piece, score, kind in proto.pieces if kind in {NORMAL, USER, UNUSED}}
    user = {piece for piece, _, kind in proto.pieces if kind == USER}
    found: list[tuple[float, int, str, str]] = []
    for piece, score in usable.items():
        for place in range(1, len(piece)):
            left, right = piece[:place], piece[place:]
            if left in usable and right in usable and not {left, right, piece} & user:
                found.append((-score, owner[piece], left, right))
    merges = [(left, right) for _, _, left, right in sorted(found, key=lambda item: item[:2])]
    check_merges(path, merges, owner)
    return models.BPE(
        dict(owner),
        merges,
        unk_token=proto.pieces[proto.ids["unk"]][0],
        fuse_unk=True,
        byte_fallback=proto.byte_fallback,
        ignore_merges=bool(user),  # a user's piece stands by itself and is made by no merge
    )


def _unigram(proto: Proto) -> models.Unigram:
    scores = [(piece, 0.0 if kind == USER else score) for piece, score, kind in proto.pieces]
    return models.Unigram(scores, unk_id=proto.ids["unk"], byte_fallback=proto.byte_fallback)


def _dress(inner: tokenizers.Tokenizer, proto: Proto) -> None:
    steps: list[Any] = [normalizers.Precompiled(proto.charsmap)] if proto.charsmap else []
    if proto.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if proto.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    inner.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    cuts: list[Any] = []
    user = sorted((piece for piece, _, kind in proto.pieces if kind == USER), key=len, reverse=True)
    if user:
        cuts.append(pre_tokenizers.Split(Regex("|".join(map(re.escape, user))), "isolated"))
    hidden = [piece for piece, _, kind in proto.pieces if kind in {CONTROL, UNKNOWN, BYTE} and len(piece) > 1]
    if hidden and (user or proto.model_type == UNIGRAM):  # such names in a text are letters: never a piece as a whole
        ends = "|".join(f"{re.escape(piece[0])}(?={re.escape(piece[1:])})" for piece in hidden)
        cuts.append(pre_tokenizers.Split(Regex(ends), "merged_with_previous"))
    if cuts:
        inner.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    back: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.add_dummy_prefix:
        back.append(decoders.Strip(content=" ", left=1))
    inner.decoder = decoders.Sequence(back)
