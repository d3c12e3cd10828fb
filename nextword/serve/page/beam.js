// (c) Beam search: the tree of all that was considered; what was pruned is grey, the best text in colour.

import { ask } from "./api.js";
import { $, el, fixed, rove, short, slider, svg, visible } from "./dom.js";
import { live } from "./live.js";

const COLUMN = 138, ROW = 30, LETTER = 8, NAME = 9;
const MARGIN = 18;
const FATES = { kept: "kept", ended: "a text that has ended", pruned: "pruned" };

export function start() {
  const beams = slider($("beam-beams")), tokens = slider($("beam-tokens"));
  const alpha = slider($("beam-alpha"), (value) => Number(value).toFixed(1));
  const run = live("beam", async ({ text }, signal) => {
    const body = { text, beams: beams.value(), tokens: tokens.value(), length_penalty: alpha.value() };
    const found = await ask("/lab/beam", body, signal);
    draw(found);
    best(found.best);
  });
  for (const name of ["beam-beams", "beam-tokens", "beam-alpha"]) $(name).addEventListener("change", run);
}

// nodes: {parent, id, shown, logprob, sum, fate}, a parent before its children; parent -1 is the text itself.
function draw({ nodes, best: texts }) {
  const root = { shown: "…", children: [], depth: 0, kept: true, name: "text" };
  const all = nodes.map((node) => ({
    ...node, kept: node.fate !== "pruned", children: [], name: short(visible(node.shown), NAME),
  }));
  for (const node of all) {
    node.above = node.parent < 0 ? root : all[node.parent];
    node.depth = node.above.depth + 1;
    node.above.children.push(node);
  }
  for (let node = all[texts[0]?.node]; node; node = node.above) node.won = true;
  root.won = true;
  const rows = place(root, 0);
  const columns = Math.max(0, ...all.map((node) => node.depth));
  const width = MARGIN + (columns + 1) * COLUMN, height = rows * ROW + 8;
  const drawn = all.map((node) => group(node));
  const picture = svg("svg", { class: "tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": "Tree of beams; arrows go through its nodes" },
    svg("g", { class: "kept won" }, svg("text", { class: "name", x: MARGIN, y: root.y + 4 }, root.name)),
    ...all.map((node, at) => [node, drawn[at]]).sort(([a], [b]) => rank(a) - rank(b)).map(([, one]) => one));
  $("beam-out").replaceChildren(picture);
  $("beam-about").textContent = "Grey was pruned; on each edge stands log p of the token.";
  rove(drawn, (at) => {
    const node = all[at];
    $("beam-about").textContent = `${pathOf(node)}   log p = ${fixed(node.logprob, 3)}, sum ${fixed(node.sum, 3)}; `
      + FATES[node.fate];
  });
}

const rank = (node) => (node.won ? 2 : node.kept ? 1 : 0); // drawn last lies on top

// Leaves stand one below the other, a node in the middle of its children. Gives the next free row.
function place(node, row) {
  if (!node.children.length) {
    node.y = row * ROW + ROW / 2;
    return row + 1;
  }
  for (const child of node.children) row = place(child, row);
  node.y = (node.children[0].y + node.children.at(-1).y) / 2;
  return row;
}

function group(node) {
  const x = MARGIN + node.depth * COLUMN;
  const from = x - COLUMN + node.above.name.length * LETTER + 6;
  const end = x - 6, bend = (end - from) / 2, up = node.above.y;
  const kind = [node.kept ? "kept" : "pruned", node.won ? "won" : ""].join(" ").trim();
  return svg("g", { class: kind, role: "img", "aria-label": `${visible(node.shown)}, log p ${fixed(node.logprob)}`,
    "data-id": node.id, "data-logprob": node.logprob },
    svg("path", { d: `M${from} ${up}C${from + bend} ${up} ${from + bend} ${node.y} ${end} ${node.y}` }),
    svg("text", { class: "score back", x: end - 2, y: node.y - 4, "text-anchor": "end" }, fixed(node.logprob)),
    svg("text", { class: "name", x, y: node.y + 4 }, node.name));
}

function pathOf(node) {
  const words = [];
  for (let at = node; at.above; at = at.above) words.unshift(at.shown);
  return words.join("");
}

function best(texts) {
  const lines = texts.map(({ text, score }) => el("li", {}, `${fixed(score, 3)}  ${visible(text)}`));
  $("beam-best").replaceChildren(...lines);
}
