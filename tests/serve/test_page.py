"""The page in a real browser: every panel is used, its numbers are Python's, nothing is fetched from elsewhere."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword as nw
from nextword.decode import chain
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine.generate import generate
from nextword.engine.request import Request
from nextword.engine.step import PlainSteps
from nextword.probe.attention import attention_maps
from nextword.probe.lens import lens

TEXT = "The cat sat."
PANELS = ["chat", "tokens", "next", "beam", "attention", "lens", "losses", "speculation"]
READY = {
    "chat": "#chat:not([inert]) #send",
    "tokens": "#tokens-out span",
    "next": "#next-out li",
    "beam": "#beam-out .won",
    "attention": ".matrix",
    "lens": "#lens-out td",
    "losses": "#losses-out span",
    "speculation": "#speculation-run",
}
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def lm(talking: Path) -> Any:
    return nw.load(talking)


class Tabs:
    """Opens tabs and watches them: no error in any console, no request to another host."""

    def __init__(self, browser: Any) -> None:
        self.browser, self.problems, self.requests, self.hosts = browser, [], [], set()

    def open(self, url: str, panel: str, width: int = 1100, scheme: str = "light") -> Any:
        context = self.browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tab = context.new_page()
        tab.set_default_timeout(8000)
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("console", lambda said: self.problems.append(said.text) if said.type in {"error", "warning"} else None)
        tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.hosts.add(url)
        tab.goto(f"{url}/#{panel}")
        tab.wait_for_selector(READY[panel])
        return tab


@pytest.fixture
def tabs(browser: Any, tmp_path: Path) -> Iterator[Tabs]:
    found = Tabs(browser)
    yield found
    for context in browser.contexts:
        for number, tab in enumerate(context.pages):
            tab.screenshot(path=tmp_path / f"{browser.contexts.index(context)}-{number}.png", full_page=True)
        context.close()
    assert not found.problems
    assert found.requests and all(url.startswith(tuple(found.hosts)) for url in found.requests)


def write(tab: Any, panel: str, text: str) -> None:
    """A text into a panel, whose answer is waited for."""
    with tab.expect_response(lambda answer: answer.url.endswith(f"/lab/{panel}") and text in answer.request.post_data):
        tab.fill(f"#{panel}-text", text)
    settle(tab, panel)


def settle(tab: Any, panel: str) -> None:
    """Until a panel has drawn its answer, which it does a while after the answer has come."""
    tab.wait_for_selector(f"#{panel}:not([aria-busy])")


def wait(tab: Any, selector: str, count: int) -> None:
    """Until there are so many; without evaluating anything in the page, which its policy forbids."""
    for _ in range(200):
        if tab.locator(selector).count() == count:
            return
        tab.wait_for_timeout(20)
    pytest.fail(f"{tab.locator(selector).count()} of {selector}, not {count}")


def percent(share: Any) -> str:
    """As the page writes it."""
    share = float(share)
    if 0 < share < 1e-4:
        return "< 0.01 %"
    return f"{100 * share:.1f} %" if share >= 0.0995 else f"{100 * share:#.2g} %"


def ids_of(lm: Any, text: str) -> list[int]:
    return [lm.tokenizer.bos_id, *lm.tokenizer.encode(text)]


def test_chat(tabs: Tabs, server: Any, lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_model_without_a_template_continues(tabs: Tabs, tiny: Callable[[str], Path], serve: Any) -> None:
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


def test_tokens(tabs: Tabs, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "tokens")
    text = "The cat <i>☕</i>"
    write(tab, "tokens", text)
    wait(tab, "#tokens-out small", len(lm.tokenizer.encode(text)))
    assert [int(number) for number in tab.locator("#tokens-out small").all_text_contents()] == lm.tokenizer.encode(text)
    first = lm.tokenizer.encode(text)[0]
    tab.locator("#tokens-out span").first.focus()
    assert f"is token {first}," in tab.inner_text("#tokens-about")
    tab.keyboard.press("ArrowRight")
    assert f"is token {lm.tokenizer.encode(text)[1]}," in tab.inner_text("#tokens-about")


def test_next_token(tabs: Tabs, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "next")
    write(tab, "next", TEXT)

    def shares() -> dict[int, float]:
        rows = tab.locator("#next-out button").evaluate_all("all => all.map(b => [b.dataset.id, b.dataset.share])")
        return {int(number): float(share) for number, share in rows}

    def wanted(ids: list[int], **settings: Any) -> torch.Tensor:
        logits_BV, _ = PlainSteps(lm.model).prefill([ids], len(ids))
        row = Request(tuple(ids), SamplingSettings(**settings)).row(0, lm.model)
        return chain.process(logits_BV, [row.history])[0].double().softmax(-1)

    def slide(name: str, value: str) -> None:
        tab.locator(f"#next-{name}").evaluate(
            "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')) }", value
        )

    def kept() -> int:
        return int(tab.locator("label:has(#next-k) .value").inner_text())

    def agree(ids: list[int], **settings: Any) -> None:
        p_V = wanted(ids, **settings)
        found = shares()
        assert len(found) == 20
        for number, share in found.items():
            assert share == pytest.approx(float(p_V[number]), abs=1e-6), settings

    ids = ids_of(lm, TEXT)
    agree(ids)
    slide("t", "0.5")
    agree(ids, temperature=0.5)
    slide("k", "40")
    agree(ids, temperature=0.5, top_k=kept())
    slide("p", "0.6")
    agree(ids, temperature=0.5, top_k=kept(), top_p=0.6)
    slide("k", "101")
    slide("t", "2")
    slide("p", "0.9")
    agree(ids, temperature=2.0, top_p=0.9)
    slide("t", "0")
    assert sorted(shares().values())[-2:] == [0.0, 1.0]

    slide("t", "1")
    slide("p", "1")
    second = tab.locator("#next-out button").nth(1)
    taken = int(second.get_attribute("data-id"))
    with tab.expect_response("**/lab/next"):
        second.focus()
        tab.keyboard.press("Enter")
    tab.wait_for_selector("#next-taken b")
    settle(tab, "next")
    agree([*ids, taken])
    for button in ("draw", "back", "back"):
        with tab.expect_response("**/lab/next"):
            tab.click(f"#next-{button}")
        settle(tab, "next")
    assert tab.is_disabled("#next-back")


def test_attention(tabs: Tabs, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "attention")
    write(tab, "attention", TEXT)
    ids = ids_of(lm, TEXT)
    maps_LHTT = attention_maps(lm.model, ids).own_LHTT
    wait(tab, "#attention-words span", len(ids))

    def weights() -> torch.Tensor:
        found = tab.locator("#attention-words span").evaluate_all("all => all.map(one => Number(one.dataset.weight))")
        return torch.tensor(found)

    assert (weights() - maps_LHTT[0, 0, -1]).abs().max() < 1e-5
    tab.focus(".matrix")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowRight")
    assert (weights() - maps_LHTT[0, 0, -2]).abs().max() < 1e-5
    assert f"takes {percent(maps_LHTT[0, 0, -2, 1])} from" in tab.inner_text("#attention-about")

    tab.locator("#attention-heads button").nth(2).click()
    assert (weights() - maps_LHTT[0, 2, -2]).abs().max() < 1e-5
    tab.locator(".matrix").scroll_into_view_if_needed()
    box = tab.locator(".matrix .frame").bounding_box()
    cell = box["width"] / len(ids)
    tab.mouse.move(box["x"] + 1.5 * cell, box["y"] + 3.5 * cell)  # the fourth token asks, the second is asked
    assert (weights() - maps_LHTT[0, 2, 3]).abs().max() < 1e-5
    assert f"takes {percent(maps_LHTT[0, 2, 3, 1])} from" in tab.inner_text("#attention-about")
    with tab.expect_response("**/lab/attention"):
        tab.focus("#attention-layer")
        tab.keyboard.press("ArrowRight")
    settle(tab, "attention")
    assert (weights() - maps_LHTT[1, 2, -1]).abs().max() < 1e-5


def test_lens(tabs: Tabs, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "lens")
    write(tab, "lens", TEXT)
    ids = ids_of(lm, TEXT)
    wait(tab, "#lens-out td", 3 * len(ids))
    best_LT = torch.stack([logits_TV.softmax(-1).max(-1).values for logits_TV in lens(lm.model, ids)])
    found = tab.locator("#lens-out td").evaluate_all("all => all.map(one => Number(one.dataset.p))")
    assert (torch.tensor(found).view(3, -1).flip(0) - best_LT).abs().max() < 1e-5  # the last layer is on top
    assert tab.locator("#lens-out tr").first.locator("td.said").count() == len(ids)
    tab.locator("#lens-out td").first.focus()
    tab.keyboard.press("ArrowDown")
    assert tab.inner_text("#lens-about").startswith("layer 1, at")
    assert percent(best_LT[1, 0]) in tab.inner_text("#lens-about")


def test_losses(tabs: Tabs, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "losses")
    write(tab, "losses", TEXT)
    scored = lm.score(TEXT)
    wait(tab, "#losses-out span", len(scored))
    figures = lm.perplexity(TEXT)
    assert f"{figures['perplexity']:,.2f}" in tab.inner_text("#losses-figures")
    tab.locator("#losses-out span").nth(2).hover()
    assert f"loss {-scored[2].logprob:.3f} nats" in tab.inner_text("#losses-about")
    depths = tab.locator("#losses-out span").evaluate_all("all => all.map(one => one.style.getPropertyValue('--w'))")
    order = sorted(range(len(scored)), key=lambda place: float(depths[place]))
    deep = [max(one.logprob, -10) for one in scored]  # where the scale ends
    assert [deep[place] for place in order] == sorted(deep, reverse=True)


def test_beam(tabs: Tabs, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "beam")
    write(tab, "beam", TEXT)
    with tab.expect_response("**/lab/beam") as answer:
        tab.focus("#beam-tokens")
        tab.keyboard.press("ArrowLeft")
        tab.locator("#beam-tokens").blur()
    found = answer.value.json()
    settle(tab, "beam")
    wait(tab, "#beam-out [data-id]", len(found["nodes"]))
    edges = tab.locator("#beam-out [data-id]").evaluate_all(
        "all => all.map(g => [Number(g.dataset.id), Number(g.dataset.logprob), g.querySelector('.score').textContent])"
    )
    wanted = sorted((node["id"], node["logprob"], f"{node['logprob']:.2f}") for node in found["nodes"])
    assert sorted(map(tuple, edges)) == wanted
    strategy = StrategySettings(strategy="beam", beams=3, n=3)
    settings = SamplingSettings(max_tokens=4, temperature=0)
    [asked] = lm.continuations([TEXT], settings, strategy=strategy)
    said = tab.locator("#beam-best li").all_inner_texts()
    assert [float(line.split()[0]) for line in said] == pytest.approx([one.score for one in asked.best], abs=6e-4)
    assert tab.locator("#beam-out .won").count() == 1 + 4  # the text and a token for each step
    tab.locator("#beam-out [data-id]").first.focus()
    tab.keyboard.press("ArrowRight")
    assert "log p = " in tab.inner_text("#beam-about")


def test_speculation(tabs: Tabs, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "speculation")
    tab.fill("#speculation-text", "cat cat cat cat")
    tab.focus("#speculation-run")
    with tab.expect_response("**/lab/speculation") as answer:
        tab.keyboard.press("Enter")
    found = answer.value.json()
    settle(tab, "speculation")
    drafted = [token["accepted"] for one in found["rounds"] for token in one["draft"]]
    wait(tab, "#speculation-out li", len(found["rounds"]) + 1)
    shown = "#speculation-out li:not(.legend)"
    counts = [tab.locator(f"{shown} .{kind}").count() for kind in ("accepted", "rejected", "own")]
    own = sum(one["own"] is not None for one in found["rounds"])
    assert drafted and counts == [sum(drafted), len(drafted) - sum(drafted), own]
    assert f"{sum(drafted)} of {len(drafted)}" in tab.inner_text("#speculation-figures")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_all_is_readable(tabs: Tabs, server: Any, tmp_path: Path, scheme: str) -> None:
    tab = tabs.open(server.url, "chat", width=375, scheme=scheme)
    for panel in PANELS:
        tab.click(f"nav a[href='#{panel}']")
        tab.wait_for_selector(READY[panel])
        tab.screenshot(path=tmp_path / f"{panel}-{scheme}.png", full_page=True)
        contrast = tab.evaluate(CONTRAST)
        assert contrast["seen"] > 10 and not contrast["poor"], panel
        wide = tab.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{panel} must not scroll sideways"


def test_the_keyboard_is_enough(tabs: Tabs, server: Any) -> None:
    tab = tabs.open(server.url, "tokens")
    tab.goto(server.url)  # without a fragment, at which Tab would begin
    tab.wait_for_selector(READY["chat"])
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
