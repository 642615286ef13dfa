// Settings: the system prompt, and how replies are sampled.

import { TEXT_TOKENS } from "./generate.js";
import { $, fill, h, iconButton } from "./dom.js";

/** What a new conversation has; the server's own defaults are for programs. */
export const DEFAULTS = { temperature: 0.8, top_p: 0.95 };

const SLIDERS = [
  { name: "temperature", label: "Temperature", most: 2, step: 0.05, off: 1, hint: "How daring. 0 always takes the most probable token." },
  { name: "top_p", label: "Top-p", most: 1, step: 0.01, off: 1, hint: "The most probable tokens that together reach this share." },
  { name: "top_k", label: "Top-k", most: 200, step: 1, off: 0, hint: "So many of the most probable tokens. 0 is all." },
  { name: "min_p", label: "Min-p", most: 1, step: 0.01, off: 0, hint: "Tokens at least this share as probable as the best." },
];

const NUMBERS = [
  { name: "max_tokens", label: "Most tokens", least: 1, empty: "no limit", hint: "Where a reply ends at the latest." },
  { name: "seed", label: "Seed", empty: "random", hint: "The same seed gives the same reply." },
];

export class Panel {
  /** `onChange` is called when the conversation's settings have changed. */
  constructor(onChange, onClose) {
    this.onChange = onChange;
    this.system = h("textarea", { rows: "4", placeholder: "None", "aria-describedby": "system-hint" });
    this.system.addEventListener("input", () => this.change((one) => (one.system = this.system.value)));
    this.stop = h("textarea", { rows: "2", placeholder: "None", "aria-describedby": "stop-hint" });
    this.stop.addEventListener("input", () => this.change((one) => (one.sampling.stop = lines(this.stop.value))));
    this.inputs = new Map();
    const reset = h("button", { type: "button", class: "wide", click: () => this.reset() }, "Back to the defaults");
    this.systemField = area("System prompt", this.system, "system-hint", "What the model is told before the conversation.");
    fill(
      $("panel"),
      h("header", {}, h("h2", {}, "Settings"), iconButton("close", "Close settings", onClose)),
      this.systemField,
      h("section", {}, SLIDERS.map((slider) => this.slider(slider))),
      h("section", {}, NUMBERS.map((number) => this.number(number))),
      area("Stop at", this.stop, "stop-hint", "Texts that end a reply, one a line; \\n is a line's end."),
      h("section", {}, reset),
    );
  }

  slider({ name, label, most, step, off, hint }) {
    const number = h("input", { type: "number", min: "0", max: String(most), step: "any", placeholder: String(off), "aria-label": label });
    const range = h("input", { type: "range", min: "0", max: String(most), step: String(step), "aria-label": `${label}, slider` });
    const take = (input, other) => () => {
      this.set(name, input.value, 0, most);
      other.value = input.value === "" ? off : input.value;
    };
    number.addEventListener("input", take(number, range));
    range.addEventListener("input", take(range, number));
    this.inputs.set(name, { number, range, off });
    return field(label, number, hint, range);
  }

  number({ name, label, least, empty, hint }) {
    const number = h("input", { type: "number", min: least === undefined ? null : String(least), step: "1", placeholder: empty, "aria-label": label });
    number.addEventListener("input", () => this.set(name, number.value, least ?? -(2 ** 53), 2 ** 53));
    this.inputs.set(name, { number });
    return field(label, number, hint);
  }

  set(name, text, least, most) {
    const value = Number(text);
    this.change(({ sampling }) => {
      if (text === "" || !Number.isFinite(value)) delete sampling[name];
      else sampling[name] = Math.min(most, Math.max(least, value));
    });
  }

  reset() {
    this.change((one) => Object.assign(one, { system: "", sampling: { ...DEFAULTS } }));
    this.show(this.conversation);
  }

  change(how) {
    how(this.conversation);
    this.onChange(this.conversation);
  }

  show(conversation) {
    const { system, sampling, kind } = conversation;
    this.conversation = conversation;
    // A plain text has no one who is told anything.
    this.systemField.hidden = kind === "text";
    this.inputs.get("max_tokens").number.placeholder = kind === "text" ? String(TEXT_TOKENS) : "no limit";
    if (this.system.value !== system) this.system.value = system;
    for (const [name, { number, range, off }] of this.inputs) {
      const text = Number.isFinite(sampling[name]) ? String(sampling[name]) : "";
      if (number !== document.activeElement) number.value = text;
      if (range) range.value = text || off;
    }
    const stop = (sampling.stop ?? []).map((text) => text.replaceAll("\n", "\\n").replaceAll("\t", "\\t")).join("\n");
    if (this.stop !== document.activeElement) this.stop.value = stop;
  }
}

function lines(text) {
  const one = (line) => line.replaceAll("\\n", "\n").replaceAll("\\t", "\t");
  return text.split("\n").filter((line) => line !== "").map(one).slice(0, 16);
}

function field(label, input, hint, more) {
  return h("div", { class: "field" }, h("div", { class: "top" }, h("span", { title: hint }, label), input), more);
}

function area(label, input, id, hint) {
  return h("label", { class: "field" }, label, input, h("p", { class: "hint", id }, hint));
}
