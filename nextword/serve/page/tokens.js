// (a) Tokens: neighbours differ in tint; the same token elsewhere is outlined together with the one looked at.

import { ask } from "./api.js";
import { $, el, figures, fixed, rove, visible } from "./dom.js";
import { live } from "./live.js";

const TINTS = [7, 16];

export function start() {
  live("tokens", async ({ text }, signal) => {
    const found = await ask("/lab/tokens", { text }, signal);
    const { tokens } = found;
    figures($("tokens-figures"), [
      ["tokens", fixed(tokens.length, 0)],
      ["characters", fixed(found.characters, 0)],
      ["bytes a token", tokens.length ? fixed(found.bytes / tokens.length) : "–"],
      ["vocabulary V", fixed(found.vocab_size, 0)],
    ]);
    const chips = tokens.map((token, place) => el("span", { role: "listitem", "--w": TINTS[place % 2] },
      token.shown.replaceAll("\n", "↵"), el("small", {}, String(token.id))));
    const ends = tokens.map((token) => token.shown.endsWith("\n"));
    $("tokens-out").replaceChildren(...chips.flatMap((chip, place) =>
      ends[place] ? [chip, el("span", { class: "line" })] : [chip]));
    const same = new Map();
    tokens.forEach((token, place) => same.set(token.id, [...(same.get(token.id) ?? []), place]));
    $("tokens-about").textContent = "";
    rove(chips, (place) => {
      const token = tokens[place], places = same.get(token.id);
      chips.forEach((chip) => chip.classList.remove("same"));
      places.forEach((other) => chips[other].classList.add("same"));
      $("tokens-about").textContent = `${visible(token.shown)}  is token ${token.id}, written ${token.name} in the `
        + `vocabulary; bytes ${token.first_byte} to ${token.last_byte}` + (places.length > 1
          ? `; ${places.length} times in this text` : "");
    });
  });
}
