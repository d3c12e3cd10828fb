// (f) Losses: the deeper the colour, the more surprised the model was.

import { ask } from "./api.js";
import { $, DEEPEST, el, figures, fixed, percent, rove, svg, visible } from "./dom.js";
import { live } from "./live.js";

const MOST = 10; // nats at which it is reached

export function start() {
  scale($("losses-scale"));
  live("losses", async ({ text }, signal) => {
    const found = await ask("/lab/losses", { text }, signal);
    figures($("losses-figures"), [
      ["mean loss", `${fixed(found.loss, 3)} nats`],
      ["perplexity", fixed(found.perplexity)],
      ["bits per byte", fixed(found.bits_per_byte, 3)],
      ["tokens", fixed(found.tokens.length, 0)],
    ]);
    const chips = found.tokens.map(({ shown, logprob }) => el("span", { role: "listitem", "--w": depth(logprob) },
      shown.replaceAll("\n", "↵")));
    $("losses-out").replaceChildren(...chips.flatMap((chip, place) =>
      found.tokens[place].shown.endsWith("\n") ? [chip, el("span", { class: "line" })] : [chip]));
    $("losses-about").textContent = "";
    rove(chips, (place) => {
      const { shown, logprob } = found.tokens[place];
      $("losses-about").textContent = `${visible(shown)}  ` + (logprob === null
        ? "has nothing before it" : `p = ${percent(Math.exp(logprob))}, loss ${fixed(-logprob, 3)} nats`);
    });
  });
}

const depth = (logprob) => (logprob === null ? 0 : (DEEPEST * Math.min(-logprob, MOST)) / MOST);

function scale(box) {
  const steps = Array.from({ length: 20 }, (_, step) => svg("rect", {
    x: step * 5, width: 5, height: 8, class: "weight", "fill-opacity": ((DEEPEST / 100) * (step + 0.5)) / 20,
  }));
  box.replaceChildren(svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", height: 8, "aria-hidden": true },
    ...steps), el("div", {}, `0 nats … ${MOST} and more`));
}
