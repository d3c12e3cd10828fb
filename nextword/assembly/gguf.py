"""One GGUF file: a model, its tokenizer, and the template of its conversations."""

from pathlib import Path
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.checkpoint import Dtype
from nextword.models.family import Storable
from nextword.models.gguf import container, model
from nextword.tokenizers import gguf as vocabulary
from nextword.tokenizers.base import Tokenizer

TEMPLATE = "tokenizer.chat_template"


def load(path: Path, dtype: Dtype = None, device: str = "cpu") -> tuple[Storable, Tokenizer, str | None]:
    """The model, the tokenizer and the chat template (None: there is none) of a file."""
    content = container.read(path)
    tokenizer = vocabulary.read(content.values, str(path))
    tokenizer.template = template(content)
    return model.load(content, dtype, device), tokenizer, tokenizer.template


def template(content: container.Content) -> str | None:
    """The chat template of a file, None where there is none."""
    found = content.values.get(TEMPLATE)
    if found is not None and not isinstance(found, str):
        raise CheckpointError(f"{content.path}: {TEMPLATE} must be a text, received {type(found).__name__}")
    return found


def save(path: Path, whole: Storable, tokenizer: Tokenizer, kind: str, template: str | None = None) -> None:
    """Writes a file; what GGUF has no words for is refused before anything is written."""
    model.check(whole.config)
    values: dict[str, Any] = {"general.name": path.stem, **vocabulary.write(tokenizer, whole.vocab_size)}
    if template is not None:
        values[TEMPLATE] = template
    model.write(path, whole, kind, values)
