"""`nextword tokenizer train`: text to a tokenizer's folder."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from nextword.core.errors import SettingsError
from nextword.recipes.sources import open_documents
from nextword.recipes.tokenizer_settings import TrainTokenizer
from nextword.text.settings import SplitSettings, TextSettings
from nextword.text.split import Split, split
from nextword.tokenizers import files
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.found import CONFIG
from nextword.tokenizers.kind import find
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train


def main(settings: TrainTokenizer) -> None:
    """Trains, saves, and says what came of it and what to type next."""
    made = train_tokenizer(settings.text, settings.split, settings.tokenizer, settings.out, quiet=settings.quiet)
    if settings.json:
        facts = {"out": str(settings.out), "kind": made.kind, "vocab_size": made.vocab_size}
        print(json.dumps(facts | {"fingerprint": made.fingerprint}))
        return
    print(f"{settings.out}: {made.kind} tokenizer with {made.vocab_size:,} tokens; {promise(settings.tokenizer)}")
    print(f'next: nextword tokenizer show {settings.out} "The cat sat on the mat."')


def train_tokenizer(
    text: TextSettings, shares: SplitSettings, settings: TokenizerSettings, out: Path, *, quiet: bool = False
) -> Tokenizer:
    """Learns a tokenizer from the training side of `text` and saves it in the folder `out`.

    Raises SettingsError when `out` holds anything but a tokenizer, and what reading and training raise.
    """
    check_place(out)
    plan = split(partial(open_documents, text), shares)
    if not quiet:
        print(plan.sentence, file=sys.stderr)
    characters = plan.characters - plan.validation_characters
    made = train(settings, TrainingTexts(plan), characters=characters, quiet=quiet)
    made.save(out)
    return made


def promise(settings: TokenizerSettings) -> str:
    """What decoding gives back, in words."""
    if settings.lowercase:
        return "decoding gives back lower case"
    return {
        "any text": "decoding gives back every text exactly",
        "its own characters": "decoding gives back every text exactly whose characters it has seen",
        "no": "decoding does not give back white space",
    }[find(settings.kind).lossless]


class TrainingTexts:
    """The texts of the training side, as often as they are asked for."""

    def __init__(self, plan: Split) -> None:
        self.plan = plan

    def __iter__(self) -> Iterator[str]:
        return (document.text for document in self.plan.side("train"))


def check_place(out: Path) -> None:
    """Raises SettingsError when `out` is a file, or a folder with anything but a tokenizer in it."""
    if out.is_file():
        raise SettingsError(f"{out} is a file; --out names a folder")
    if out.is_dir():
        foreign = sorted({path.name for path in out.iterdir()} - {files.TOKENIZER, CONFIG})
        if foreign:
            raise SettingsError(f"{out} holds something other than a tokenizer ({foreign[0]}); choose another --out")
