// Chat: a conversation where the model has a template for one, else a text that it continues.

import { stream } from "./api.js";
import { $, el, fixed } from "./dom.js";
import { trouble } from "./live.js";
import { settings } from "./settings.js";

const ENDED = { length: "It ended at the most tokens allowed.", stop: "" };

export function start(model) {
  const values = settings(model);
  const turns = []; // of a conversation {role, content}; of texts {prompt, content}
  let running = null;

  $("chat-title").textContent = model.chat ? "Chat" : "Continue a text";
  $("chat-note").textContent = model.chat
    ? "" : "This model has no template for conversations: it goes on with what you write.";
  $("said").placeholder = model.chat ? "Write a message" : "Once upon a time";
  $("send").textContent = model.chat ? "Send" : "Continue";

  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const said = $("said").value;
    if (!said.trim() || running) return;
    $("said").value = "";
    turns.push({ role: "user", content: said });
    messageOf(turns.at(-1));
    answer();
  });
  $("said").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("again").addEventListener("click", () => {
    if (running || !turns.length) return;
    if (turns.at(-1).role === "assistant") {
      turns.pop();
      (model.chat ? $("messages") : $("messages").querySelector("p")).lastChild.remove();
    }
    answer();
  });
  $("clear").addEventListener("click", () => {
    turns.length = 0;
    $("messages").replaceChildren();
    show();
    $("said").focus();
  });

  async function answer() {
    const shown = messageOf({ role: "assistant", content: "" });
    const turn = { role: "assistant", content: "" };
    running = new AbortController();
    trouble(null);
    show();
    let reason = "";
    const began = performance.now(), times = [];
    let tokens = 0;
    try {
      for await (const part of stream(...question(), running.signal)) {
        tokens = part.usage?.completion_tokens ?? tokens;
        if (!part.choices.length) continue;
        const choice = part.choices[0];
        const piece = (model.chat ? choice.delta.content : choice.text) ?? "";
        times.push(performance.now());
        turn.content += piece;
        shown.text.append(piece);
        reason = choice.finish_reason ?? reason;
      }
    } catch (error) {
      if (error.name !== "AbortError") trouble(error);
      else reason = "aborted";
    }
    if (turn.content || reason) turns.push(turn);
    else shown.node.remove(); // it failed before it began
    shown.end.textContent = reason === "aborted" ? "Stopped." : ENDED[reason] ?? "";
    running = null;
    show();
    $("speed").textContent = speed(began, times, tokens);
    $("said").focus();
  }

  function question() {
    const { system, temperature, top_p, max_tokens } = values;
    const asked = {
      stream: true, stream_options: { include_usage: true }, temperature, top_p, ...(max_tokens !== "" && { max_tokens }),
    };
    if (!model.chat) return ["/v1/completions", { ...asked, prompt: turns.map((turn) => turn.content).join("") }];
    const before = system.trim() ? [{ role: "system", content: system }] : [];
    return ["/v1/chat/completions", { ...asked, messages: [...before, ...turns] }];
  }

  // A message of a conversation; of a text that is continued a piece that stands right behind the one before.
  function messageOf({ role, content }) {
    const mine = role === "user";
    if (!model.chat) {
      const whole = $("messages").querySelector("p") ?? el("p");
      const piece = el(mine ? "b" : "span", {}, content);
      whole.append(piece);
      $("messages").replaceChildren(el("div", { class: "message" }, whole, el("div", { class: "ended" })));
      return { text: piece, end: $("messages").querySelector(".ended"), node: piece };
    }
    const text = el("p", {}, content), end = el("div", { class: "ended" });
    const name = mine ? "You" : model.name;
    const node = el("div", { class: mine ? "message mine" : "message" }, el("b", {}, name), text, end);
    $("messages").append(node);
    return { text, end, node };
  }

  function show() {
    $("send").hidden = Boolean(running);
    $("stop").hidden = !running;
    $("again").hidden = $("clear").hidden = Boolean(running) || !turns.length;
    if (running) {
      $("speed").textContent = "";
      $("stop").focus();
    }
  }
  show();
}

// To the first piece of text, and from there to the last; who stopped has not learnt how many tokens there were.
function speed(began, times, tokens) {
  if (!tokens || !times.length) return "";
  const seconds = (times.at(-1) - times[0]) / 1000;
  const rate = seconds > 0 ? `, then ${fixed((tokens - 1) / seconds, 0)} a second` : "";
  return `${tokens} tokens, the first after ${fixed(times[0] - began, 0)} ms${rate}`;
}
