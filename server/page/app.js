// The page: what it shows, and what happens when something is done.

import { key, models } from "./api.js";
import { Composer } from "./composer.js";
import * as conversation from "./conversation.js";
import { askKey, showShortcuts } from "./dialogs.js";
import { $, announce, download, fill, h, icon, iconButton, toast } from "./dom.js";
import * as generate from "./generate.js";
import { forget, keep, keepAll, keepNow } from "./keeper.js";
import { bindKeys } from "./keys.js";
import { buildLayout, isNarrow, isPanelOpen, isSidebarOpen, togglePanel, toggleSidebar } from "./layout.js";
import { Messages, problem } from "./messages.js";
import { DEFAULTS, Panel } from "./panel.js";
import { Paper } from "./paper.js";
import { Sidebar } from "./sidebar.js";
import * as store from "./store.js";
import { welcome } from "./welcome.js";

const state = {
  conversations: new Map(),
  current: null,
  /** What the server runs; null while that is not known. */
  models: null,
  /** Of plain texts: figures and errors of the last time that the model wrote. */
  notes: new Map(),
};

/* Showing */

const messages = new Messages({
  retry: (one, node) => answer(one, node),
  again: (one, node) => answer(one, conversation.append(one, node.parent, "assistant", "")),
  edit: (one, node, text) => send(one, node.parent, text),
  turn: (one, node, step) => {
    const next = conversation.turn(one, node, step);
    save(one);
    drawNow();
    messages.focusTurn(next, step);
  },
});

const composer = new Composer({
  send: (text) => send(state.current, conversation.path(state.current).at(-1)?.id ?? "", text),
  stop: () => generate.stop(state.current),
  editLast: () => {
    const last = conversation.path(state.current).findLast((node) => node.role === "user");
    if (last && !generate.isRunning(state.current)) messages.edit(state.current, last);
  },
});

const paper = new Paper({
  goOn: () => goOn(state.current),
  stop: () => generate.stop(state.current),
  changed: () => {
    state.current.updated = Date.now();
    save(state.current);
    draw();
  },
});

const panel = new Panel((one) => {
  store.preference("sampling", one.sampling);
  save(one);
}, () => togglePanel(false));

const sidebar = new Sidebar({
  open: (one) => {
    go(one);
    if (isNarrow()) toggleSidebar(false);
  },
  rename: (one, title) => {
    one.title = title;
    save(one);
    draw();
  },
  save: (one) => download(`${conversation.titleOf(one).replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}.json`, conversation.exported([one])),
  remove: (one) => remove(one),
});

let drawing = 0;

/** Draws before the next frame, however much has changed until then. */
function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawNow();
  });
}

function drawNow() {
  const one = state.current;
  const running = generate.isRunning(one);
  const following = isAtBottom();
  const title = conversation.titleOf(one);
  $("title").textContent = title;
  document.title = conversation.isEmpty(one) ? "tcrt" : `${title} – tcrt`;
  const model = modelOf(one);
  drawModels(one, model);
  const unable = unableTo(one, model);
  if (one.kind === "text") drawPaper(one, running, unable);
  else drawMessages(one, model, running, unable);
  sidebar.show(state.conversations.values(), one);
  if (following) toBottom();
  drawJump();
}

function drawMessages(one, model, running, unable) {
  if (conversation.isEmpty(one)) {
    const begin = (text) => send(one, "", text);
    fill($("content"), welcome({ model, models: state.models, unable, kind: one.kind, begin, setKind }));
  } else {
    if (messages.element.parentNode !== $("content")) fill($("content"), messages.element);
    messages.show(one, running);
  }
  if (!composer.area.isConnected) composer.mount();
  composer.update({ running, unable });
}

function drawPaper(one, running, unable) {
  if (paper.element.parentNode !== $("content")) fill($("content"), paper.element, paper.after);
  if (!paper.more.isConnected) paper.mount();
  paper.show(one, { running, node: state.notes.get(one.id), progress: generate.progress(one), unable });
}

function drawModels(one, model) {
  const all = state.models ?? [];
  const ids = all.map(({ id }) => id).join("\n");
  if ($("model").dataset.ids !== ids) {
    $("model").dataset.ids = ids;
    const choose = ({ target }) => {
      state.current.model = target.value;
      store.preference("model", target.value);
      save(state.current);
      draw();
    };
    const options = all.map(({ id }) => h("option", { value: id }, id));
    const shown = all.length > 1 ? h("select", { "aria-label": "Model", change: choose }, options) : h("span", {}, all[0]?.id ?? "");
    fill($("model"), shown);
  }
  const select = $("model").querySelector("select");
  if (select && model) select.value = model.id;
}

/** The model that a conversation is held with: the one that it was begun with, while the server has it. */
function modelOf(one) {
  const all = state.models ?? [];
  return all.find(({ id }) => id === one.model) ?? all.find(({ id }) => id === store.preference("model")) ?? all[0];
}

function unableTo(one, model) {
  if (!state.models) return "The server is not there yet";
  if (one.kind === "chat" && !model.chat) return `${model.id} knows no conversation: begin a plain text`;
  return null;
}

/* Scrolling */

function isAtBottom() {
  const { scrollHeight, scrollTop, clientHeight } = $("scroll");
  return scrollHeight - scrollTop - clientHeight < 40;
}

function toBottom() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

function drawJump() {
  $("jump").hidden = isAtBottom();
}

/* Conversations */

/** Shows a conversation, and says so in the address, so that reloading comes back to it. */
function go(one, replace = false) {
  const before = state.current;
  if (before && before !== one && conversation.isEmpty(before)) state.conversations.delete(before.id);
  state.current = one;
  state.conversations.set(one.id, one);
  address(one, replace);
  panel.show(one);
  drawNow();
  toBottom();
  drawJump();
  if (!isNarrow()) focusInput();
}

function address(one, replace) {
  const hash = conversation.isEmpty(one) ? "" : `#/${one.id}`;
  if (location.hash !== hash) history[replace ? "replaceState" : "pushState"](null, "", hash || location.pathname + location.search);
}

function focusInput() {
  (state.current.kind === "text" ? paper.area : composer.area).focus({ preventScroll: true });
}

function begin(kind) {
  const sampling = store.preference("sampling") ?? DEFAULTS;
  const { system = "" } = state.current ?? {};
  const one = conversation.create({ kind, sampling, system, model: state.current?.model });
  // A model that knows no conversation can only go on with texts.
  if (!kind && modelOf(one)?.chat === false) return begin("text");
  go(one);
}

/** Of a conversation in which nothing was said yet. */
function setKind(kind) {
  if (state.current.kind !== kind) begin(kind);
}

function save(one) {
  // What has become more than nothing has an address from now on.
  if (one === state.current) address(one, true);
  keep(one);
}

async function remove(one) {
  generate.stop(one);
  forget(one);
  state.conversations.delete(one.id);
  if (one === state.current) begin();
  else draw();
  await store.remove(one.id);
  const undo = () => {
    state.conversations.set(one.id, one);
    keepNow(one);
    go(one);
  };
  toast("Deleted", { label: "Undo", run: undo });
}

async function importFile(file) {
  try {
    const found = conversation.imported(await file.text());
    for (const one of found) {
      // One that is here already is not written over.
      if (state.conversations.has(one.id)) one.id = conversation.newId();
      state.conversations.set(one.id, one);
      await store.put(one);
    }
    if (found.length > 0) go(found[0]);
    toast(found.length === 1 ? "Imported a conversation" : `Imported ${found.length} conversations`);
  } catch (error) {
    toast(`${file.name}: ${error.message}.`);
  }
}

/* Replies */

function send(one, parent, text) {
  if (generate.isRunning(one)) return;
  const node = conversation.append(one, parent, "user", text);
  answer(one, conversation.append(one, node.id, "assistant", ""));
}

async function answer(one, node) {
  if (generate.isRunning(one)) return;
  node.text = "";
  delete node.stats;
  const model = modelOf(one)?.id;
  one.model = model ?? one.model;
  const done = generate.reply(one, node, model, () => changed(one));
  drawNow();
  toBottom();
  announce("The model answers.");
  await done;
  finish(one, node, "The reply is complete.");
  if (node.error?.status === 401 && (await unlock(true))) await answer(one, node);
}

async function goOn(one) {
  const node = {};
  state.notes.set(one.id, node);
  const model = modelOf(one)?.id;
  one.model = model ?? one.model;
  await generate.goOn(one, node, model, () => changed(one));
  finish(one, node, "The text has gone on.");
  if (node.error?.status === 401 && (await unlock(true))) await goOn(one);
}

/** Something has come of a reply. */
function changed(one) {
  if (!state.conversations.has(one.id)) return;
  save(one);
  if (one === state.current) draw();
}

function finish(one, node, said) {
  if (state.conversations.has(one.id)) keepNow(one);
  draw();
  announce(node.error ? node.error.message : node.stopped ? "Stopped." : said);
}

/* The server */

async function connect() {
  try {
    state.models = await models();
    fill($("notice"));
  } catch (error) {
    if (error.status === 401 && (await unlock(key.get() !== ""))) return connect();
    fill($("notice"), problem(error, connect));
  }
  // What was empty may be a plain text, now that the model is known.
  if (state.models && conversation.isEmpty(state.current) && modelOf(state.current)?.chat === false) setKind("text");
  draw();
}

/** Asks for the key; whether one was given. */
async function unlock(wrong) {
  const given = await askKey(wrong && key.get() !== "");
  if (!given) return false;
  key.set(given.key, given.remember);
  return true;
}

/* What is done with the page itself */

function buildTools() {
  $("new").append(icon("plus"), "New conversation");
  $("new").addEventListener("click", () => {
    begin();
    if (isNarrow()) toggleSidebar(false);
    focusInput();
  });
  $("skip").addEventListener("click", focusInput);
  $("jump").append(iconButton("down", "To the latest message", () => (toBottom(), focusInput())));
  $("scroll").addEventListener("scroll", drawJump, { passive: true });
  const file = h("input", { type: "file", accept: "application/json,.json", hidden: true });
  file.addEventListener("change", () => {
    if (file.files[0]) importFile(file.files[0]);
    file.value = "";
  });
  const all = () => [...state.conversations.values()].filter((one) => !conversation.isEmpty(one));
  fill(
    $("sidebar-tools"),
    file,
    iconButton("import", "Import conversations", () => file.click()),
    iconButton("export", "Export all conversations", () => download("conversations.json", conversation.exported(all()))),
    iconButton("keyboard", "Keyboard shortcuts", showShortcuts),
  );
}

function neighbour(step) {
  const rows = [...$("conversations").querySelectorAll("li")];
  const at = rows.findIndex((row) => row.dataset.id === state.current.id);
  const next = at < 0 ? rows.at(step > 0 ? 0 : -1) : rows[at + step];
  if (next) go(state.conversations.get(next.dataset.id));
}

/** Stops the reply; else closes what is open. */
function escape() {
  if (generate.isRunning(state.current)) generate.stop(state.current);
  else if (isNarrow() && isSidebarOpen()) toggleSidebar(false);
  else if (isPanelOpen()) togglePanel(false);
}

/* Beginning */

function fromAddress() {
  const [, id] = /^#\/([\w-]+)$/.exec(location.hash) ?? [];
  return state.conversations.get(id);
}

async function start() {
  const [, given] = /^#key=(.+)$/.exec(location.hash) ?? [];
  if (given) {
    key.set(decodeURIComponent(given), false);
    history.replaceState(null, "", location.pathname + location.search);
  }
  buildLayout();
  buildTools();
  try {
    for (const one of await store.all()) state.conversations.set(one.id, one);
  } catch {
    toast("This browser keeps nothing here: conversations end with the page.");
  }
  const asked = fromAddress();
  if (asked) go(asked, true);
  else begin();
  bindKeys({
    begin: () => begin(),
    settings: () => togglePanel(),
    list: () => toggleSidebar(),
    before: () => neighbour(-1),
    after: () => neighbour(1),
    write: focusInput,
    help: showShortcuts,
    escape,
  });
  addEventListener("popstate", () => {
    const one = fromAddress();
    if (one) go(one, true);
    else if (!conversation.isEmpty(state.current)) begin();
  });
  addEventListener("pagehide", keepAll);
  store.onChange(takeFromOtherPage);
  await connect();
  document.body.dataset.state = "ready";
}

/** Another page has changed a conversation or removed it. One that is being answered here stays as it is here. */
async function takeFromOtherPage(id) {
  const [own, theirs] = [state.conversations.get(id), await store.get(id)];
  if (own && generate.isRunning(own)) return;
  if (theirs) state.conversations.set(id, theirs);
  else state.conversations.delete(id);
  if (state.current.id === id) state.current = theirs ?? state.current;
  draw();
}

start();
