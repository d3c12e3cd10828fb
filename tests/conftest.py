"""Fixtures shared by all tests: real data where it is set, the command line as a user calls it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nextword.cli import main

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # an oracle that would reach for the network fails at once instead
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the test runner starts one process a core


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data; tests that need it skip, saying so, where it is not set."""
    folder = os.environ.get("NEXTWORD_REALDATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NEXTWORD_REALDATA is not set to the folder of real data")
    return Path(folder).resolve()


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Runs `nextword ARGUMENTS` in a process of its own and gives its status, stdout and stderr."""

    def run(*arguments: object, timeout: float = 240, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nextword.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Cli:
    """`nextword ARGUMENTS` in this process, since starting one costs seconds of imports; otherwise as `cli`.

    An error that is not the user's is raised, with its traceback.
    """

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        command = list(map(str, arguments))
        with pytest.raises(SystemExit) as status:
            main(command)
        written = capsys.readouterr()
        code = status.value.code
        return subprocess.CompletedProcess(command, code if isinstance(code, int) else 0, written.out, written.err)

    return run


@pytest.fixture
def refused(here: Cli) -> Callable[..., str]:
    """Runs a command that must fail: non-zero status, one line of error; gives the line."""

    def run(*arguments: object) -> str:
        result = here(*arguments)
        assert result.returncode != 0, result.stdout
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, result.stderr
        return errors[0]

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny(family)` is a folder with a tiny untrained model of that family and a tokenizer such as it needs."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp("tiny") / family
            _make_tiny(family, made[family])
        return made[family]

    return make


TINY_TEXT = [
    "Once upon a time there was a cat.",
    "The cat sat on the mat, and the dog sat too.",
    "A caramel iced latte.",
]


TINY = {"width": 32, "depth": 2, "heads": 4, "max_length": 64, "order": 3, "buckets": 64, "experts": 3}


def _make_tiny(family: str, folder: Path) -> None:
    import numpy as np
    import torch

    from nextword.core.registry import part
    from nextword.models.checkpoint import save_model
    from nextword.models.create import create
    from nextword.models.settings import FAMILIES, ModelSettings
    from nextword.objectives.choose import PURPOSES
    from nextword.tokenizers.settings import TokenizerSettings
    from nextword.tokenizers.train import train

    sizes = {name: size for name, size in TINY.items() if name in part(FAMILIES, family, "FAMILY").honoured}  # type: ignore[attr-defined]
    purpose = PURPOSES[create(ModelSettings(family=family, **sizes), 10, 0, pad_id=0).kind]  # type: ignore[arg-type]
    vocab_size = 400 if purpose == "t5" else 300  # a hundred of them sentinels
    tokenizer = train(TokenizerSettings(vocab_size=vocab_size, min_frequency=1, purpose=purpose), iter(TINY_TEXT))
    model = create(
        ModelSettings(family=family, **sizes), tokenizer.vocab_size, 0,  # type: ignore[arg-type]
        eos_id=tokenizer.eos_id, bos_id=tokenizer.bos_id, pad_id=tokenizer.pad_id,
    )  # fmt: skip
    if family == "ngram":
        ids = np.array([i for text in TINY_TEXT for i in (*tokenizer.encode(text), tokenizer.eos_id)])

        class Ids:
            read = staticmethod(lambda start, stop: ids[start:stop])
            __len__ = lambda self: len(ids)  # noqa: E731

        model.count(Ids())  # type: ignore[attr-defined]
    else:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():  # type: ignore[attr-defined]
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2 + (weight.dim() == 1))
    save_model(model, folder)
    tokenizer.save(folder)
