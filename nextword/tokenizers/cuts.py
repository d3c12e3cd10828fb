"""Where a long text may be cut so that the ids stay the same.

Encoding takes many times the memory of its text, so a long document is encoded in pieces. That is right only where no
token can reach over the cut and no rule looks back across it:

- The word patterns (GPT-2's, and those of our word kinds) treat a single space or newline between two characters that
  are not white space alike whatever stands further away: what comes before ends there, since only ` ?` at the start of
  a word takes in a space; what follows looks only forward. So the cut goes before that space or newline.
- Characters and bytes are encoded one by one: any place will do. Character n-grams: after a multiple of n.

Other tokenizers are not cut: a text is encoded whole, as it would be without this file.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from nextword.tokenizers.base import Tokenizer

# \w never matches white space; the ASCII signs are named since \w leaves them out.
BETWEEN_WORDS = re.compile(r"(?<=[!-~\w])[ \n](?=[!-~\w])")
GRAMS = re.compile(r"\[\\s\\S\](?:\{1,(\d+)\})?")  # the patterns of character (no braces) and of character-ngram
Find = Callable[[str, int], int]  # (text, at least this far) -> where to cut; the text's length for nowhere


def rule(tokenizer: Tokenizer) -> Find | None:
    """How texts may be cut for this tokenizer; None when nothing is known to be safe."""
    spec = tokenizer.spec
    if any(not token["special"] for token in spec["added_tokens"]):
        return None  # tokens that are searched for in the raw text may hold anything
    lowered = spec["normalizer"] is not None
    if lowered and spec["normalizer"]["type"] != "Lowercase":
        return None
    return _by_pattern(spec["pre_tokenizer"] or {}, lowered)


def pieces(text: str, size: int, find: Find | None) -> Iterator[str]:
    """The text in pieces of at least `size` characters, cut where `find` allows; the text itself without `find`."""
    start = 0
    while find is not None and len(text) - start > size:
        end = find(text, start + size)
        yield text[start:end]
        start = end
    if start < len(text) or not text:
        yield text[start:]


def _by_pattern(pattern: dict[str, Any], lowered: bool) -> Find | None:
    match pattern:
        case (
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
            | {"type": "Whitespace" | "WhitespaceSplit" | "BertPreTokenizer"}
            | {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": r"\n+"}, "behavior": "Isolated", "invert": False},
                    {"type": "Metaspace", "prepend_scheme": "never", "split": True},
                ],
            }
        ):
            return _between_words
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
            return _anywhere
        case {"type": "Split", "pattern": {"Regex": str(regex)}, "behavior": "Isolated", "invert": False}:
            gram = GRAMS.fullmatch(regex)
            if gram is not None and not gram[1]:
                return _anywhere
            if gram is not None and not lowered:  # lower-casing may lengthen a text and so move every n-gram after it
                return lambda text, least: min(-(-least // int(gram[1])) * int(gram[1]), len(text))
    return None


def _anywhere(text: str, least: int) -> int:
    return least


def _between_words(text: str, least: int) -> int:
    found = BETWEEN_WORDS.search(text, least)
    return len(text) if found is None else found.start()
