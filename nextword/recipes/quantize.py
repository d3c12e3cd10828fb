"""`nextword quantize`: a model in fewer bits."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from nextword.assembly.folder import Assembled, load
from nextword.assembly.sentence import write_sentence
from nextword.core.errors import DataError, SettingsError
from nextword.core.files import atomic_folder
from nextword.core.progress import Progress
from nextword.models.checkpoint import copy_others
from nextword.quant import files
from nextword.quant.calibrate import calibrate
from nextword.quant.model import Quantisation, matrices, prepare, quantise
from nextword.recipes import sources
from nextword.recipes.quantize_settings import GROUP, QuantizeSettings

WINDOWS, LENGTH = 128, 512  # of calibration; more change little (Frantar et al., 2022, used 128 of 2048)
ROWS = 8  # windows that are read together


def main(settings: QuantizeSettings) -> None:
    """Reads, rounds, writes the folder as a whole, and says what may be done with it."""
    if settings.out.exists():
        raise SettingsError(f"{settings.out} exists and is left as it is: choose another --out, or remove it first")
    assembled = load(settings.model)
    model = assembled.model
    group = (settings.group or GROUP) if settings.bits == 4 else None
    wanted = Quantisation(settings.bits, group, settings.edges)
    whole = prepare(model)
    layers = len(list(matrices(whole)))
    before = files.stored_bytes(model)
    if settings.calibrate.sources:
        work = calibrate(model, wanted, batches(assembled, settings))
    else:
        work = quantise(model, wanted)
    with Progress("quantise", layers, "layers", quiet=settings.quiet) as bar, atomic_folder(settings.out) as fresh:
        for number, name in enumerate(work, 1):
            bar.update(min(number, layers), at=name)
        write(assembled, fresh)
    after, bits = files.stored_bytes(model), files.bits_of(whole)
    print(
        f"{settings.out}: {after / 1e6:.1f} MB in place of {before / 1e6:.1f}; {bits:.2f} bits a weight in the layers"
    )
    print(f"next: nextword evaluate {settings.out} --perplexity --text held-out.txt")


def write(assembled: Assembled, folder: Path) -> None:
    """The model, its tokenizer, and whatever lay beside them."""
    if assembled.folder.is_dir():
        copy_others(assembled.folder, folder)
    else:
        assembled.tokenizer.save(folder)
    if assembled.sentence is not None:
        write_sentence(folder, assembled.sentence)
    files.write(assembled.model, folder)


def batches(assembled: Assembled, settings: QuantizeSettings) -> list[Tensor]:
    """The pieces of the text, ids_BT; DataError where it is too short for one."""
    longest = assembled.model.max_length
    length = settings.length or min(LENGTH, longest or LENGTH)
    if longest is not None and length > longest:
        raise SettingsError(f"length {length} is more than the model's max_length of {longest}")
    pieces = list(islice(cut(assembled, settings, length), settings.windows or WINDOWS))
    if not pieces:
        raise DataError(f"the text to calibrate with has fewer than {length} tokens: give more of it, or less --length")
    return [torch.tensor(pieces[start : start + ROWS]) for start in range(0, len(pieces), ROWS)]


def cut(assembled: Assembled, settings: QuantizeSettings, length: int) -> Iterator[list[int]]:
    """Pieces of exactly `length` tokens, documents one after the other with the tokens that part them."""
    tokenizer = assembled.tokenizer
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    held: list[int] = []
    for document in sources.open_documents(settings.calibrate):
        held += [*begin, *tokenizer.encode(document.text), *end]
        while len(held) >= length:
            yield held[:length]
            held = held[length:]
