// (e) Logit lens: a table of layers and tokens, the model's own answer on top.

import { ask } from "./api.js";
import { $, DEEPEST, el, fixed, percent, rove, visible } from "./dom.js";
import { live } from "./live.js";

export function start(model) {
  live("lens", async (body, signal) => {
    const found = await ask("/lab/lens", body, signal);
    const { rows, tokens } = found, depth = rows.length - 1;
    const cells = [];
    const lines = rows.map((row, layer) => [row, layer]).reverse().map(([row, layer]) => el("tr", {},
      el("th", { scope: "row" }, nameOf(layer, depth)), ...row.map((cell, place) => {
        const best = cell.top[0];
        cells.push({ layer, place, cell, td: el("td", {
          "--w": DEEPEST * best.p, class: cell.said === 0 ? "said" : "", "data-p": best.p,
        }, visible(best.shown)) });
        return cells.at(-1).td;
      })));
    const foot = el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "the token"),
      ...tokens.map((token) => el("th", { scope: "col" }, visible(token)))));
    $("lens-out").replaceChildren(el("tbody", {}, ...lines), foot);
    $("lens-about").textContent = `Bold: what the model itself says ${found.next ? "comes next" : "stands there"}. `
      + "The deeper the colour, the surer the layer.";
    rove(cells.map(({ td }) => td), (number) => {
      const { layer, place, cell } = cells[number];
      const likeliest = cell.top.map(({ shown, p }) => `${visible(shown)} ${percent(p)}`).join("   ");
      $("lens-about").textContent = `${nameOf(layer, depth)}, at ${visible(tokens[place])}:   ${likeliest}   `
        + `(${fixed(cell.nats)} nats of entropy; the model's own choice is number ${cell.said + 1})`;
    }, tokens.length);
  }, { written: model.kind === "encoder-decoder" });
}

function nameOf(layer, depth) {
  if (layer === 0) return "embedding";
  return layer === depth ? `layer ${layer}, the model` : `layer ${layer}`;
}
