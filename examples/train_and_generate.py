"""From an invented world to a model that writes about it, in Python: text, tokenizer, tokens, training, generation.

Run: python examples/train_and_generate.py [STEPS]     (30 steps by default: seconds; 1500 make readable stories)
"""

import sys
import tempfile
from pathlib import Path

import nextword as nw
from nextword.recipes.tokenize import tokenize_text
from nextword.recipes.tokenizer_train import train_tokenizer
from nextword.text.settings import SplitSettings, TextSettings
from nextword.tokenizers.settings import TokenizerSettings


def main(steps: int = 30) -> None:
    """Each line below is also a verb of the command line."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        text, split = TextSettings(sources=("tinyworld:600",)), SplitSettings()

        train_tokenizer(text, split, TokenizerSettings(kind="bpe", vocab_size=512), here / "tokenizer", quiet=True)
        tokenize_text(text, split, here / "tokenizer", here / "tokens", quiet=True)
        summary = nw.pretrain(
            here / "tokens",
            here / "run",
            model={"family": "llama", "width": 64, "depth": 2},
            train={"steps": steps, "batch": 8, "length": 64, "learning_rate": 3e-3},
            quiet=True,
        )
        print(
            f"{summary.parameters:,} parameters, {summary.tokens:,} tokens seen, loss {summary.loss:.2f} nats a token"
        )

        lm = nw.load(here / "run" / "model")
        print(lm.generate("Once upon a time", max_tokens=40, temperature=0.8, seed=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
