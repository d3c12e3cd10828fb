"""`nextword verify`: the silent errors of the field, looked for on the user's own model."""

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nextword.assembly.folder import load
from nextword.core.errors import DataError, ResourceError
from nextword.core.files import read_json, sha256, write_json
from nextword.core.progress import Progress
from nextword.recipes import sources
from nextword.recipes.verify_settings import VerifySettings
from nextword.text.settings import TextSettings
from nextword.verify.equality import Finding, find, known, verify
from nextword.verify.subject import Subject, read_text

RESULT = "verify.json"
DOCUMENTS = 50  # that are read of a text at most: a thousand tokens are enough
TINYWORLD = f"tinyworld:{DOCUMENTS}"
COLOURS = {"passes": "", "fails": "red", "does not apply": "dim"}


def main(settings: VerifySettings) -> int:
    """Prints a table, or JSON, stores it beside the model; status 1 when an equality fails."""
    for name in settings.only:
        find(name)
    result = verify_folder(settings.model, settings.text, settings.only, quiet=settings.quiet or settings.json)
    folder = Path(result.pop("folder"))
    if settings.json:
        print(json.dumps(result, indent=2))
    else:
        show(result, settings)
    try:
        store(folder / RESULT, result)
    except ResourceError as error:  # a folder of somebody else's: the result is valid all the same
        print(f"not stored: {error}", file=sys.stderr)
    return 0 if result["passed"] else 1


def verify_folder(
    model: str | Path, text: TextSettings, only: Sequence[str] = (), *, quiet: bool = False
) -> dict[str, Any]:
    """Checks a model folder's equalities, all or those named; a JSON-like tree, `folder` being where the model lies."""
    assembled = load(model, dtype=torch.float32)
    used = text if text.sources else replace(text, sources=(TINYWORLD,))
    documents = islice(sources.open_documents(used), DOCUMENTS)
    tokens, note = read_text((item.text for item in documents), assembled.tokenizer, assembled.model.vocab_size)
    names, findings = only or known(), []
    with (
        tempfile.TemporaryDirectory(prefix="nextword-verify-") as scratch,
        Progress("verify", len(names), "equalities", quiet=quiet) as bar,
    ):
        subject = Subject(assembled.model, assembled.tokenizer, assembled.folder, Path(scratch), tokens)
        for finding in verify(subject, names):
            findings.append(finding)
            bar.update(len(findings))
    return {
        "passed": all(finding.verdict != "fails" for finding in findings),
        "nextword": version("nextword"),
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "text": ", ".join(used.sources) + (f" ({note})" if note else ""),
        "files": checksums(assembled.folder),
        "equalities": {finding.name: plain(finding) for finding in findings},
        "folder": str(assembled.folder),
    }


def checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of the files that the model consists of: what was found holds for these bytes."""
    return {path.name: sha256(path) for path in sorted([*folder.glob("config.json"), *folder.glob("*.safetensors*")])}


def plain(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it, in which there is no infinity: null."""
    measured = asdict(finding.measured)
    if measured["deviation"] is not None and not math.isfinite(measured["deviation"]):
        measured["deviation"] = None
    return {"title": finding.title, "says": finding.says, "verdict": finding.verdict, **measured,
            "seconds": finding.seconds}  # fmt: skip


def store(path: Path, result: dict[str, Any]) -> None:
    """Writes verify.json. What was found before of other equalities stays, if it was of the same files and version."""
    kept: dict[str, Any] = {}
    try:
        before = read_json(path)
        if before["files"] == result["files"] and before["nextword"] == result["nextword"]:
            kept = {name: tree for name, tree in before["equalities"].items() if name in known()}
    except (DataError, KeyError, TypeError, AttributeError):  # none there, or nothing of ours
        kept = {}
    dated = {name: tree | {"date": result["date"]} for name, tree in result["equalities"].items()}
    whole = {**kept, **dated}
    passed = all(tree["verdict"] != "fails" for tree in whole.values())
    write_json(path, result | {"passed": passed, "equalities": {name: whole[name] for name in sorted(whole)}})


def show(result: dict[str, Any], settings: VerifySettings) -> None:
    """The table, what was remarked, and what to type next."""
    console = Console(width=None if Console().is_terminal else 140)
    table = Table("equality", box=None, padding=(0, 2, 0, 0))
    for name in ("largest deviation", "tolerance"):
        table.add_column(name, justify="right")
    table.add_column("because")
    table.add_column("verdict", no_wrap=True)
    for finding in result["equalities"].values():
        cells = [amount(finding, "deviation"), amount(finding, "tolerance"), escape(finding["reason"])]
        table.add_row(finding["title"], *cells, finding["verdict"], style=COLOURS[finding["verdict"]])
    console.print(table)
    for finding in result["equalities"].values():
        if finding["verdict"] == "fails":
            print(f"\n{finding['title']} fails, most at: {finding['where']}. Compared: {finding['says']}.")
        if finding["note"] and not settings.quiet:
            console.print(f"{finding['title']}: {finding['note']}", style="dim", highlight=False, markup=False)
    if not settings.quiet:
        console.print(f"text: {result['text']}; computed in fp32", style="dim", highlight=False, markup=False)
    if result["passed"]:
        print(f'next: nextword generate {settings.model} "The"')
    else:
        print("docs/verify.md says what each failure means; do not trust figures of this model before it is mended")


def amount(finding: dict[str, Any], key: str) -> str:
    """A deviation or tolerance as the table shows it."""
    value = finding[key]
    if value is None:
        return "-" if finding["tolerance"] is None else "infinite"
    return "0" if value == 0 else f"{value:.1e}"
