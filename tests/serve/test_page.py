"""The page in a real browser: a conversation, a key, a phone, a keyboard; nothing is fetched from elsewhere."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextword.decode.settings import SamplingSettings
from nextword.engine.generate import generate
from nextword.engine.request import Request

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


def test_chat(tabs: Any, server: Any, lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = tabs.open(server.url, "chat")
    tab.get_by_text("Settings").click()
    tab.focus("#set-temperature")
    tab.keyboard.press("Home")  # 0: greedy
    tab.fill("#set-max_tokens", "9")
    tab.fill("#set-system", "Be short.")
    tab.fill("#said", "A <b>cat</b>?")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#speed:has-text('9 tokens')", timeout=90_000)  # the first answer may wait for a compiler
    ids = tuple(lm.tokenizer.encode("system: Be short.\nuser: A <b>cat</b>?\nassistant:"))
    settings = SamplingSettings(max_tokens=9, temperature=0)
    [wanted] = generate(lm.model, [Request(ids, settings, tokenizer=lm.tokenizer)])
    said = tab.locator(".message p").all_text_contents()
    assert said == ["A <b>cat</b>?", wanted.text]
    assert tab.locator(".message b b").count() == 0  # markup stays text

    tab.click("#again")
    tab.wait_for_selector("#speed:has-text('9 tokens')")
    assert tab.locator(".message p").all_text_contents() == said  # greedy says the same once more

    tab.reload()
    tab.get_by_text("Settings").click()
    values = [tab.input_value(f"#set-{name}") for name in ("temperature", "max_tokens", "system")]
    assert values == ["0", "9", "Be short."]

    step = server.service.engine.step

    def slow() -> Any:
        time.sleep(0.1)
        return step()

    monkeypatch.setattr(server.service.engine, "step", slow)
    tab.fill("#set-system", "")
    tab.fill("#set-max_tokens", "15")
    tab.fill("#said", "And a dog?")
    tab.keyboard.press("Enter")
    tab.click("#stop")
    tab.wait_for_selector("text=Stopped.")
    assert tab.is_visible("#send") and not tab.is_visible("#stop")
    tab.click("#clear")
    assert tab.locator(".message").count() == 0


def test_a_model_without_a_template_continues(tabs: Any, tiny: Callable[[str], Path], serve: Any) -> None:
    with serve(tiny("ngram")) as plain:
        tab = tabs.open(plain.url, "chat")
        assert tab.get_by_role("heading", name="Continue a text").is_visible()
        tab.get_by_text("Settings").click()
        assert not tab.is_visible("#set-system")
        tab.fill("#set-max_tokens", "5")
        tab.fill("#said", "The cat")
        tab.click("#send")
        tab.wait_for_selector("#speed:has-text('tokens')", timeout=90_000)
        said = tab.locator("#messages p").inner_text()
        assert said.startswith("The cat") and len(said) > len("The cat")
        tab.goto(f"{plain.url}/#attention")
        tab.wait_for_selector("#trouble:has-text('needs a transformer')")
        tabs.problems.clear()  # the refusal, which the browser tells its console of
        tab.goto(f"{plain.url}/#next")
        tab.wait_for_selector("#next-out li")
        assert not tab.is_visible("#trouble")
        tab.close()


def test_a_key_is_asked_for(browser: Any, tiny: Callable[[str], Path], serve: Any) -> None:
    with serve(tiny("ngram"), api_key="sesame") as locked:
        tab = browser.new_page()
        tab.goto(f"{locked.url}/#tokens")
        for key in ("wrong", "sesame"):
            tab.wait_for_selector("#key:not([hidden])")
            tab.fill("#key-value", key)
            tab.keyboard.press("Enter")
        tab.wait_for_selector("#tokens-out span")
        tab.reload()  # kept in the tab
        tab.wait_for_selector("#tokens-out span")
        assert not tab.is_visible("#key")
        tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_all_is_readable(tabs: Any, server: Any, tmp_path: Path, scheme: str) -> None:
    tab = tabs.open(server.url, "chat", width=375, scheme=scheme)
    for panel in tabs.ready:
        tab.click(f"nav a[href='#{panel}']")
        tab.wait_for_selector(tabs.ready[panel])
        tab.screenshot(path=tmp_path / f"{panel}-{scheme}.png", full_page=True)
        contrast = tab.evaluate(CONTRAST)
        assert contrast["seen"] > 10 and not contrast["poor"], panel
        wide = tab.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{panel} must not scroll sideways"


def test_the_keyboard_is_enough(tabs: Any, server: Any) -> None:
    tab = tabs.open(server.url, "tokens")
    tab.goto(server.url)  # without a fragment, at which Tab would begin
    tab.wait_for_selector(tabs.ready["chat"])
    order = []
    for _ in range(12):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
    assert order[0] == "Skip to the panel" and order[1] == "Chat"
    assert [name.split()[-1] for name in order[2:9]] == [
        "Tokens", "token", "search", "Attention", "lens", "Losses", "Speculation",
    ]  # fmt: skip
    assert order[9] == "said"
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('input, textarea, select')].filter(one => !one.labels.length).map(one => one.id)"
    )
    assert not unnamed
    tab.goto(f"{server.url}/#attention")
    tab.wait_for_selector(".matrix")
    tab.locator("#attention-heads button").first.focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#attention-heads [aria-checked=true]").inner_text() == "head 2"
