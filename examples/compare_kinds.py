"""Counts, recurrence and attention on the same tokens: what each makes of the same text, in bits per byte.

One protocol serves all three, so this script does not know which is which.

Run: python examples/compare_kinds.py [STEPS]     (30 steps by default: seconds; 1000 show what each kind can do)
"""

import sys
import tempfile
from pathlib import Path

import nextword as nw
from nextword.recipes.tokenize import tokenize_text
from nextword.recipes.tokenizer_train import train_tokenizer
from nextword.text.settings import SplitSettings, TextSettings
from nextword.tinyworld.documents import documents
from nextword.tokenizers.settings import TokenizerSettings

KINDS = {
    "trigrams": {"family": "ngram", "order": 3},
    "LSTM": {"family": "lstm", "width": 64, "depth": 1},
    "Llama": {"family": "llama", "width": 64, "depth": 2},
}


def main(steps: int = 30) -> None:
    """Trains one model of each kind and measures all on text that none has seen (another seed, another world)."""
    unseen = [document.text for document in documents(seed=1, count=20)]
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        text, split = TextSettings(sources=("tinyworld:600",)), SplitSettings()
        train_tokenizer(text, split, TokenizerSettings(kind="bpe", vocab_size=512), here / "tokenizer", quiet=True)
        tokenize_text(text, split, here / "tokenizer", here / "tokens", quiet=True)
        steps_of = {"steps": steps, "batch": 8, "length": 64, "learning_rate": 3e-3}
        for name, model in KINDS.items():
            # an n-gram is counted, not stepped: settings that it has no use for would be refused
            train = {} if model["family"] == "ngram" else steps_of
            nw.pretrain(here / "tokens", here / name, model=model, train=train, quiet=True)
            figures = nw.load(here / name / "model").perplexity(unseen)
            bits, per_token = figures["bits_per_byte"], figures["perplexity"]
            print(f"{name:<9} {bits:.3f} bits per byte, perplexity {per_token:.1f} per token")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
