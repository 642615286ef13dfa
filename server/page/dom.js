// Making nodes, and telling those who listen.

import { ICONS } from "./icons.js";

/** An element. Attributes that are null or false are left out; functions are listeners, by the name of their event. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, value);
  }
  return fill(element, ...children);
}

/** Gives an element other children; null is none. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A picture of 24 by 24 that says nothing to a screen reader: what bears it has a name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

export function iconButton(name, label, onclick, attributes = {}) {
  const { class: more = "", ...rest } = attributes;
  return h("button", { type: "button", class: `quiet ${more}`, title: label, "aria-label": label, click: onclick, ...rest }, icon(name));
}

/** The element of this id. */
export function $(id) {
  return document.getElementById(id);
}

/** Says something to a screen reader, once. */
export function announce(text) {
  const region = $("announcements");
  region.textContent = "";
  // A region that is filled with the same text again says nothing; in between it must have been seen empty.
  setTimeout(() => (region.textContent = text), 50);
}

let dismissal;

/** A line at the edge of the page, for a while; `action` is a button in it. */
export function toast(text, action) {
  const place = $("toast");
  const hide = () => place.replaceChildren();
  const button = action && h("button", { type: "button", class: "plain", click: () => (hide(), action.run()) }, action.label);
  place.replaceChildren(h("div", { class: "toast" }, h("span", {}, text), button));
  clearTimeout(dismissal);
  dismissal = setTimeout(hide, action ? 8000 : 3000);
}

/** Puts text on the clipboard. Pages that did not come over https (or from this machine) have no clipboard of their own. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("the browser does not allow it");
}

/** Saves a text as a file. */
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
