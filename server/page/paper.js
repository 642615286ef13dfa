// A plain text that the model goes on with: for models that know no conversation, and for whoever wants to write with one.

import { $, fill, h, iconButton } from "./dom.js";
import { keepPast } from "./conversation.js";
import { figures, problem } from "./messages.js";

export class Paper {
  /** `actions`: goOn(), stop(), changed(). */
  constructor(actions) {
    this.actions = actions;
    this.area = h("textarea", {
      "aria-label": "Text",
      placeholder: "Begin a text here. The model goes on where you stop.",
      spellcheck: "false",
    });
    this.back = h("pre", { "aria-hidden": "true" });
    this.after = h("div");
    this.element = h("div", { class: "paper" }, this.back, this.area);
    this.area.addEventListener("input", () => {
      // What the model wrote is known only until something else is changed.
      this.made = null;
      this.conversation.text = this.area.value;
      this.draw();
      actions.changed();
    });
    this.area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.begin();
    });
    this.more = h("button", { type: "submit", class: "primary" });
    this.undo = iconButton("undo", "Undo what was last written", () => this.goBack());
    this.figures = h("span", { class: "figures" });
  }

  mount() {
    const form = $("composer");
    form.className = "bar";
    form.onsubmit = (event) => {
      event.preventDefault();
      if (this.running) this.actions.stop();
      else this.begin();
    };
    fill(form, this.figures, this.undo, this.more);
  }

  begin() {
    if (this.running || this.unable) return;
    keepPast(this.conversation);
    this.made = this.conversation.text.length;
    this.actions.goOn();
  }

  goBack() {
    const before = this.conversation.past.pop();
    if (before === undefined) return;
    this.conversation.text = before;
    this.made = null;
    this.node = null;
    this.actions.changed();
    this.area.focus();
  }

  /** `node` has the figures and errors of the last time that the model wrote. */
  show(conversation, { running, node, progress, unable }) {
    if (this.conversation?.id !== conversation.id) this.made = null;
    Object.assign(this, { conversation, running, node, unable });
    if (this.area.value !== conversation.text) {
      const { selectionStart, selectionEnd } = this.area;
      this.area.value = conversation.text;
      this.area.setSelectionRange(selectionStart, selectionEnd);
    }
    this.area.readOnly = running;
    this.more.textContent = running ? "Stop" : "Continue";
    this.more.title = running ? "Esc" : "Ctrl+Enter";
    this.more.disabled = !running && Boolean(unable);
    this.undo.disabled = running || conversation.past.length === 0;
    const stats = running ? progress : node?.stats;
    this.figures.textContent = stats?.tokens ? figures(stats) : `${conversation.text.length} characters`;
    fill(this.after, node?.error && !running ? problem(node.error, () => this.begin()) : null);
    this.draw();
  }

  draw() {
    const text = this.conversation.text;
    const marked = this.made === null ? "" : text.slice(this.made);
    // A last empty line has no height of its own.
    fill(this.back, marked ? text.slice(0, this.made) : text, h("mark", {}, marked), "\n");
  }
}
