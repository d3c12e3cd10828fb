// All panels of the lab look at the same text. A panel asks anew when the text changes, and when it is opened.

import { $, el } from "./dom.js";

const PAUSE = 350; // milliseconds without a key before the server is asked
const shared = { text: "The cat sat on the mat.", written: "" };

export function trouble(error) {
  $("trouble").textContent = error ? error.message : "";
  $("trouble").hidden = !error;
}

// Runs `work(signal)`; what ran before is given up, errors are shown.
export function latest(section, work) {
  let running = null;
  return async () => {
    running?.abort();
    const own = (running = new AbortController());
    section.setAttribute("aria-busy", "true");
    try {
      await work(own.signal);
      if (own === running) trouble(null);
    } catch (error) {
      if (own === running && error.name !== "AbortError") trouble(error);
    } finally {
      if (own === running) section.removeAttribute("aria-busy");
    }
  };
}

// Has `look(body, signal)` called whenever the panel's text changes; gives a function that calls it at once.
// waits: only the text is kept, and the panel has a button.
export function live(name, look, { waits = false, written = false } = {}) {
  const section = $(name), area = $(`${name}-text`);
  const run = latest(section, (signal) => look({ ...shared }, signal));
  const fields = [[area, "text"]];
  if (written) fields.push([writtenField(area), "written"]);
  let timer = 0;
  const take = () => fields.forEach(([field, key]) => { if (field.value !== shared[key]) field.value = shared[key]; });
  for (const [field, key] of fields) {
    field.addEventListener("input", () => {
      shared[key] = field.value;
      clearTimeout(timer);
      if (!waits) timer = setTimeout(run, PAUSE);
    });
  }
  section.addEventListener("shown", () => {
    take();
    if (!waits) run();
  });
  return run;
}

function writtenField(area) {
  const field = el("textarea", { rows: 1 });
  area.after(el("label", {}, "Written so far", field));
  return field;
}
