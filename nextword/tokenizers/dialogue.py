"""What a model's folder says of its conversations: the template that writes them, and the tokens that end a turn.

The template stands in `chat_template.jinja`, or in `tokenizer_config.json` as a text or as several with names, of which
"default" is read. Chat models end their turns with a token of their own beside the one that ends documents:
`generation_config.json` lists them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from nextword.core.errors import DataError
from nextword.core.files import write_atomic, write_json
from nextword.tokenizers.found import CONFIG, optional

FILE, GENERATION, ENDS = "chat_template.jinja", "generation_config.json", "eos_token_id"
LARGEST_FILE = 1 << 20  # bytes


def read_template(folder: Path) -> str | None:
    """The source of the chat template; None where there is none, DataError where there is something else."""
    if (folder / FILE).exists():
        if (folder / FILE).stat().st_size > LARGEST_FILE:
            raise DataError(f"{folder / FILE} is larger than {LARGEST_FILE} bytes: that is no chat template")
        return (folder / FILE).read_text(encoding="utf-8", errors="replace")
    source = optional(folder / CONFIG).get("chat_template")
    if isinstance(source, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
        if source is None:
            raise DataError(f"{folder / CONFIG}: chat_template is neither a template nor a list with one named default")
    if source is None or isinstance(source, str):
        return source
    raise DataError(f"{folder / CONFIG}: chat_template is neither a template nor a list with one named default")


def read_ends(folder: Path, inner: tokenizers.Tokenizer) -> frozenset[int]:
    """The ids that end a text as the folder lists them; those that the vocabulary does not have are left out."""
    listed: Any = optional(folder / GENERATION).get(ENDS)
    numbers = listed if isinstance(listed, list) else [listed]
    return frozenset(n for n in numbers if type(n) is int and n >= 0 and inner.id_to_token(n) is not None)


def write_dialogue(folder: Path, template: str | None, ends: frozenset[int], eos_id: int | None) -> None:
    """Writes both where there is something to say, and takes away the template of another tokenizer."""
    if template is None:
        (folder / FILE).unlink(missing_ok=True)
    else:
        write_atomic(folder / FILE, template)
    if ends - {eos_id}:
        others = sorted(ends - {eos_id})
        tree: Mapping[str, Any] = optional(folder / GENERATION)
        write_json(folder / GENERATION, {**tree, ENDS: others if eos_id is None else [eos_id, *others]})
