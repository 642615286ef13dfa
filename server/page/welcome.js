// What is shown where nothing was said yet.

import { h } from "./dom.js";

const SUGGESTIONS = [
  "Explain why the sky is blue to a curious child.",
  "Write a function that finds the longest common prefix of some strings.",
  "Suggest three names for a small bookshop by the sea.",
];

/** `begin(text)` sends a first message, `setKind` changes between conversation and plain text. */
export function welcome({ model, models, unable, kind, begin, setKind }) {
  const positions = model?.context_length ? ` · ${model.context_length.toLocaleString("en")} tokens of context` : "";
  const several = models?.length > 1 ? " · others above" : "";
  const about = models ? `${model.id}${positions}${several}. Nothing leaves the machine that it runs on.` : "Looking for the server…";
  const ideas = SUGGESTIONS.map((text) => h("button", { type: "button", disabled: Boolean(unable), click: () => begin(text) }, text));
  const choice = (name, label) =>
    h("button", { type: "button", "aria-pressed": String(kind === name), disabled: name === "chat" && model?.chat === false, click: () => setKind(name) }, label);
  return h(
    "div",
    { class: "welcome" },
    h("h2", {}, "What shall we talk about?"),
    h("p", {}, about),
    h("div", { class: "suggestions" }, ideas),
    h("div", { class: "kinds", role: "group", "aria-label": "Kind" }, choice("chat", "Conversation"), choice("text", "Plain text")),
  );
}
