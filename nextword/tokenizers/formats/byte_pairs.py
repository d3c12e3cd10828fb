r"""GPT-2's files: a vocabulary in JSON and the merges in the order in which they were learnt.

    vocab.json, encoder.json   {"!": 0, ..., "Ġthe": 262, ...}
    merges.txt, vocab.bpe      "#version: 0.2", then a merge a line: "Ġ t"

RoBERTa, BART and others use them with control tokens of their own (<s> ... </s>); Qwen cuts words with another pattern
and composes characters first (NFC); CLIP marks ends of words ("cat</w>") instead of beginnings. Radford et al.,
Language Models are Unsupervised Multitask Learners, 2019.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from nextword.core.errors import DataError
from nextword.core.files import read_json
from nextword.tokenizers.found import (
    LIMIT_BYTES,
    Found,
    added_tokens,
    check_ids,
    check_merges,
    family,
    frame,
    mark_special,
    read_lines,
    special_names,
)
from nextword.tokenizers.names import END

PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
WORD_END = "</w>"  # GPT-1 and CLIP mark the end of a word instead of its beginning
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ROBERTA = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
FRAMED = {"roberta", "bart", "longformer", "led", "mvp"}  # RoBERTa's kin: <s> text </s>
CLIP = {"clip", "cliptextmodel"}
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
START = "<|startoftext|>"  # CLIP's
PIECES_OF_A_MERGE = 2


def find(folder: Path) -> tuple[Path, ...]:
    """The two files, if they are there."""
    for names in PAIRS:
        paths = tuple(folder / name for name in names)
        if all(path.exists() for path in paths):
            return paths
    return ()


def read(folder: Path, config: Mapping[str, Any]) -> Found:
    """The tokenizer of the two files; DataError where they are broken or do not belong together."""
    vocab_path, merges_path = find(folder)
    vocabulary = read_json(vocab_path, limit_bytes=LIMIT_BYTES)
    if not isinstance(vocabulary, dict):
        raise DataError(f"{vocab_path} holds no object of tokens and ids")
    name = family(folder, config)
    if name not in CLIP and any(token.endswith(WORD_END) for token in vocabulary):
        raise DataError(
            f"{folder} marks ends of words ({WORD_END}), as GPT-1 does: save it with transformers' AutoTokenizer, "
            "which writes a tokenizer.json, and load that"
        )
    added = added_tokens(folder, config)
    vocabulary = {**vocabulary, **{token: number for token, number in added.items() if token not in vocabulary}}
    check_ids(vocab_path, vocabulary)
    merges = read_merges(merges_path)
    check_merges(merges_path, merges, vocabulary)
    if name in CLIP:
        return clip(vocabulary, merges, config, added)
    inner = tokenizers.Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False))
    prefix = bool(config.get("add_prefix_space", False))
    if name == "qwen2":
        inner.normalizer = normalizers.NFC()
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
            ]
        )
    else:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    inner.decoder = decoders.ByteLevel()
    kin = name in FRAMED or (not name and "<s>" in vocabulary and "</s>" in vocabulary)
    roles = ROBERTA if kin else {"bos": END, "eos": END} if END in vocabulary else {}
    roles = {role: token for role, token in roles.items() if token in vocabulary}
    mark_special(inner, [*roles.values(), *special_names(config), *(token for token in added if token in vocabulary)])
    if kin:
        frame(inner, roles.get("bos"), roles.get("eos"))
    return Found(inner, roles)


def clip(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], config: Mapping[str, Any], added: Iterable[str]
) -> Found:
    """CLIP's: small letters, ends of words marked, and every text between two control tokens."""
    roles = {"bos": START, "eos": END, "pad": END, "unk": END}
    absent = [token for token in (START, END) if token not in vocabulary]
    if absent:
        raise DataError(f"CLIP's vocabulary has {START} and {END}, this one lacks {absent[0]}: fetch the folder again")
    model = models.BPE(
        dict(vocabulary), list(merges), continuing_subword_prefix="", end_of_word_suffix=WORD_END, unk_token=END
    )
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    inner.decoder = decoders.ByteLevel()
    mark_special(inner, [*roles.values(), *special_names(config), *added])
    frame(inner, START, END)
    return Found(inner, roles)


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs, line by line; DataError for a line that is no pair."""
    merges = []
    for number, line in enumerate(read_lines(path), start=1):
        if (number == 1 and line.startswith("#version")) or not line.strip("\r"):
            continue
        pieces = line.removesuffix("\r").split(" ")
        if len(pieces) != PIECES_OF_A_MERGE or not all(pieces):
            raise DataError(
                f"{path}, line {number}: {line[:40]!r} is not a merge, two pieces with a space between them"
            )
        merges.append((pieces[0], pieces[1]))
    return merges
