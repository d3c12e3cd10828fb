// (b) The next token: bars that the sliders reshape; a click takes a token.

import { ask } from "./api.js";
import { $, el, fixed, percent, slider, svg, visible } from "./dom.js";
import { live } from "./live.js";
import { reshape } from "./reshape.js";

const SHOWN = 20;
const ALL = 101; // the place of the slider for k behind its last number
const AXES = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

let taken = []; // tokens that were chosen behind the text
let behind = null; // the text that they were chosen behind
let found = null;

export function start() {
  const t = slider($("next-t"), (value) => Number(value).toFixed(2));
  const p = slider($("next-p"), (value) => Number(value).toFixed(2));
  $("next-k").max = ALL;
  $("next-k").value = ALL;
  const k = slider($("next-k"), (value) => (kept(value) === Infinity ? "all" : kept(value)));
  const now = () => reshape(
    found.tokens.map((token) => token.logprob), found.rest, t.value(), kept(k.value()), p.value());
  const draw = () => found && show(now(), take);
  const run = live("next", async ({ text }, signal) => {
    if (text !== behind) {
      taken = [];
      behind = text;
      tell();
    }
    const answer = await ask("/lab/next", { text, taken: taken.map((token) => token.id) }, signal);
    found = answer;
    k.tell();
    draw();
  });
  function take(token) {
    taken.push(token);
    tell();
    run();
  }
  for (const name of ["next-t", "next-k", "next-p"]) $(name).addEventListener("input", draw);
  $("next-draw").addEventListener("click", () => found && take(drawn(now())));
  $("next-back").addEventListener("click", () => { taken.pop(); tell(); run(); });
}

// The slider goes by the logarithm: small k are what one looks at.
function kept(place) {
  const count = found ? found.tokens.length : 1;
  return Number(place) === ALL ? Infinity : Math.round(count ** (place / (ALL - 1)));
}

function tell() {
  const text = taken.map(({ shown }) => shown).join("");
  $("next-taken").replaceChildren(...(text ? ["… ", el("b", {}, text)] : []));
  $("next-back").disabled = !taken.length;
}

// One token by its share. What falls on the others, of which only the number is known here, is drawn again.
function drawn({ shares, others }) {
  let u = (crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32) * (1 - others);
  return found.tokens[shares.findIndex((share) => (u -= share) < 0)] ?? found.tokens[0];
}

function show({ shares, others, left }, take) {
  const before = found.tokens.map((token) => Math.exp(token.logprob));
  const most = Math.max(...shares, ...before);
  const axis = AXES.findLast((end) => end >= most - 1e-9) ?? 1;
  const rows = found.tokens.slice(0, SHOWN).map((token, place) => {
    const share = shares[place];
    const bar = svg("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": true },
      svg("rect", { class: "bar", y: 2, height: 12, width: (100 * share) / axis }),
      svg("line", { class: "was", x1: (100 * before[place]) / axis, x2: (100 * before[place]) / axis, y1: 0, y2: 16,
        "vector-effect": "non-scaling-stroke" }));
    const name = token.id === found.ends ? `${visible(token.shown)} (end)` : visible(token.shown);
    return el("li", {}, el("button", {
      type: "button", class: share ? "" : "cut", "data-id": token.id, "data-share": share, onclick: () => take(token),
      "aria-label": `${name}, ${percent(share)}, take it`,
    }, el("span", { class: "name" }, name), bar, el("span", { class: "share" }, share ? percent(share) : "cut off")));
  });
  $("next-out").replaceChildren(...rows);
  const beyond = others + shares.slice(SHOWN).reduce((sum, share) => sum + share, 0);
  $("next-rest").textContent = `${fixed(left, 0)} of ${fixed(found.vocab_size, 0)} tokens are left; `
    + `those not shown have ${percent(beyond)}. The axis ends at ${percent(axis)}; a stroke marks p at T = 1.`;
}
