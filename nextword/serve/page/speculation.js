// (g) Speculative decoding: a line for each step of the model, with what the draft had guessed.

import { ask } from "./api.js";
import { $, el, figures, fixed, percent, slider, visible } from "./dom.js";
import { live } from "./live.js";

export function start() {
  const tokens = slider($("speculation-tokens")), draft = slider($("speculation-draft"));
  const temperature = slider($("speculation-temperature"), (value) => Number(value).toFixed(1));
  const run = live("speculation", async ({ text }, signal) => {
    show(await ask("/lab/speculation", {
      text, tokens: tokens.value(), guesses: draft.value(), temperature: temperature.value(),
    }, signal));
  }, { waits: true });
  $("speculation-run").addEventListener("click", run);
}

function show({ rounds, source }) {
  const drafted = rounds.reduce((sum, round) => sum + round.draft.length, 0);
  const accepted = rounds.reduce((sum, round) => sum + round.draft.filter((token) => token.accepted).length, 0);
  const made = accepted + rounds.filter((round) => round.own).length;
  figures($("speculation-figures"), [
    ["steps of the model", String(rounds.length)],
    ["tokens a step", rounds.length ? fixed(made / rounds.length) : "–"],
    ["guesses accepted", drafted ? `${accepted} of ${drafted}, ${percent(accepted / drafted)}` : "none were made"],
    ["draft", source],
  ]);
  const legend = el("li", { class: "legend" }, el("span", { class: "accepted" }, "accepted"),
    el("span", { class: "rejected" }, "rejected"), el("span", { class: "own" }, "the model's own"));
  $("speculation-out").replaceChildren(legend, ...rounds.map(({ draft, own }, number) => el("li", {},
    el("span", { class: "number" }, String(number + 1)),
    ...draft.map(({ shown, accepted }) => el("span", { class: accepted ? "accepted" : "rejected" }, visible(shown))),
    own && el("span", { class: "own" }, visible(own.shown)))));
}
