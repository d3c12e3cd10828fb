"""A subject made of a tiny model folder, what an equality finds in it, and how it is broken on purpose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.assembly.folder import load
from nextword.models.base import Output
from nextword.tinyworld.documents import documents
from nextword.verify.equality import Finding, check, find
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


@pytest.fixture
def failing() -> Callable[[str, Subject], Finding]:
    """`failing(name, trial)`: what the equality of that name finds, where it could be tried."""

    def compare(name: str, trial: Subject) -> Finding:
        finding = check(name, find(name), trial)
        assert finding.measured.deviation is not None, finding.measured.reason  # compared, not stumbled
        return finding

    return compare


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Callable[..., Output]], None]:
    """`broken(model, change)` puts `change(hidden, batch, state)` in the place of the model's `hidden`."""

    def put(model: Any, change: Callable[..., Output]) -> None:
        hidden = type(model).hidden
        monkeypatch.setattr(
            type(model),
            "hidden",
            lambda self, batch, state=None: change(lambda *given: hidden(self, *given), batch, state),
        )

    return put
