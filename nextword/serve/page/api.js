// Questions to the server. Where it asks for a key, the page asks its user, once, and then asks the server again.

import { $ } from "./dom.js";

let key = sessionStorage.getItem("key") ?? "";
let asking = null; // the promise of a key that is being typed

export async function ask(path, body, signal) {
  return (await send(path, body, signal)).json();
}

// The objects of a stream of events, as they come.
export async function* stream(path, body, signal) {
  const reader = (await send(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const found = JSON.parse(data);
      if (found.error) throw new Error(found.error.message);
      yield found;
    }
  }
}

async function send(path, body, signal) {
  for (;;) {
    const used = key;
    const headers = { "content-type": "application/json", ...(used && { authorization: `Bearer ${used}` }) };
    const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
    const answer = await fetch(path, { ...options, signal }).catch((error) => {
      throw error.name === "AbortError" ? error : new Error("The server does not answer.");
    });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw new Error(await message(answer));
    if (used === key) await newKey();
  }
}

async function message(answer) {
  const said = await answer.json().catch(() => null);
  return said?.error?.message ?? `The server answered with status ${answer.status}.`;
}

function newKey() {
  asking ??= new Promise((resolve) => {
    const form = $("key");
    form.hidden = false;
    $("key-value").focus();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      key = $("key-value").value.trim();
      sessionStorage.setItem("key", key);
      $("key-value").value = "";
      form.hidden = true;
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}
