// Shortcuts: a press of keys, and what it does. dialogs.js tells people of them.

import { $ } from "./dom.js";

function isTyping(target) {
  return target.closest("input:not([type=range], [type=checkbox]), textarea, select") !== null;
}

/** `actions`: begin, settings, list, before, after, write, help, escape. */
export function bindKeys(actions) {
  addEventListener("keydown", (event) => {
    // A window of its own has keys of its own.
    if ($("dialog").open) return;
    const control = event.ctrlKey || event.metaKey;
    const plain = !control && !event.altKey && !isTyping(event.target);
    const pressed = {
      begin: control && event.shiftKey && event.key.toLowerCase() === "o",
      settings: control && event.key === ".",
      list: control && !event.shiftKey && event.key.toLowerCase() === "b",
      before: event.altKey && event.key === "ArrowUp",
      after: event.altKey && event.key === "ArrowDown",
      write: plain && event.key === "/",
      help: plain && event.key === "?",
      escape: event.key === "Escape",
    };
    const name = Object.keys(pressed).find((name) => pressed[name]);
    if (!name) return;
    event.preventDefault();
    actions[name]();
  });
}
