// What the page asks or tells in a window of its own.

import { $, fill, h, iconButton } from "./dom.js";

const KEYS = [
  ["Send", ["Enter"]],
  ["New line", ["Shift", "Enter"]],
  ["Stop the reply, close what is open", ["Esc"]],
  ["Edit the last message", ["↑"]],
  ["New conversation", ["Ctrl", "Shift", "O"]],
  ["Conversation before, after", ["Alt", "↑ ↓"]],
  ["To the message box", ["/"]],
  ["Settings", ["Ctrl", "."]],
  ["List of conversations", ["Ctrl", "B"]],
  ["Continue a plain text", ["Ctrl", "Enter"]],
  ["These shortcuts", ["?"]],
];

function open(title, ...content) {
  const dialog = $("dialog");
  const close = iconButton("close", "Close", () => dialog.close());
  fill(dialog, h("header", {}, h("h2", { id: "dialog-title" }, title), close), ...content);
  // Closed by a click beside it, too.
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  dialog.focus();
  return dialog;
}

export function showShortcuts() {
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  const key = (name) => h("kbd", {}, mac && name === "Ctrl" ? "⌘" : name);
  const pair = ([what, keys]) => [h("dt", {}, what), h("dd", {}, keys.flatMap((name) => [key(name), " "]))];
  open("Keyboard shortcuts", h("dl", { class: "keys" }, KEYS.map(pair)));
}

/** Asks for the server's key: `{ key, remember }`, or null where none is given. */
export function askKey(wrong) {
  const input = h("input", { type: "password", autocomplete: "current-password", "aria-describedby": "key-hint" });
  const remember = h("input", { type: "checkbox" });
  const hint = wrong ? "That key is not one of this server's." : "Who started the server has it: its option --api-key.";
  const dialog = open(
    "This server wants a key",
    h(
      "form",
      { method: "dialog" },
      h("label", { class: "field" }, "Key", input, h("p", { class: "hint", id: "key-hint" }, hint)),
      h("label", { class: "check" }, remember, "Remember it in this browser"),
      h("div", { class: "buttons" }, h("button", { class: "primary", value: "key" }, "Use it")),
    ),
  );
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "key" && input.value.trim() ? { key: input.value.trim(), remember: remember.checked } : null),
      { once: true },
    );
  });
}
