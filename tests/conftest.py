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
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail: non-zero status, one line of error, no traceback; gives the line.

    In this process, since starting one costs seconds of imports; an error that is not the user's would raise here.
    """

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as status:
            main(list(map(str, arguments)))
        written = capsys.readouterr().err
        assert status.value.code not in {0, None}
        errors = [line for line in written.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, written
        return errors[0]

    return run
