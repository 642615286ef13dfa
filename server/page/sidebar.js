// The list of conversations, by when they were last changed.

import { $, fill, h, iconButton } from "./dom.js";
import { isEmpty, titleOf } from "./conversation.js";
import { isRunning } from "./generate.js";

const DAY = 24 * 60 * 60 * 1000;

/** Which group a time belongs to, seen from now. */
export function ageOf(time, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY) return "Yesterday";
  if (time >= midnight - 7 * DAY) return "Last seven days";
  const date = new Date(time);
  return date.toLocaleDateString(undefined, { month: "long", year: "numeric" });
}

export class Sidebar {
  /** `actions`: open(conversation), rename(conversation, title), save(conversation), remove(conversation). */
  constructor(actions) {
    this.actions = actions;
    $("filter").addEventListener("input", () => this.show(this.conversations, this.current));
  }

  show(conversations, current) {
    Object.assign(this, { conversations: [...conversations], current });
    if (this.renaming) return;
    const wanted = $("filter").value.trim().toLowerCase();
    const matching = (one) => !isEmpty(one) && (wanted === "" || textOf(one).includes(wanted));
    const sorted = this.conversations.filter(matching).sort((a, b) => b.updated - a.updated);
    // While a reply streams, the list stays as it is.
    const state = JSON.stringify([wanted, current?.id, sorted.map((one) => [one.id, titleOf(one), ageOf(one.updated), isRunning(one)])]);
    if (state === this.state) return;
    this.state = state;
    const groups = grouped(sorted);
    const lists = [...groups].flatMap(([age, group]) => [h("h2", {}, age), h("ul", {}, group.map((one) => this.row(one)))]);
    const none = wanted ? "No conversation has that in it." : "Conversations are kept in this browser, and nowhere else.";
    const focused = document.activeElement?.closest("#conversations li")?.dataset.id;
    fill($("conversations"), lists.length > 0 ? lists : h("p", { class: "nothing" }, none));
    if (focused) $("conversations").querySelector(`[data-id="${CSS.escape(focused)}"] .open`)?.focus();
  }

  row(conversation) {
    const title = titleOf(conversation);
    const own = conversation.id === this.current?.id;
    const { actions } = this;
    const tools = h(
      "span",
      { class: "row-tools" },
      iconButton("edit", `Rename: ${title}`, () => this.rename(conversation), { class: "small" }),
      iconButton("export", `Export: ${title}`, () => actions.save(conversation), { class: "small" }),
      iconButton("trash", `Delete: ${title}`, () => actions.remove(conversation), { class: "small" }),
    );
    const open = h(
      "button",
      { type: "button", class: "open", title, "aria-current": own ? "page" : null, click: () => actions.open(conversation) },
      title,
    );
    const classes = [own ? "current" : "", isRunning(conversation) ? "working" : ""].join(" ").trim();
    return h("li", { class: classes || null, "data-id": conversation.id }, open, tools);
  }

  /** Puts a box in the title's place. */
  rename(conversation) {
    const row = $("conversations").querySelector(`[data-id="${CSS.escape(conversation.id)}"]`);
    const input = h("input", { "aria-label": "New name", maxlength: "200" });
    input.value = titleOf(conversation);
    this.renaming = true;
    this.state = null;
    const close = (take) => {
      if (!this.renaming) return;
      this.renaming = false;
      if (take && input.value.trim()) this.actions.rename(conversation, input.value.trim());
      this.show(this.conversations, this.current);
      $("conversations").querySelector(`[data-id="${CSS.escape(conversation.id)}"] .open`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") close(true);
      if (event.key === "Escape") {
        event.stopPropagation();
        close(false);
      }
    });
    input.addEventListener("blur", () => close(true));
    fill(row, input);
    input.select();
  }
}

function grouped(sorted) {
  const groups = new Map();
  for (const one of sorted) {
    const age = ageOf(one.updated);
    groups.set(age, [...(groups.get(age) ?? []), one]);
  }
  return groups;
}

function textOf(conversation) {
  const said = conversation.kind === "text" ? [conversation.text] : Object.values(conversation.nodes).map((node) => node.text);
  return [conversation.title, ...said].join("\n").toLowerCase();
}
