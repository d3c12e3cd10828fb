"""A fresh model: described by settings, drawn from a seed.

The same settings, vocabulary and seed give the same weights on every machine and with any number of threads: they are
drawn in fp32 on the CPU from one generator, in the order of the layers.
"""

from typing import Any

import torch

from nextword.core.settings import in_range
from nextword.models.family import Special, Storable, find, fresh_config
from nextword.models.settings import ModelSettings


def create(
    settings: ModelSettings,
    vocab_size: int,
    seed: int,
    *,
    eos_id: int | None = None,
    bos_id: int | None = None,
    pad_id: int | None = None,
) -> Storable:
    """A new model in fp32 on the CPU; the ids of special tokens go into its config.json.

    Raises SettingsError for sizes that do not fit together or that the family does not have.
    """
    in_range("the vocabulary size", vocab_size, 1)
    return drawn(fresh_config(settings, vocab_size, Special(bos_id, eos_id, pad_id)), seed)


def drawn(config: dict[str, Any], seed: int) -> Storable:
    """The model that a config.json describes, with fresh weights."""
    family = find(config["model_type"], "settings")
    with torch.device("meta"):  # the shapes alone: nothing is drawn twice
        model = family.build(config)
    blank = {name: torch.zeros(x.shape, dtype=x.dtype, device="cpu") for name, x in model.state_dict().items()}
    model.load_state_dict(blank, strict=True, assign=True)
    generator = torch.Generator().manual_seed(seed)
    model.initialise(config.get("initializer_range", 0.0), generator)
    family.draw(model, generator)
    return model
