// How the chat draws its words; kept in this browser.

import { $, slider } from "./dom.js";

const DEFAULTS = { system: "", temperature: 0.8, top_p: 0.95, max_tokens: "" }; // max_tokens: what fits
const KEPT = "nextword.settings";

export function settings(model) {
  const values = { ...DEFAULTS, ...read() };
  for (const name of Object.keys(DEFAULTS)) {
    const field = $(`set-${name}`);
    field.value = values[name];
    field.addEventListener("input", () => {
      if (!field.checkValidity()) return;
      values[name] = field.type === "textarea" || field.value === "" ? field.value : Number(field.value);
      localStorage.setItem(KEPT, JSON.stringify(values));
    });
  }
  for (const name of ["temperature", "top_p"]) slider($(`set-${name}`), (value) => Number(value).toFixed(2));
  for (const label of document.querySelectorAll(".for-chat")) label.hidden = !model.chat;
  return values;
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}
