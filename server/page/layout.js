// The parts around the conversation: sidebar, settings, colours.

import { $, iconButton } from "./dom.js";
import { preference } from "./store.js";

const THEMES = { light: ["sun", "Light"], dark: ["moon", "Dark"], auto: ["auto", "As the system"] };

/** Whether sidebar and settings lie over the conversation. */
export function isNarrow() {
  return matchMedia("(max-width: 48rem)").matches;
}

export function isSidebarOpen() {
  return !document.body.classList.contains("no-sidebar");
}

export function toggleSidebar(open = !isSidebarOpen()) {
  const over = open && isNarrow();
  document.body.classList.toggle("no-sidebar", !open);
  $("sidebar-open").hidden = open && !over;
  $("scrim").hidden = !over;
  document.querySelector("main").inert = over;
  if (!isNarrow()) preference("sidebar", open);
  if (over) $("new").focus();
}

/** As the page's width and what was chosen before have it. */
export function resetSidebar() {
  toggleSidebar(!isNarrow() && preference("sidebar") !== false);
}

export function isPanelOpen() {
  return !$("panel").hidden;
}

export function togglePanel(open = !isPanelOpen()) {
  $("panel").hidden = !open;
  $("panel-open").firstElementChild.setAttribute("aria-expanded", String(open));
  if (open) $("panel").querySelector("textarea, input")?.focus();
  else $("panel-open").firstElementChild.focus();
}

function setTheme(theme) {
  preference("theme", theme === "auto" ? null : theme);
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const button of $("themes").children) button.setAttribute("aria-pressed", String(button.dataset.theme === theme));
}

export function buildLayout() {
  $("sidebar-close").append(iconButton("sidebar", "Hide the list of conversations", () => toggleSidebar(false)));
  $("sidebar-open").append(iconButton("sidebar", "Show the list of conversations", () => toggleSidebar(true)));
  const expands = { "aria-expanded": "false", "aria-controls": "panel" };
  $("panel-open").append(iconButton("sliders", "Settings", () => togglePanel(), expands));
  $("scrim").addEventListener("click", () => toggleSidebar(false));
  for (const [theme, [name, label]] of Object.entries(THEMES)) {
    $("themes").append(iconButton(name, label, () => setTheme(theme), { class: "small", "data-theme": theme }));
  }
  setTheme(preference("theme") ?? "auto");
  resetSidebar();
  // A phone's keyboard changes the height only.
  matchMedia("(max-width: 48rem)").addEventListener("change", resetSidebar);
}
