// Which panel is open: the one that the address names. Each is a module, loaded when it is first opened.

import { ask } from "./api.js";
import { $, fixed } from "./dom.js";
import { trouble } from "./live.js";

const PANELS = [...document.querySelectorAll("main > section")].map((section) => section.id);
const started = new Map();
const about = ask("/lab/about").then(told);

function told(model) {
  $("model").textContent = model.name;
  const sizes = [model.family, `${fixed(model.vocab_size, 0)} tokens`];
  if (model.max_length) sizes.push(`reads ${fixed(model.max_length, 0)}`);
  $("model").title = sizes.join(", ");
  return model;
}

async function open() {
  const name = PANELS.includes(location.hash.slice(1)) ? location.hash.slice(1) : PANELS[0];
  for (const id of PANELS) $(id).hidden = id !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector(`#${name} h1`).lastChild.textContent.trim()} · nextword`;
  trouble(null);
  $(name).inert = !started.has(name); // nothing happens yet to what is typed
  try {
    if (!started.has(name)) {
      started.set(name, Promise.all([import(`/page/${name}.js`), about]).then(([panel, model]) => panel.start(model)));
    }
    await started.get(name);
    $(name).inert = false;
    if (!$(name).hidden) $(name).dispatchEvent(new Event("shown"));
  } catch (error) {
    started.delete(name);
    trouble(error);
  }
}

addEventListener("hashchange", () => {
  open();
  $("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});
open();
