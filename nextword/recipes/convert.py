"""`nextword convert`: a model from one file format to another."""

import torch

from nextword.assembly import gguf
from nextword.assembly.folder import check_vocabulary, locate
from nextword.core.errors import CheckpointError, SettingsError
from nextword.core.files import atomic_folder
from nextword.models.checkpoint import SHARD_BYTES, copy_others, load_model, write_model
from nextword.models.family import Storable
from nextword.models.finite import broken_weight
from nextword.models.gguf import container
from nextword.recipes.card import write_card
from nextword.recipes.convert_settings import GGUF, ConvertSettings, shard_bytes
from nextword.recipes.push import push
from nextword.tokenizers.base import Tokenizer

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
STORED = {torch.float16: "f16", torch.bfloat16: "bf16"}


def main(settings: ConvertSettings) -> None:
    """Reads, writes, and says what may be done with it."""
    source, out = locate(settings.source), settings.out
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SettingsError(f"{out} exists and is left as it is: choose another OUT, or remove it first")
    dtype = DTYPES.get(settings.dtype or "")  # None: as stored, to be quantised or not
    from_gguf = container.is_gguf(source)
    if not from_gguf and not source.is_dir():
        raise CheckpointError(f"{source} is neither a model folder nor a GGUF file")
    if from_gguf:
        model, tokenizer, _ = gguf.load(source, dtype)
    else:
        model, tokenizer = load_model(source, dtype), Tokenizer.load(source)
    check_vocabulary(model, tokenizer, source)
    if broken := broken_weight(model):  # which loading alone does not look for in every tensor
        raise CheckpointError(
            f"{source}: {broken}{f' in {settings.dtype}' if dtype else ''}: "
            + ("choose f32 or bf16, or " if dtype == torch.float16 else "")
            + "take an earlier checkpoint"
        )
    if out.suffix == GGUF:
        kind = settings.dtype or STORED.get(dtype_of(model), "f32")
        gguf.save(out, model, tokenizer, kind, tokenizer.template)
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {kind}")
        print(f'next: nextword generate {out} "Once upon a time"')
        return
    size = SHARD_BYTES if settings.shard_size is None else shard_bytes(settings.shard_size)
    with atomic_folder(out) as fresh:
        if from_gguf:
            tokenizer.save(fresh)
        else:
            copy_others(source, fresh)
        write_model(model, fresh, size)
        if settings.card or settings.push:
            write_card(fresh, settings.push or out.name, source, settings.licence)
    print(f"{out}: {sum(path.stat().st_size for path in out.iterdir()) / 1e6:.1f} MB")
    if settings.push:
        print(f"{push(out, settings.push, settings.private)}")
    print(f"next: nextword inspect {settings.push or out}")


def dtype_of(model: Storable) -> torch.dtype:
    """The type of its weights."""
    return next((x.dtype for x in model.state_dict().values() if x.is_floating_point()), torch.float32)
