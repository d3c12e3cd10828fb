"""A subject made of a tiny model folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextword.assembly.folder import load
from nextword.tinyworld.documents import documents
from nextword.verify.subject import Subject, read_text


@pytest.fixture
def subject(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[..., Subject]:
    """`subject(family)` puts a tiny model of that family on trial; `folder` another one."""

    def make(family: str = "llama", folder: Path | None = None) -> Subject:
        found = load(folder or tiny(family), dtype=torch.float32)
        texts = (document.text for document in documents(count=20))
        tokens, _ = read_text(texts, found.tokenizer, found.model.vocab_size)
        return Subject(found.model, found.tokenizer, found.folder, tmp_path / "scratch", tokens)

    return make
