// (d) Attention: the heads of a layer side by side, one of them large, and what one token takes from each.

import { ask } from "./api.js";
import { $, DEEPEST, el, percent, short, slider, svg, visible } from "./dom.js";
import { live } from "./live.js";

const LEVELS = 16; // of opacity: a path for each is lighter than a rectangle for each weight
const CELL = 18; // units of the large picture
const NAME = 11; // letters of a token beside it
const LETTER = 7.2; // their width
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const state = { head: 0, query: 0, key: 0, found: null };

export function start(model) {
  const pairs = model.kind === "encoder-decoder";
  $("attention-map").closest("label").hidden = !pairs;
  $("attention-layer").max = Math.max(0, model.layers - 1);
  const layer = slider($("attention-layer"), (value) => `${Number(value) + 1} of ${model.layers || 1}`);
  const run = live("attention", async (body, signal) => {
    const map = pairs ? $("attention-map").value : "own";
    state.found = await ask("/lab/attention", { ...body, layer: layer.value(), map }, signal);
    const { weights, queries, keys } = state.found;
    state.head = Math.min(state.head, weights.length - 1);
    state.query = queries.length - 1;
    state.key = 0;
    heads(weights, queries.length, keys.length);
    large();
  }, { written: pairs });
  for (const name of ["attention-layer", "attention-map"]) $(name).addEventListener("input", run);
}

function heads(weights, height, width) {
  const buttons = weights.map((head, number) => el("button", {
    type: "button", role: "radio", "aria-checked": number === state.head, tabindex: number === state.head ? 0 : -1,
    onclick: () => choose(number),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose((number + step + weights.length) % weights.length);
    },
  }, svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": true }, ...cells(head, 1)), `head ${number + 1}`));
  function choose(number) {
    state.head = number;
    buttons.forEach((button, place) => {
      button.setAttribute("aria-checked", place === number);
      button.tabIndex = place === number ? 0 : -1;
    });
    buttons[number].focus();
    large();
  }
  $("attention-heads").replaceChildren(...buttons);
}

// The weights of a head as squares. Opacity is the root of the weight, so that small ones are seen.
function cells(head, size) {
  const paths = Array.from({ length: LEVELS + 1 }, () => "");
  head.forEach((row, y) => row.forEach((weight, x) => {
    paths[Math.round(Math.sqrt(weight) * LEVELS)] += `M${x * size} ${y * size}h${size}v${size}h${-size}z`;
  }));
  return paths.map((d, level) => level && d
    ? svg("path", { d, class: "weight", "fill-opacity": level / LEVELS }) : null);
}

function large() {
  const { weights, queries, keys } = state.found;
  const [names, tops] = [queries, keys].map((tokens) => tokens.map((token) => short(visible(token), NAME)));
  const [left, above] = [names, tops].map((all) => 12 + LETTER * Math.max(...all.map((name) => name.length)));
  const width = CELL * keys.length, height = CELL * queries.length;
  const labels = names.map((name, y) => svg("text", { x: -6, y: (y + 0.5) * CELL + 4, "text-anchor": "end" }, name));
  const heads = tops.map((name, x) => svg("text", {
    transform: `translate(${(x + 0.5) * CELL + 4} -6) rotate(-90)`,
  }, name));
  const at = svg("rect", { class: "at", width: CELL, height: CELL });
  const row = svg("rect", { class: "at", x: 0, width, height: CELL, "stroke-opacity": 0.4 });
  const picture = svg("svg", {
    class: "matrix", tabindex: 0, role: "application",
    viewBox: `${-left} ${-above} ${left + width + 2} ${above + height + 2}`,
    "aria-label": `Head ${state.head + 1}: up and down choose the token that asks, left and right one that it sees`,
    onpointermove: (event) => point(event), onpointerdown: (event) => point(event),
    onkeydown: (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      look(state.query + step[0], state.key + step[1]);
    },
  }, svg("rect", { class: "frame", width, height }), ...cells(weights[state.head], CELL), row, at, ...labels, ...heads);
  picture.style.maxWidth = `${Math.min(34, Math.max(16, (left + width) / 11))}rem`;

  function point(event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    if (place.x < 0 && place.y >= 0) look(Math.floor(place.y / CELL), state.key);
    else if (place.x >= 0 && place.y >= 0) look(Math.floor(place.y / CELL), Math.floor(place.x / CELL));
  }
  function look(query, key) {
    state.query = Math.max(0, Math.min(queries.length - 1, query));
    state.key = Math.max(0, Math.min(keys.length - 1, key));
    at.setAttribute("x", state.key * CELL);
    at.setAttribute("y", state.query * CELL);
    row.setAttribute("y", state.query * CELL);
    labels.forEach((label, place) => label.classList.toggle("on", place === state.query));
    heads.forEach((label, place) => label.classList.toggle("on", place === state.key));
    tell();
  }
  $("attention-out").replaceChildren(picture);
  look(state.query, state.key);
}

function tell() {
  const { weights, queries, keys } = state.found;
  const row = weights[state.head][state.query];
  $("attention-about").textContent = `${visible(queries[state.query])} takes ${percent(row[state.key])} from `
    + `${visible(keys[state.key])} (head ${state.head + 1})`;
  const own = keys === queries || keys.join() === queries.join();
  $("attention-words").replaceChildren(...keys.map((token, place) => el("span", {
    role: "listitem", "--w": DEEPEST * Math.sqrt(row[place]), "data-weight": row[place],
    "aria-current": own && place === state.query ? "true" : null,
  }, token.replaceAll("\n", "↵"), el("small", {}, row[place] ? percent(row[place]) : "·"))));
}
