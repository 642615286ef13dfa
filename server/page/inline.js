// What is inside a paragraph: emphasis, code, links. Emphasis is read as CommonMark's appendix describes it.

const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const BARE_URL = /https?:\/\/[^\s<>"]+/y;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]*)>/y;
/** The one tag that models put into table cells; it means a line's end and nothing else. */
const LINE_BREAK = /<br[ \t]*\/?>/iy;
/** `(address "title")` behind a bracket. */
const TARGET = /\([ \t\n]*(?:<([^<>\n]*)>|((?:\\.|[^\s()\\]|\((?:\\.|[^\s()\\])*\))*))(?:[ \t\n]+(?:"([^"]*)"|'([^']*)'))?[ \t\n]*\)/y;
/** No paragraph is as long; what is keeps its asterisks. */
const MAX_LENGTH = 20_000;

/** Nodes: `text`, `code` and `break` are leaves; `strong`, `em`, `del` and `link` have children. */
export function parseInline(text) {
  return text.length > MAX_LENGTH ? [{ type: "text", text }] : new Inline(text).parse();
}

/** An address that a click may open; null for any other, scripts among them. */
export function safeHref(href) {
  try {
    const url = new URL(href);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

class Inline {
  constructor(text) {
    this.text = text;
    this.at = 0;
    /** Where the text begins that is no item yet. */
    this.plain = 0;
    /** Nodes, and runs of delimiters that may become emphasis. */
    this.items = [];
    /** Items at which a link may begin. */
    this.brackets = [];
  }

  parse() {
    while (this.at < this.text.length) {
      if (!this.special()) this.at += 1;
    }
    this.flush();
    return merged(emphasis(this.items));
  }

  flush() {
    if (this.at > this.plain) this.items.push({ type: "text", text: this.text.slice(this.plain, this.at) });
    this.plain = this.at;
  }

  /** Takes a node that reaches to `end`. */
  push(node, end) {
    this.flush();
    this.items.push(node);
    this.at = end;
    this.plain = end;
    return true;
  }

  /** Takes what begins at `at`, if that is more than text. */
  special() {
    switch (this.text[this.at]) {
      case "\\":
        return this.escape();
      case "`":
        return this.code();
      case "*":
      case "_":
      case "~":
        return this.delimiters();
      case "<":
        return this.angle();
      case "!":
      case "[":
        return this.openBracket();
      case "]":
        return this.closeBracket();
      case "\n":
        return this.push({ type: "break" }, this.at + 1);
      case "h":
        return this.bareUrl();
      default:
        return false;
    }
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next === "\n") return this.push({ type: "break" }, this.at + 2);
    if (next === undefined || !ESCAPABLE.test(next)) return false;
    return this.push({ type: "text", text: next }, this.at + 2);
  }

  code() {
    const { text, at } = this;
    const run = match(/`+/y, text, at)[0];
    let close = text.indexOf(run, at + run.length);
    while (close >= 0 && (text[close + run.length] === "`" || text[close - 1] === "`")) {
      close = text.indexOf(run, close + match(/`+/y, text, close)[0].length);
    }
    if (close < 0) return this.push({ type: "text", text: run }, at + run.length);
    const body = text.slice(at + run.length, close).replaceAll("\n", " ");
    // A space at both ends is there to set off backticks.
    const inner = /^ .* $/.test(body) && body.trim() ? body.slice(1, -1) : body;
    return this.push({ type: "code", text: inner }, close + run.length);
  }

  angle() {
    const { text, at } = this;
    const link = match(AUTOLINK, text, at);
    const href = link && safeHref(link[1]);
    if (href) {
      const children = [{ type: "text", text: link[1].replace(/^mailto:/, "") }];
      return this.push({ type: "link", href, children }, at + link[0].length);
    }
    const line = match(LINE_BREAK, text, at);
    return line ? this.push({ type: "break" }, at + line[0].length) : false;
  }

  bareUrl() {
    const { text, at } = this;
    const found = at > 0 && /[\w"'=/]/.test(text[at - 1]) ? null : match(BARE_URL, text, at);
    if (!found) return false;
    let url = found[0].replace(/[.,:;!?'"*_~\]]+$/, "");
    // A parenthesis that was opened before the address closes behind it.
    while (url.endsWith(")") && url.split("(").length < url.split(")").length) url = url.slice(0, -1);
    const href = safeHref(url);
    return href ? this.push({ type: "link", href, children: [{ type: "text", text: url }] }, at + url.length) : false;
  }

  openBracket() {
    const image = this.text[this.at] === "!";
    if (image && this.text[this.at + 1] !== "[") return false;
    const source = image ? "![" : "[";
    this.push({ type: "text", text: source }, this.at + source.length);
    this.brackets.push({ item: this.items.at(-1), image });
    return true;
  }

  /** A link's end, where one has begun and a safe address follows. An image is a link to it: nothing is fetched unasked. */
  closeBracket() {
    const bracket = this.brackets.pop();
    const target = bracket && match(TARGET, this.text, this.at + 1);
    const address = target && (target[1] ?? target[2]).replace(/\\([!-/:-@[-`{-~])/g, "$1");
    const href = target && safeHref(address);
    if (!href) return false;
    this.flush();
    const inside = this.items.splice(this.items.indexOf(bracket.item)).slice(1);
    const children = merged(emphasis(inside));
    if (children.length === 0) children.push({ type: "text", text: address });
    // No link is inside a link.
    if (!bracket.image) this.brackets = [];
    return this.push({ type: "link", href, title: target[3] ?? target[4], children }, this.at + 1 + target[0].length);
  }

  delimiters() {
    const { text, at } = this;
    const char = text[at];
    let end = at;
    while (text[end] === char) end += 1;
    const before = at === 0 ? " " : lastChar(text.slice(Math.max(0, at - 2), at));
    const after = end === text.length ? " " : String.fromCodePoint(text.codePointAt(end));
    const space = (char) => /\s/.test(char);
    const left = !space(after) && (!PUNCTUATION.test(after) || space(before) || PUNCTUATION.test(before));
    const right = !space(before) && (!PUNCTUATION.test(before) || space(after) || PUNCTUATION.test(after));
    const within = char === "_";
    const opens = left && (!within || !right || PUNCTUATION.test(before));
    const closes = right && (!within || !left || PUNCTUATION.test(after));
    const length = end - at;
    // One tilde is an approximation, two strike through.
    if (char === "~" && length !== 2) return this.push({ type: "text", text: text.slice(at, end) }, end);
    return this.push({ type: "run", char, length, full: length, opens, closes }, end);
  }
}

function lastChar(text) {
  return [...text].at(-1);
}

/** Turns runs of delimiters into emphasis, where they open and close, and into text, where they do not. */
function emphasis(items) {
  /** For each kind of closer, how far back there is surely no opener. */
  const bottoms = new Map();
  for (let at = 0; at < items.length; at += 1) {
    const closer = items[at];
    if (closer.type !== "run" || !closer.closes) continue;
    const kind = `${closer.char}${closer.opens}${closer.full % 3}`;
    const opener = openerOf(items, at, bottoms.get(kind));
    if (opener < 0) {
      bottoms.set(kind, items[at - 1]);
      continue;
    }
    at = wrap(items, opener, at);
  }
  return items.map((item) => (item.type === "run" ? { type: "text", text: item.char.repeat(item.length) } : item));
}

function openerOf(items, closer, bottom) {
  const { char, opens, full } = items[closer];
  for (let at = closer - 1; at >= 0 && items[at] !== bottom; at -= 1) {
    const item = items[at];
    if (item.type !== "run" || item.char !== char || !item.opens) continue;
    const odd = (item.closes || opens) && (item.full + full) % 3 === 0 && (item.full % 3 !== 0 || full % 3 !== 0);
    if (!odd) return at;
  }
  return -1;
}

/** Makes what lies between two runs emphasis, and gives the place before the one where reading goes on. */
function wrap(items, opener, closer) {
  const [open, close] = [items[opener], items[closer]];
  const used = Math.min(2, open.length, close.length);
  const type = open.char === "~" ? "del" : used === 2 ? "strong" : "em";
  const children = merged(emphasis(items.slice(opener + 1, closer)));
  open.length -= used;
  close.length -= used;
  const kept = [open].filter((run) => run.length > 0);
  const rest = [close].filter((run) => run.length > 0);
  items.splice(opener, closer - opener + 1, ...kept, { type, children }, ...rest);
  return opener + kept.length;
}

/** Neighbouring texts as one. */
function merged(items) {
  const out = [];
  for (const item of items) {
    const last = out.at(-1);
    if (item.type === "text" && last?.type === "text") last.text += item.text;
    else out.push(item.type === "text" ? { ...item } : item);
  }
  return out;
}
