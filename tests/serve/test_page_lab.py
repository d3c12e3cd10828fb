"""The laboratory of the page in a real browser: every panel is used, and its numbers are Python's."""

from typing import Any

import pytest
import torch

from nextword.decode import chain
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine.request import Request
from nextword.engine.step import PlainSteps
from nextword.probe.attention import attention_maps
from nextword.probe.lens import lens

TEXT = "The cat sat."


def percent(share: Any) -> str:
    """As the page writes it."""
    share = float(share)
    if 0 < share < 1e-4:
        return "< 0.01 %"
    return f"{100 * share:.1f} %" if share >= 0.0995 else f"{100 * share:#.2g} %"


def ids_of(lm: Any, text: str) -> list[int]:
    return [lm.tokenizer.bos_id, *lm.tokenizer.encode(text)]


def test_tokens(tabs: Any, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "tokens")
    text = "The cat <i>☕</i>"
    tabs.write(tab, "tokens", text)
    tabs.wait(tab, "#tokens-out small", len(lm.tokenizer.encode(text)))
    assert [int(number) for number in tab.locator("#tokens-out small").all_text_contents()] == lm.tokenizer.encode(text)
    first = lm.tokenizer.encode(text)[0]
    tab.locator("#tokens-out span").first.focus()
    assert f"is token {first}," in tab.inner_text("#tokens-about")
    tab.keyboard.press("ArrowRight")
    assert f"is token {lm.tokenizer.encode(text)[1]}," in tab.inner_text("#tokens-about")


def test_next_token(tabs: Any, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "next")
    tabs.write(tab, "next", TEXT)

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
    tabs.settle(tab, "next")
    agree([*ids, taken])
    for button in ("draw", "back", "back"):
        with tab.expect_response("**/lab/next"):
            tab.click(f"#next-{button}")
        tabs.settle(tab, "next")
    assert tab.is_disabled("#next-back")


def test_attention(tabs: Any, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "attention")
    tabs.write(tab, "attention", TEXT)
    ids = ids_of(lm, TEXT)
    maps_LHTT = attention_maps(lm.model, ids).own_LHTT
    tabs.wait(tab, "#attention-words span", len(ids))

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
    tabs.settle(tab, "attention")
    assert (weights() - maps_LHTT[1, 2, -1]).abs().max() < 1e-5


def test_lens(tabs: Any, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "lens")
    tabs.write(tab, "lens", TEXT)
    ids = ids_of(lm, TEXT)
    tabs.wait(tab, "#lens-out td", 3 * len(ids))
    best_LT = torch.stack([logits_TV.softmax(-1).max(-1).values for logits_TV in lens(lm.model, ids)])
    found = tab.locator("#lens-out td").evaluate_all("all => all.map(one => Number(one.dataset.p))")
    assert (torch.tensor(found).view(3, -1).flip(0) - best_LT).abs().max() < 1e-5  # the last layer is on top
    assert tab.locator("#lens-out tr").first.locator("td.said").count() == len(ids)
    tab.locator("#lens-out td").first.focus()
    tab.keyboard.press("ArrowDown")
    assert tab.inner_text("#lens-about").startswith("layer 1, at")
    assert percent(best_LT[1, 0]) in tab.inner_text("#lens-about")


def test_losses(tabs: Any, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "losses")
    tabs.write(tab, "losses", TEXT)
    scored = lm.score(TEXT)
    tabs.wait(tab, "#losses-out span", len(scored))
    figures = lm.perplexity(TEXT)
    assert f"{figures['perplexity']:,.2f}" in tab.inner_text("#losses-figures")
    tab.locator("#losses-out span").nth(2).hover()
    assert f"loss {-scored[2].logprob:.3f} nats" in tab.inner_text("#losses-about")
    depths = tab.locator("#losses-out span").evaluate_all("all => all.map(one => one.style.getPropertyValue('--w'))")
    order = sorted(range(len(scored)), key=lambda place: float(depths[place]))
    deep = [max(one.logprob, -10) for one in scored]  # where the scale ends
    assert [deep[place] for place in order] == sorted(deep, reverse=True)


def test_beam(tabs: Any, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "beam")
    tabs.write(tab, "beam", TEXT)
    with tab.expect_response("**/lab/beam") as answer:
        tab.focus("#beam-tokens")
        tab.keyboard.press("ArrowLeft")
        tab.locator("#beam-tokens").blur()
    found = answer.value.json()
    tabs.settle(tab, "beam")
    tabs.wait(tab, "#beam-out [data-id]", len(found["nodes"]))
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


def test_speculation(tabs: Any, server: Any, lm: Any) -> None:
    tab = tabs.open(server.url, "speculation")
    tab.fill("#speculation-text", "cat cat cat cat")
    tab.focus("#speculation-run")
    with tab.expect_response("**/lab/speculation") as answer:
        tab.keyboard.press("Enter")
    found = answer.value.json()
    tabs.settle(tab, "speculation")
    drafted = [token["accepted"] for one in found["rounds"] for token in one["draft"]]
    tabs.wait(tab, "#speculation-out li", len(found["rounds"]) + 1)
    shown = "#speculation-out li:not(.legend)"
    counts = [tab.locator(f"{shown} .{kind}").count() for kind in ("accepted", "rejected", "own")]
    own = sum(one["own"] is not None for one in found["rounds"])
    assert drafted and counts == [sum(drafted), len(drafted) - sum(drafted), own]
    assert f"{sum(drafted)} of {len(drafted)}" in tab.inner_text("#speculation-figures")
