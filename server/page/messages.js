// The messages of a conversation, each with what can be done with it.

import { copyText, fill, h, iconButton, toast } from "./dom.js";
import { path, variants } from "./conversation.js";
import { rate } from "./generate.js";
import { show } from "./render.js";
import { grow } from "./composer.js";

/** Figures of a reply, in words. */
export function figures(stats) {
  const speed = rate(stats);
  const tokens = `${stats.tokens} ${stats.tokens === 1 ? "token" : "tokens"}`;
  return speed === null ? tokens : `${tokens} · ${speed < 10 ? speed.toFixed(1) : Math.round(speed)} tokens/s`;
}

/** What went wrong, and a way to try again. */
export function problem(error, onRetry) {
  const wait = error.retryAfter ? ` It should have room again in about ${error.retryAfter} s.` : "";
  const retry = h("button", { type: "button", class: "plain", click: onRetry }, "Try again");
  return h("div", { class: "problem" }, h("span", {}, `${error.message}${wait}`), retry);
}

/** Copies, and shows on the button that it did. */
export async function copyFrom(button, text) {
  try {
    await copyText(text);
    toast("Copied");
  } catch (error) {
    toast(`Not copied: ${error.message}.`);
  }
  button.focus();
}

export class Messages {
  /** `actions`: what a message can be asked for: retry, edit, turn. */
  constructor(actions) {
    this.actions = actions;
    this.element = h("div", { role: "log", "aria-live": "off", "aria-label": "Messages" });
    /** By the message's id: its element, and what was shown of it. */
    this.shown = new Map();
    this.element.addEventListener("click", (event) => {
      const button = event.target.closest(".copy");
      if (button) copyFrom(button, button.closest(".code").querySelector("code").textContent);
    });
  }

  /** Shows the conversation as it is now, leaving alone what has not changed. */
  show(conversation, running) {
    const nodes = path(conversation);
    for (const [i, node] of nodes.entries()) {
      const streaming = running && i === nodes.length - 1 && node.role === "assistant";
      const view = this.view(conversation, node, streaming);
      if (this.element.children[i] !== view) this.element.insertBefore(view, this.element.children[i] ?? null);
    }
    while (this.element.children.length > nodes.length) this.element.lastElementChild.remove();
    for (const id of this.shown.keys()) if (!this.shown.get(id).element.isConnected) this.shown.delete(id);
  }

  view(conversation, node, streaming) {
    const all = variants(conversation, node);
    const state = JSON.stringify([node.text.length, streaming, all.length, all.indexOf(node), node.error, node.stopped, node.finish, node.stats]);
    const known = this.shown.get(node.id);
    if (known?.editing || known?.state === state) return known.element;
    const view = known ?? { element: h("article", { class: `message ${node.role}`, "data-id": node.id }) };
    view.state = state;
    this.shown.set(node.id, view);
    if (node.role === "user") this.user(view, conversation, node, all);
    else this.assistant(view, conversation, node, all, streaming);
    return view.element;
  }

  user(view, conversation, node, all) {
    const tools = [
      this.turns(conversation, node, all),
      iconButton("copy", "Copy message", ({ currentTarget }) => copyFrom(currentTarget, node.text), { class: "small" }),
      iconButton("edit", "Edit and send again", () => this.edit(conversation, node), { class: "small edit" }),
    ];
    fill(view.element, h("h2", { class: "hidden" }, "You"), h("div", { class: "said" }, node.text), h("footer", {}, tools));
  }

  assistant(view, conversation, node, all, streaming) {
    if (!view.prose) {
      view.prose = h("div", { class: "prose" });
      view.after = h("div");
      view.footer = h("footer");
      fill(view.element, h("h2", { class: "hidden" }, "Reply"), view.prose, view.after, view.footer);
    }
    show(view.prose, node.text);
    view.prose.classList.toggle("streaming", streaming);
    view.element.setAttribute("aria-busy", String(streaming));
    const waiting = streaming && !node.text ? h("span", { class: "waiting" }) : null;
    const error = node.error && !streaming ? problem(node.error, () => this.actions.retry(conversation, node)) : null;
    fill(view.after, waiting, error);
    fill(view.footer, streaming ? null : this.tools(conversation, node, all));
  }

  tools(conversation, node, all) {
    const ended = node.stopped ? "Stopped" : node.finish === "length" ? "Ended at the token limit" : null;
    const said = [ended, node.stats && figures(node.stats)].filter(Boolean).join(" · ");
    const more = [node.model, node.stats && `first token after ${node.stats.first.toFixed(2)} s`].filter(Boolean).join(", ");
    return [
      this.turns(conversation, node, all),
      iconButton("copy", "Copy reply", ({ currentTarget }) => copyFrom(currentTarget, node.text), { class: "small" }),
      iconButton("retry", "Answer again", () => this.actions.again(conversation, node), { class: "small again" }),
      h("span", { class: "figures", title: more }, said),
    ];
  }

  /** The way to what stood here before. */
  turns(conversation, node, all) {
    if (all.length < 2) return null;
    const at = all.indexOf(node);
    const to = (step) => () => this.actions.turn(conversation, node, step);
    return h(
      "span",
      { class: "turns", role: "group", "aria-label": "Versions" },
      iconButton("left", "Earlier version", to(-1), { class: "small", disabled: at === 0 }),
      h("span", { "aria-label": `Version ${at + 1} of ${all.length}` }, `${at + 1}/${all.length}`),
      iconButton("right", "Later version", to(1), { class: "small", disabled: at === all.length - 1 }),
    );
  }

  /** The button that was pressed went with its message: the same one of the message that came has the focus now. */
  focusTurn(node, step) {
    const buttons = [...this.shown.get(node.id).element.querySelectorAll(".turns button")];
    if (step > 0) buttons.reverse();
    buttons.find((button) => !button.disabled)?.focus();
  }

  /** Puts a box in a message's place. */
  edit(conversation, node) {
    const view = this.shown.get(node.id);
    if (!view) return;
    const area = h("textarea", { "aria-label": "Edit message", rows: "1" });
    area.value = node.text;
    const close = () => {
      view.editing = false;
      view.state = null;
      this.view(conversation, node, false);
      view.element.querySelector(".edit")?.focus();
    };
    const send = () => {
      const text = area.value.trim();
      if (!text) return;
      view.editing = false;
      view.state = null;
      this.actions.edit(conversation, node, text);
    };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    });
    area.addEventListener("input", () => grow(area));
    const buttons = h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "plain", click: close }, "Cancel"),
      h("button", { type: "button", class: "primary", click: send }, "Send"),
    );
    view.editing = true;
    fill(view.element, h("h2", { class: "hidden" }, "Edit your message"), h("div", { class: "editing" }, area, buttons));
    grow(area);
    area.focus();
  }
}
