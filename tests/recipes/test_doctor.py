"""The doctor: what it finds is true, and a broken part is named with its remedy."""

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from subprocess import CompletedProcess

import pytest

from nextword.recipes import doctor
from nextword.recipes.doctor_settings import DoctorSettings


def test_the_command_line_reports_this_machine(cli: Callable[..., CompletedProcess[str]]) -> None:
    result = cli("doctor", "--json")
    report = json.loads(result.stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert result.returncode == 0 and report["ok"], result.stdout
    assert found["torch"]["found"] == version("torch")
    assert "GFLOP/s" in found["matrix products"]["found"]
    assert found["disk"]["state"] == "ok"


def test_a_missing_package_is_broken_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> str:
        if name == "safetensors":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", absent)
    assert doctor.main(DoctorSettings(json=True)) == 1
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["safetensors"]["state"] == "broken"
    assert findings["safetensors"]["remedy"].startswith("pip install 'safetensors")
    assert doctor.main(DoctorSettings()) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_a_check_that_fails_is_a_finding() -> None:
    def fails() -> doctor.Finding:
        raise OSError("read-only file system")

    (finding,) = doctor.attempt("disk", fails)
    assert finding.state == "broken" and "read-only" in finding.found
