"""gigatoken, where it is installed (extra `fast`) and gives the same ids: batches several times faster.

It reads the same `tokenizer.json`. Whether it does what the `tokenizers` library does with it is tried on texts of all
kinds before it is used: one id that differs, or one error, and the library does the work as always.
(https://github.com/marcelroed/gigatoken)
"""

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import tokenizers

Encode = Callable[[Sequence[str]], list[list[int]]]

PACKAGE = "gigatoken"
PROBES = (
    "The quick brown fox jumps over the lazy dog's back; it'll do, won't it? I'VE 12345 678 3.14",
    "\n\n\tdef f(x):\n    return x\n",
    "  two  spaces,   three\u00a0and\u3000more \r\n\r\n trailing   ",
    "naïve café Ωμέγα Привет мир שלום عربى हिन्दी ภาษาไทย 漢字かな 한국어 ß ﬁ İ ǅ",
    "a\u0301e\u0308 \u200b\ufeff\u200d👩‍👩‍👧‍👦🏳️‍🌈 𝔘𝔫𝔦 𐍈 \U0001f642\U000e0041 \x00\x01\x7f\x85",
    "<|endoftext|><s></s>[CLS][MASK]<|im_start|>user <0x41> ▁x ##ing Ġthe",
    "x" * 300 + " " * 40 + "ab" * 200 + "!?" * 50 + "\n" * 7,
    "",
    " ",
)


def same_encoder(inner: tokenizers.Tokenizer) -> Encode | None:
    """A function that gives the library's ids, without control tokens; None where there is none."""
    if find_spec(PACKAGE) is None:
        return None
    import gigatoken  # noqa: PLC0415 - an extra, and half a second for those who encode batches

    tree = json.loads(inner.to_str())
    tree["added_tokens"] = [token for token in tree["added_tokens"] if not token["special"]]  # in a text they are text
    tree["post_processor"] = None
    texts = [*PROBES, *(token.content for token in inner.get_added_tokens_decoder().values())]
    wanted = [found.ids for found in inner.encode_batch_fast(texts, add_special_tokens=False)]
    try:
        found: Encode = gigatoken.Tokenizer.from_json(json.dumps(tree)).encode_batch_list
        return found if found(texts) == wanted else None
    except Exception:  # whatever it says of a tokenizer that it does not know
        return None
