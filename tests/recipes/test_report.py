"""The report: text is escaped, settings read back as TOML, a browser shows it without reaching out."""

import shutil
import tomllib
from pathlib import Path

import pytest

from nextword.recipes.chart import Curve, svg
from nextword.recipes.report import Figure, Report, Sample, Section, html, toml_lines

TREE = {"name": 'a "quoted"\nname', "rate": 1e-3, "on": True, "none": None, "model": {"width": 8, "list": ["x", "y"]}}


def page() -> str:
    chart = svg(
        [Curve("training", [1, 2, 3], [3.0, 2.0, 1.5]), Curve("validation", [3], [1.7], True)], "step", "nats", "Loss"
    )
    return html(
        Report(
            "Run <demo>",
            "trained & evaluated",
            [Figure("bits per byte", "1.52", "lower is better")],
            chart,
            [Sample("Once <b>", " upon & a time")],
            [Section("Stages", ["stage", "seconds"], [["tokenizer", "1.5"]])],
            TREE,
            ["nextword generate runs/demo/model 'Once'"],
        )
    )


def test_settings_read_back_as_toml() -> None:
    read = tomllib.loads("\n".join(toml_lines(TREE)))
    assert read == {key: value for key, value in TREE.items() if value is not None}


def test_text_is_escaped_and_nothing_is_fetched() -> None:
    text = page()
    assert "Once &lt;b&gt;" in text and "Run &lt;demo&gt;" in text
    assert "<script" not in text and 'src="http' not in text and "url(http" not in text
    assert "currentColor" in text and "#010203" not in text


def test_equal_runs_give_equal_pages() -> None:
    assert page() == page()


def test_page_in_a_browser(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(page())
    requests, problems = [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        tab = browser.new_page(viewport={"width": 375, "height": 700})
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto(path.as_uri())
        assert tab.get_by_role("heading", name="Run <demo>").is_visible()
        assert tab.get_by_role("img", name="Loss").bounding_box()["width"] > 200  # type: ignore[index]
        wide = tab.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        tab.get_by_text("Every setting").click()
        assert tab.get_by_text("[model]").is_visible()
        browser.close()
    assert not wide, "the page must not scroll sideways on a phone"
    assert not problems
    assert requests == [path.as_uri()]
