"""From a folder, a GGUF file, or the name of a model on the Hugging Face hub, to a model with its tokenizer.

A name is a file or folder if there is one; otherwise `owner/name` is looked up on the hub, which needs the `hub` extra
and is the only thing here that uses the network. Only safetensors, JSON and vocabulary files are fetched (of folders
within, those alone whose names begin with a digit: sentence-transformers' steps), never code.
"""

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from nextword.assembly import gguf
from nextword.assembly.sentence import Sentence, read_sentence
from nextword.core.device import choose
from nextword.core.errors import CheckpointError, missing_extra
from nextword.core.files import read_json
from nextword.models.checkpoint import CONFIG
from nextword.models.compilable import compilable
from nextword.models.family import Storable
from nextword.models.gguf.container import is_gguf
from nextword.models.transformer import Transformer
from nextword.nn import half
from nextword.nn.attention import fast_bfloat16
from nextword.quant import files
from nextword.quant import model as quantised
from nextword.tokenizers.base import Tokenizer

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
NESTED = ["[!0-9]*/*"]  # what is not fetched
PIPELINE = "model_index.json"  # of an image generator, whose text encoders have their tokenizers beside them
TEXT_ENCODER, TOKENIZER = "text_encoder", "tokenizer"  # text_encoder_2 goes with tokenizer_2
GENERATION = "generation_config.json"
BEGINNING = ("decoder_start_token_id", "forced_bos_token_id")  # the first tokens that an encoder-decoder writes
# of older vocabularies, and of conversation templates (merges.txt, vocab.txt, tokenizer.model, ...)
VOCABULARIES = ("merges.txt", "vocab.txt", "*.model", "*.tiktoken", "vocab.bpe", "*.jinja")


class Assembled(NamedTuple):
    """A model, its tokenizer, the folder or file that both come from, and what that says of vectors for texts."""

    model: Storable
    tokenizer: Tokenizer
    folder: Path
    sentence: Sentence | None


def load(path_or_hub_id: str | Path, dtype: torch.dtype | None = None, device: str = "cpu") -> Assembled:
    """The model and tokenizer of a folder, a GGUF file or a hub id.

    dtype: what to compute in; None takes the stored type where the device is fast in it, and fp32 elsewhere: matrices
    then stay as they are stored where that costs no time (`keeps`). device: cpu, cuda, cuda:1, mps, or auto: a GPU if
    there is one. Raises CheckpointError when something is missing, broken, or the two do not belong together,
    SettingsError for a device that is not there.
    """
    device = str(choose(device))
    folder = locate(path_or_hub_id)
    if is_gguf(folder):
        model, tokenizer, _ = gguf.load(folder, dtype or partial(fast_type, device=device), device)
    else:
        model, tokenizer = load_model(folder, dtype, device), Tokenizer.load(vocabulary(folder))
    check_vocabulary(model, tokenizer, folder)
    if model.kind == "encoder-decoder":
        model.config |= beginning(folder)
    return Assembled(model, tokenizer, folder, read_sentence(folder))


def vocabulary(folder: Path) -> Path:
    """The folder of a model's tokenizer: its own, or the one beside it that an image generator has for it."""
    if (folder.parent / PIPELINE).is_file() and folder.name.startswith(TEXT_ENCODER):
        return folder.parent / folder.name.replace(TEXT_ENCODER, TOKENIZER, 1)
    return folder


def beginning(folder: Path) -> dict[str, int]:
    """The tokens with which a text begins where a folder keeps them beside its config.json, as transformers 5 does."""
    file = folder / GENERATION
    tree = read_json(file, CheckpointError) if file.is_file() else {}
    if not isinstance(tree, dict):
        raise CheckpointError(f"{file} must hold a JSON object, received {type(tree).__name__}")
    found = {key: tree[key] for key in BEGINNING if tree.get(key) is not None}
    for key, number in found.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise CheckpointError(f"{file}: {key!r} must be the id of a token, received {number!r}")
    return found


def fast_type(stored: torch.dtype, device: str) -> torch.dtype:
    """What to compute in with weights that are stored in a type: in that, unless the device is slow in it."""
    slow = stored == torch.float16 or (stored == torch.bfloat16 and not fast_bfloat16())
    return torch.float32 if device == "cpu" and slow else stored


def load_model(folder: Path, dtype: torch.dtype | None = None, device: str = "cpu") -> Storable:
    """The model alone of a folder; see `load`."""
    model = files.load(folder, dtype, device)
    if dtype is not None or not isinstance(model, nn.Module):
        return model
    stored = next((x.dtype for x in model.parameters() if x.is_floating_point()), torch.float32)
    computed = fast_type(stored, device)
    if computed != stored and keeps(model, stored):
        half.keep(model, computed)
    elif computed != stored:
        model.to(computed)
    return model


def keeps(model: nn.Module, stored: torch.dtype) -> bool:
    """Whether matrices stay in the 16 bits in which they are stored, and are widened some rows at a time.

    A plain step of one token then takes twice as long, so it is for models that have no such steps: those that read
    texts whole, and in bf16 those that the compiled step computes. A quantised model has little to widen.
    """
    if not isinstance(model, Transformer) or quantised.of(model) is not None:
        return False
    if model.kind == "encoder" or not model.settings.output:
        return True
    return stored == torch.bfloat16 and type(model) is Transformer and compilable(model.settings)


def check_vocabulary(model: Storable, tokenizer: Tokenizer, folder: Path) -> None:
    """CheckpointError unless every id of the tokenizer is one of the model's (which may have spare ones)."""
    if tokenizer.vocab_size > model.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model only {model.vocab_size}: they do "
            "not belong together; put the tokenizer there that the model was trained with"
        )


def locate(path_or_hub_id: str | Path, *, weights: bool = True) -> Path:
    """The folder itself, or that of a hub model after fetching it (`weights=False`: config.json alone)."""
    path = Path(path_or_hub_id)
    if path.exists() or isinstance(path_or_hub_id, Path) or not HUB_ID.fullmatch(path_or_hub_id):
        return path
    return fetch(path_or_hub_id, weights=weights)


def fetch(hub_id: str, *, weights: bool = True) -> Path:
    """Downloads what a model consists of, its vocabulary included, or finds it in the local cache; gives the folder."""
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra, and only for those who ask for it
    except ImportError:
        raise missing_extra("huggingface_hub", "hub") from None
    wanted = ["*.safetensors", "*.json", *VOCABULARIES] if weights else [CONFIG]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=NESTED))
    except (OSError, ValueError) as error:  # not found, no access, no network
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{hub_id!r} is no folder here, and fetching it from the Hugging Face hub failed: {reason}"
        ) from None
