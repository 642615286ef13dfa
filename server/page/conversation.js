// A conversation: messages in a tree, since one that was edited or answered again keeps what it was before. A plain text is one too.
//
//   { id, kind: "chat" | "text", title, model, system, sampling, created, updated, nodes, chosen, text, past }
//
// `nodes` has the messages by id, each with its `parent` ("" for none); `chosen` says for each parent which of its children is shown.
// Of a text, `text` is all of it and `past` what undoing goes back to.

const SAMPLING = {
  temperature: [0, 2],
  top_p: [0, 1],
  top_k: [0, 1000],
  min_p: [0, 1],
  max_tokens: [1, 1_000_000],
  seed: [-(2 ** 53), 2 ** 53],
};
const FORMAT = "tcrt-conversations";
/** A text keeps so many earlier states. */
const MOST_PAST = 50;

/** A name that no other has. Unlike `crypto.randomUUID`, it is there on pages that came over plain HTTP. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function create({ kind = "chat", model = "", system = "", sampling = {} } = {}) {
  const now = Date.now();
  const own = kind === "text" ? { text: "", past: [] } : { nodes: {}, chosen: {} };
  return { id: newId(), kind, title: "", model, system, sampling: { ...sampling }, created: now, updated: now, ...own };
}

export function isEmpty(conversation) {
  return conversation.kind === "text" ? conversation.text === "" : Object.keys(conversation.nodes).length === 0;
}

/** What it is called, where it was given no name: how it begins. */
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const begin = conversation.kind === "text" ? conversation.text : (path(conversation)[0]?.text ?? "");
  const line = begin.trim().split("\n")[0];
  const fallback = conversation.kind === "text" ? "New text" : "New conversation";
  return line.length > 60 ? `${line.slice(0, 58).trimEnd()}…` : line || fallback;
}

/** The messages that are shown, first to last. */
export function path(conversation) {
  const nodes = [];
  let id = conversation.chosen[""];
  while (id !== undefined && conversation.nodes[id]) {
    nodes.push(conversation.nodes[id]);
    id = conversation.chosen[id];
  }
  return nodes;
}

/** Adds a message behind `parent` and shows it; those that were there before stay beside it. */
export function append(conversation, parent, role, text) {
  const node = { id: newId(), parent, role, text, created: Date.now() };
  conversation.nodes[node.id] = node;
  conversation.chosen[parent] = node.id;
  conversation.updated = node.created;
  return node;
}

/** A message and those that stand in its place, in the order in which they came. */
export function variants(conversation, node) {
  return Object.values(conversation.nodes).filter((other) => other.parent === node.parent);
}

/** Shows another one in a message's place, `step` further. */
export function turn(conversation, node, step) {
  const all = variants(conversation, node);
  const next = all[all.indexOf(node) + step];
  if (next) conversation.chosen[node.parent] = next.id;
  return next;
}

/** The messages up to and with `node`, as the API takes them. */
export function requestMessages(conversation, node) {
  const messages = [];
  for (let at = node; at; at = conversation.nodes[at.parent]) {
    // A reply of which nothing came says nothing.
    if (at.role !== "assistant" || at.text) messages.unshift({ role: at.role, content: at.text });
  }
  if (conversation.system.trim()) messages.unshift({ role: "system", content: conversation.system });
  return messages;
}

/** What was set, as the API takes it; what was not is left to the server. */
export function requestSampling(sampling) {
  const stop = (sampling.stop ?? []).filter((text) => text !== "");
  const set = Object.keys(SAMPLING).filter((name) => Number.isFinite(sampling[name]));
  const numbers = Object.fromEntries(set.map((name) => [name, sampling[name]]));
  return stop.length > 0 ? { ...numbers, stop } : numbers;
}

/** Changes a text, so that it can be undone. */
export function keepPast(conversation) {
  if (conversation.past.at(-1) === conversation.text) return;
  conversation.past = [...conversation.past, conversation.text].slice(-MOST_PAST);
}

export function exported(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** The conversations of an exported file: every field is looked at, since a file can hold anything. Throws what is wrong with it. */
export function imported(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) throw new Error("it holds no conversations");
  if (file.version !== 1) throw new Error(`it is of version ${file.version}, which this page does not know`);
  return file.conversations.map(checked);
}

function checked(given, index) {
  const wrong = (what) => new Error(`conversation ${index + 1}: ${what}`);
  if (typeof given !== "object" || given === null) throw wrong("it is none");
  const text = (value) => (typeof value === "string" ? value : "");
  const time = (value) => (Number.isFinite(value) ? value : Date.now());
  const kind = given.kind === "text" ? "text" : "chat";
  const conversation = create({ kind, model: text(given.model), system: text(given.system), sampling: checkedSampling(given.sampling) });
  Object.assign(conversation, { title: text(given.title), created: time(given.created), updated: time(given.updated) });
  if (/^[\w-]{8,64}$/.test(given.id)) conversation.id = given.id;
  if (kind === "text") {
    conversation.text = text(given.text);
    return conversation;
  }
  for (const [id, node] of Object.entries(given.nodes ?? {})) {
    if (!["user", "assistant"].includes(node?.role) || typeof node.text !== "string") throw wrong("a message is none");
    const { parent, role, model, stats } = node;
    const known = parent === "" || Object.hasOwn(given.nodes, parent);
    if (!known || id === "__proto__") throw wrong("a message has nothing before it");
    conversation.nodes[id] = { id, parent, role, text: node.text, created: time(node.created) };
    if (typeof model === "string") conversation.nodes[id].model = model;
    if (Number.isFinite(stats?.tokens)) conversation.nodes[id].stats = { tokens: stats.tokens, seconds: Number(stats.seconds) || 0, first: Number(stats.first) || 0 };
  }
  for (const [parent, child] of Object.entries(given.chosen ?? {})) {
    if (conversation.nodes[child]?.parent === parent) conversation.chosen[parent] = child;
  }
  if (path(conversation).length > Object.keys(conversation.nodes).length) throw wrong("its messages go round in circles");
  return conversation;
}

function checkedSampling(given) {
  const sampling = {};
  for (const [name, [least, most]] of Object.entries(SAMPLING)) {
    if (Number.isFinite(given?.[name])) sampling[name] = Math.min(most, Math.max(least, given[name]));
  }
  const stop = Array.isArray(given?.stop) ? given.stop.filter((text) => typeof text === "string") : [];
  return stop.length > 0 ? { ...sampling, stop: stop.slice(0, 16) } : sampling;
}
