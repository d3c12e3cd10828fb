"""The command line itself: fast help, helpful refusals."""

import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from nextword.cli import VERBS
from nextword.models.settings import MADE


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nextword.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_top_help_names_every_verb_and_is_fast() -> None:
    began = time.perf_counter()
    result = run("--help")
    assert time.perf_counter() - began < 2.0  # 0.05 s alone; the bound leaves room for a busy machine
    assert result.returncode == 0
    assert all(verb in result.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples_that_parse(verb: str) -> None:
    result = run(*verb.split(), "--help")
    assert result.returncode == 0, result.stderr
    assert "Examples:" in result.stdout
    assert f"nextword {verb}" in result.stdout.split("Examples:")[1]


def test_help_of_a_verb_names_every_family_and_imports_no_torch() -> None:
    body = "try: cli.main(['pretrain', '--help'])\nfinally: print('torch' in sys.modules)"
    code = f"import sys; from nextword import cli\n{body}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1] == "False"
    assert {"llama", "xlm_roberta", "qwen3_moe"} <= set(MADE) <= set(re.findall(r"\w+", result.stdout))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretran"], "no verb 'pretran'; did you mean 'pretrain'?"),
        (["tokenizer", "trian"], "no verb 'tokenizer trian'; did you mean 'train'?"),
        (["tokenizer"], "'tokenizer' needs a second word: nextword tokenizer train or nextword tokenizer show"),
        (["recipes", "list", "--jsn"], "Did you mean --json?"),
        (["pretrain", "t", "--out", "o", "--model.widht=3"], "Did you mean --model.width?"),
    ],
)
def test_a_misspelling_names_the_nearest(refused: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("--version").stdout)
