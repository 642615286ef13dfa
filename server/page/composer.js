// The box at the bottom: what is written next, or for plain texts what to do with the text.

import { $, fill, h, icon } from "./dom.js";

/** Makes a box as high as its text. */
export function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

/** Where there are no keys but those on the screen, Enter is a new line: the button sends. */
const ENTER_SENDS = !matchMedia("(hover: none) and (pointer: coarse)").matches;

/** The box for messages. `actions`: send(text), stop(), editLast(). */
export class Composer {
  constructor(actions) {
    this.area = h("textarea", { id: "message", rows: "1", placeholder: "Write a message", "aria-label": "Message" });
    this.button = h("button", { class: "round", type: "submit" });
    this.area.addEventListener("input", () => this.changed());
    this.area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && ENTER_SENDS && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (!this.running) this.submit();
      } else if (event.key === "ArrowUp" && this.area.value === "") {
        event.preventDefault();
        actions.editLast();
      }
    });
    this.submit = () => {
      const text = this.area.value.trim();
      if (!text || this.unable) return;
      this.area.value = "";
      this.changed();
      actions.send(text);
    };
    this.form = (event) => {
      event.preventDefault();
      if (this.running) actions.stop();
      else this.submit();
    };
  }

  /** Takes the form's place. */
  mount() {
    const form = $("composer");
    form.className = "";
    form.onsubmit = this.form;
    fill(form, this.area, this.button);
    grow(this.area);
  }

  /** `unable`: why nothing can be sent, if nothing can. */
  update({ running, unable }) {
    this.running = running;
    this.unable = unable;
    this.area.placeholder = unable ?? "Write a message";
    this.changed();
  }

  changed() {
    const keys = ENTER_SENDS ? [" (Esc)", " (Enter)"] : ["", ""];
    const label = this.running ? `Stop${keys[0]}` : `Send${keys[1]}`;
    if (this.button.title !== label) {
      this.button.title = label;
      this.button.setAttribute("aria-label", this.running ? "Stop" : "Send");
      this.button.classList.toggle("stop", Boolean(this.running));
      fill(this.button, icon(this.running ? "stop" : "send"));
    }
    this.button.disabled = !this.running && (this.area.value.trim() === "" || Boolean(this.unable));
    if (this.area.isConnected) grow(this.area);
  }
}
