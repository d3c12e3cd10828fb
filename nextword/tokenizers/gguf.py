"""Vocabularies of GGUF files as tokenizers, with the ids that llama.cpp gives, and back.

`tokenizer.ggml.model` names the kind: "gpt2" is byte-level BPE with its merges, cut into words by the pattern that
`tokenizer.ggml.pre` names; "llama" is SentencePiece's BPE, whose order of merging is the score of what is made;
"bert" is WordPiece, where the beginnings of words bear a ▁ instead of the others a ##. Each token has a type: normal,
unknown, control, user-defined (found in text before all else), unused, or a single byte.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from nextword.core.errors import DataError
from nextword.tokenizers.base import BYTE_TOKEN, Tokenizer

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
KEY = "tokenizer.ggml."
# our roles -> the names of their values, one of which is misspelt for ever
ROLES = {
    **{"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "unk": "unknown_token_id"},
    **{"cls": "cls_token_id", "sep": "seperator_token_id", "mask": "mask_token_id"},
}
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS: dict[str, str | None] = {  # how words are cut, by tokenizer.ggml.pre; None: GPT-2's own way
    "gpt-2": None,
    "llama-bpe": _ENDINGS + r"\p{N}{1,3}" + _REST,
    "qwen2": _ENDINGS + r"\p{N}" + _REST,
}
BEGINS_TEXTS = {"llama-bpe"}  # those of gpt2's kind whose texts begin with bos where the file does not say
TURN_END = "eot_token_id"
SPACE = "▁"
# how Gemma's file cuts texts, in which there are no spaces any more
AT_SPACES = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
LONGEST = 1000  # characters of a piece; every way to cut it is looked at, and real ones have at most about a hundred


def read(values: Mapping[str, Any], where: str) -> Tokenizer:
    """The tokenizer of a file's values; DataError naming what is missing, unknown or contradictory."""
    kind, tokens = _single(values, "model", "", where), values.get(KEY + "tokens")
    if kind not in MAKERS:
        raise DataError(f"{where} has a vocabulary of kind {kind!r}, which is not read; known: {', '.join(MAKERS)}")
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
        raise DataError(f"{where} lacks {KEY}tokens")
    types = _numbers(values, "token_type", len(tokens), NORMAL, where).astype(int).tolist()
    vocab = {token: number for number, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        seen = next(token for number, token in enumerate(tokens) if vocab[token] != number)
        raise DataError(f"{where}: the vocabulary has {seen!r} twice")
    try:
        inner = MAKERS[str(kind)](vocab, types, values, where)
    except DataError:
        raise
    except Exception as error:  # the library raises bare Exception for merges that do not fit the vocabulary
        raise DataError(f"{where} has a vocabulary that cannot be used: {error}") from None
    control = [token for token, number in vocab.items() if types[number] == CONTROL]
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    user = [token for token, number in vocab.items() if types[number] == USER]
    inner.add_tokens([AddedToken(token, special=False, normalized=False) for token in user])
    roles = {role: values.get(KEY + name) for role, name in ROLES.items()}
    for role, number in roles.items():
        if number is not None and (not isinstance(number, int) or not 0 <= number < len(tokens)):
            raise DataError(f"{where}: {KEY}{ROLES[role]} = {number!r} is no id of the {len(tokens)} tokens")
    turn = values.get(KEY + TURN_END)
    stops = [turn] if type(turn) is int and 0 <= turn < len(tokens) else []
    begins = kind == "llama" or _single(values, "pre", "", where) in BEGINS_TEXTS
    if not _single(values, "add_bos_token", begins, where):
        roles["bos"] = None
    return Tokenizer(inner, "wordpiece" if kind == "bert" else "bpe", kind == "gpt2", roles, stops=stops)


def _single(values: Mapping[str, Any], key: str, default: Any, where: str) -> Any:
    """A text, a number or a truth, where a file may have a list."""
    found = values.get(KEY + key, default)
    if not isinstance(found, str | int | float):
        raise DataError(f"{where}: {KEY}{key} must be a single value, received a list of them")
    return found


def _numbers(values: Mapping[str, Any], key: str, count: int, default: float, where: str) -> Any:
    found = values.get(KEY + key)
    if found is None:
        return np.full(count, default)
    if not isinstance(found, np.ndarray) or len(found) != count or not np.isfinite(found).all():
        raise DataError(f"{where}: {KEY}{key} must have a number for each of {count} tokens")
    return found


def _byte_level(vocab: dict[str, int], types: Sequence[int], values: Mapping[str, Any], where: str) -> Any:
    pre, merges = _single(values, "pre", "gpt-2", where), values.get(KEY + "merges")
    if pre not in PATTERNS:
        raise DataError(f"{where} cuts words by {KEY}pre {pre!r}, which is not known; known: {', '.join(PATTERNS)}")
    if not isinstance(merges, list):
        raise DataError(f"{where} lacks {KEY}merges")
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    if not all(len(pair) == 2 for pair in pairs):  # noqa: PLR2004 - a pair
        raise DataError(f"{where}: every one of {KEY}merges must be two tokens with a space between")
    inner = tokenizers.Tokenizer(models.BPE(vocab, pairs, ignore_merges=pre in BEGINS_TEXTS))
    inner.pre_tokenizer = _words(pre)
    inner.decoder = decoders.ByteLevel()
    return inner


def _words(pre: str) -> Any:
    pattern = PATTERNS[pre]
    if pattern is None:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _sentencepiece(vocab: dict[str, int], types: Sequence[int], values: Mapping[str, Any], where: str) -> Any:
    """Every way to put a piece together from two others is a merge; the piece's score says when its turn comes."""
    scores = _numbers(values, "scores", len(vocab), 0.0, where).tolist()
    normal = {piece: number for piece, number in vocab.items() if types[number] == NORMAL}
    if max(map(len, normal), default=0) > LONGEST:
        raise DataError(f"{where}: the vocabulary has a piece of more than {LONGEST} characters; the file is corrupt")
    merges = []
    for piece, number in normal.items():
        for cut in range(1, len(piece)):
            left, right = normal.get(piece[:cut]), normal.get(piece[cut:])
            if left is not None and right is not None:
                merges.append((-scores[number], left, right))
    names = list(vocab)
    pairs = [(names[left], names[right]) for _, left, right in sorted(merges)]
    unknown = values.get(KEY + "unknown_token_id", 0)
    if not isinstance(unknown, int) or not 0 <= unknown < len(names):
        raise DataError(f"{where}: {KEY}unknown_token_id {unknown!r} is no id")
    inner = tokenizers.Tokenizer(
        models.BPE(vocab, pairs, unk_token=names[unknown], fuse_unk=True, byte_fallback=True)
    )  # fmt: skip
    prefix = bool(_single(values, "add_space_prefix", True, where))
    inner.normalizer, inner.decoder = _spaces(prefix)
    return inner


def _spaces(prefix: bool) -> tuple[Any, Any]:
    """The steps before and after: spaces become ▁, one is put before the text where `prefix`, and back."""
    before = [normalizers.Prepend(SPACE)] if prefix else []
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    return normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)]), decoders.Sequence(steps)


def _wordpiece(vocab: dict[str, int], types: Sequence[int], values: Mapping[str, Any], where: str) -> Any:
    pieces = {}
    for token, number in vocab.items():
        whole = types[number] != NORMAL or (token.startswith("[") and token.endswith("]"))
        pieces[token if whole else token[1:] if token.startswith(SPACE) else "##" + token] = number
    unknown = values.get(KEY + "unknown_token_id")
    if len(pieces) != len(vocab) or not isinstance(unknown, int) or not 0 <= unknown < len(vocab):
        raise DataError(f"{where}: the vocabulary has pieces twice, or no unknown token")
    inner = tokenizers.Tokenizer(
        models.WordPiece(pieces, unk_token=list(vocab)[unknown], max_input_chars_per_word=1000)
    )
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    return inner


MAKERS = {"gpt2": _byte_level, "llama": _sentencepiece, "bert": _wordpiece}


def write(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Any]:
    """The values that say the same; ids up to the model's `vocab_size` that stand for nothing are unused tokens.

    DataError for a tokenizer that GGUF has no words for.
    """
    tree = json.loads(tokenizer.inner.to_str())
    merges = _merges(tree["model"])
    if merges is not None and tokenizer.is_byte_level:
        found = {KEY + "model": "gpt2", KEY + "pre": _pattern_of(tree)}
        own: dict[str, Any] = {KEY + "merges": [" ".join(pair) for pair in merges]}
    elif merges is not None and tokenizer.byte_fallback:
        found = {KEY + "model": "llama", KEY + "pre": "default"}
        own = {KEY + "scores": _scores(tokenizer, merges, vocab_size), KEY + "add_space_prefix": _prefix_of(tree)}
    else:
        raise DataError(f"a tokenizer of kind {tokenizer.kind!r} is not written to GGUF; BPE on bytes and Llama's are")
    size = max(vocab_size, tokenizer.vocab_size)
    tokens = [tokenizer.token(number) or f"[PAD{number}]" for number in range(size)]
    types = np.array([_type(tokenizer, number) for number in range(size)], np.int32)
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id, "unk": tokenizer.unk_id}
    roles = {KEY + ROLES[role]: number for role, number in ids.items() if number is not None}
    turns = sorted(tokenizer.stops - {tokenizer.eos_id})
    roles |= {KEY + TURN_END: turns[0]} if turns else {}  # readers find further ones by their names
    begins = {KEY + "add_bos_token": tokenizer.bos_id is not None, KEY + "add_eos_token": False}
    return {**found, KEY + "tokens": tokens, KEY + "token_type": types, **own, **roles, **begins}


def _merges(model: Mapping[str, Any]) -> list[tuple[str, ...]] | None:
    """The merges of BPE, which older files write as one text each; None for another kind of model."""
    if model["type"] != "BPE":
        return None
    return [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]


def _type(tokenizer: Tokenizer, number: int) -> int:
    name = tokenizer.token(number)
    if not name:
        return UNUSED
    if number == tokenizer.unk_id:
        return UNKNOWN
    if number in tokenizer.specials:
        return CONTROL
    if number in tokenizer.inner.get_added_tokens_decoder():
        return USER
    return BYTE if tokenizer.byte_fallback and BYTE_TOKEN.fullmatch(name) else NORMAL


def _pattern_of(tree: Mapping[str, Any]) -> str:
    """The name of the pattern by which a byte-level tokenizer cuts words."""
    if tree["normalizer"] is None:
        for name in PATTERNS:
            probe = tokenizers.Tokenizer(models.BPE())
            probe.pre_tokenizer = _words(name)
            if _steps(json.loads(probe.to_str())["pre_tokenizer"]) == _steps(tree["pre_tokenizer"]):
                return name
    raise DataError(f"the tokenizer cuts or changes texts in a way that GGUF has no name for; known: {list(PATTERNS)}")


def _steps(step: Any) -> Any:
    """The steps without what changes no id (offsets)."""
    if isinstance(step, list):
        return [_steps(one) for one in step]
    return {k: _steps(v) for k, v in step.items() if k != "trim_offsets"} if isinstance(step, dict) else step


def _prefix_of(tree: Mapping[str, Any]) -> bool:
    """Whether a space is put before the text."""
    normalizer = tree["normalizer"] or {}
    for prefix in (True, False):
        probe = tokenizers.Tokenizer(models.BPE())
        probe.normalizer, _ = _spaces(prefix)
        steps = json.loads(probe.to_str())["normalizer"]["normalizers"]
        if normalizer.get("normalizers", [normalizer]) == steps and tree["pre_tokenizer"] in (None, AT_SPACES):
            return prefix
    raise DataError("the tokenizer changes texts in a way that GGUF has no words for")


def _scores(tokenizer: Tokenizer, merges: Sequence[tuple[str, ...]], vocab_size: int) -> Any:
    """Minus the rank of the merge that first makes a token; SentencePiece merges by the highest score."""
    scores = np.zeros(max(vocab_size, tokenizer.vocab_size), np.float32)
    for rank in range(len(merges) - 1, -1, -1):
        number = tokenizer.inner.token_to_id("".join(merges[rank]))
        scores[number] = -rank
    return scores
