// Elements, made without ever parsing text as markup: whatever a model says stays text.

const SVG = "http://www.w3.org/2000/svg";

export const DEEPEST = 45; // percent of the accent behind text, which must stay readable

export const $ = (id) => document.getElementById(id);

// An element; `attributes` beginning with "on" are listeners, with "--" properties of its style.
export const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

function fill(node, attributes = {}, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// A token in a label: its spaces and line ends are seen.
export const visible = (shown) => shown.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";

export const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

export function percent(p) {
  if (p > 0 && p < 1e-4) return "< 0.01 %";
  return (p >= 0.0995 ? (100 * p).toFixed(1) : (100 * p).toPrecision(2)) + " %";
}

export const fixed = (number, digits = 2) => number.toLocaleString("en", {
  minimumFractionDigits: digits, maximumFractionDigits: digits,
});

export function figures(list, pairs) {
  list.replaceChildren(...pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

// Sliders say what they stand at, to the eye and to a screen reader.
export function slider(input, said = (value) => value) {
  const output = input.closest("label").querySelector(".value");
  const tell = () => {
    output.textContent = said(input.value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", tell);
  tell();
  return { tell, value: () => Number(input.value) };
}

// Many things to look at are one stop of the Tab key; arrows go from one to the next. `pick` gets the one in focus or
// under the pointer. `columns`: how far up and down lead, in a grid.
export function rove(items, pick, columns = 0) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns || 1, ArrowUp: -columns || -1 };
  items.forEach((item, place) => {
    item.tabIndex = place ? -1 : 0;
    item.addEventListener("pointerenter", () => pick(place));
    item.addEventListener("focus", () => pick(place));
    item.addEventListener("keydown", (event) => {
      const next = items[place + steps[event.key]];
      if (!next) return;
      event.preventDefault();
      item.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  });
}
