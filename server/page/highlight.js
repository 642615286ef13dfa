// Colours for code: what is a comment, a string, a number, a keyword. It reads no grammar; it knows for each language how comments and
// strings begin and which words are its own.

const words = (text) => new Set(text.split(" "));

const C_WORDS =
  "auto break case const continue default do else enum extern for goto if inline register return sizeof static struct switch typedef union volatile while";
const CPP_WORDS = `${C_WORDS} alignas alignof and bool catch class concept consteval constexpr constinit decltype delete explicit export final friend mutable namespace new noexcept not operator or override private protected public requires static_cast template this throw try typename using virtual`;
const JS_WORDS =
  "as async await break case catch class const continue debugger default delete do else export extends finally for from function get if import in instanceof let new of return set static super switch this throw try typeof var void while with yield";
const TYPE_WORDS = "abstract declare enum implements interface is keyof namespace private protected public readonly satisfies type";
const JAVA_WORDS =
  "abstract assert break case catch class continue default do else enum extends final finally for if implements import instanceof interface native new package private protected public record return sealed static super switch synchronized this throw throws transient try var void volatile while yield";

/** Languages whose comments and strings are C's. */
const like_c = (keywords, more = {}) => ({
  line: ["//"],
  block: ["/*", "*/"],
  quotes: ['"', "'"],
  keywords: words(keywords),
  constants: words("true false null nullptr NULL nil undefined None NaN"),
  ...more,
});

const LANGUAGES = {
  javascript: like_c(JS_WORDS, { quotes: ["`", '"', "'"], long: ["`"] }),
  typescript: like_c(`${JS_WORDS} ${TYPE_WORDS}`, { quotes: ["`", '"', "'"], long: ["`"] }),
  python: {
    line: ["#"],
    quotes: ['"""', "'''", '"', "'"],
    long: ['"""', "'''"],
    keywords: words(
      "and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield",
    ),
    constants: words("True False None self cls"),
  },
  rust: like_c(
    "as async await break const continue crate dyn else enum extern fn for if impl in let loop macro match mod move mut pub ref return self Self static struct super trait type unsafe use where while",
    { quotes: ['"'], long: ['"'], chars: true },
  ),
  c: like_c(C_WORDS, { directives: true }),
  cpp: like_c(CPP_WORDS, { directives: true }),
  csharp: like_c(`${JAVA_WORDS} async await base bool decimal delegate event foreach get in internal is namespace object out override params readonly ref set string using virtual where`),
  java: like_c(JAVA_WORDS),
  kotlin: like_c(`${JAVA_WORDS} as by companion data fun in init internal is lateinit object open out override suspend val when`),
  go: like_c(
    "break case chan const continue default defer else fallthrough for func go goto if import interface map package range return select struct switch type var",
    { quotes: ["`", '"', "'"], long: ["`"] },
  ),
  swift: like_c(
    "actor as associatedtype async await break case catch class continue default defer do else enum extension fallthrough fileprivate for func guard if import in init inout is let mutating nonisolated open operator override private protocol public repeat rethrows return self Self some static struct subscript super switch throw throws try typealias var where while",
    { quotes: ['"""', '"'], long: ['"""'] },
  ),
  php: like_c(`${JAVA_WORDS} and as clone declare echo elseif endif endfor endforeach endwhile fn foreach function global include isset list namespace or print require trait unset use xor`, {
    line: ["//", "#"],
    variables: true,
  }),
  ruby: {
    line: ["#"],
    quotes: ['"', "'"],
    keywords: words(
      "alias and begin break case class def defined? do else elsif end ensure for if in module next not or redo rescue retry return self super then undef unless until when while yield require attr_accessor attr_reader",
    ),
    constants: words("true false nil"),
  },
  shell: {
    line: ["#"],
    quotes: ['"', "'"],
    long: ['"', "'"],
    keywords: words("case do done elif else esac export fi for function if in local return select set shift source then until while"),
    constants: words("true false"),
    variables: true,
    spaced: true,
  },
  sql: {
    line: ["--"],
    block: ["/*", "*/"],
    quotes: ["'", '"'],
    insensitive: true,
    keywords: words(
      "add all alter and as asc begin between by case check column commit constraint create cross database default delete desc distinct drop else end except exists foreign from full group having if in index inner insert intersect into is join key left like limit not offset on or order outer over partition primary references returning right rollback select set table then transaction union unique update using values view when where with",
    ),
    constants: words("true false null int integer bigint text varchar boolean date timestamp numeric serial real"),
  },
  json: { line: ["//"], quotes: ['"'], keywords: words(""), constants: words("true false null"), keys: true },
  yaml: { line: ["#"], quotes: ['"', "'"], keywords: words(""), constants: words("true false null yes no"), keys: true, spaced: true },
  toml: { line: ["#"], quotes: ['"""', '"', "'"], long: ['"""'], keywords: words(""), constants: words("true false"), keys: true },
  css: {
    block: ["/*", "*/"],
    quotes: ['"', "'"],
    keywords: words("@media @import @keyframes @font-face @supports @layer @container !important"),
    constants: words("auto none inherit initial unset"),
    keys: true,
    dashes: true,
  },
};

const ALIASES = {
  js: "javascript", jsx: "javascript", mjs: "javascript", cjs: "javascript", node: "javascript",
  ts: "typescript", tsx: "typescript", py: "python", python3: "python", rs: "rust", h: "c",
  "c++": "cpp", cc: "cpp", cxx: "cpp", hpp: "cpp", cs: "csharp", "c#": "csharp", kt: "kotlin", golang: "go", rb: "ruby",
  sh: "shell", bash: "shell", zsh: "shell", console: "shell", fish: "shell", dockerfile: "shell",
  jsonc: "json", json5: "json", yml: "yaml", ini: "toml", scss: "css", less: "css",
  postgresql: "sql", mysql: "sql", sqlite: "sql", htm: "html", xml: "html", svg: "html", vue: "html", patch: "diff",
};

const NAMES = {
  javascript: "JavaScript", typescript: "TypeScript", cpp: "C++", csharp: "C#", php: "PHP", sql: "SQL", json: "JSON", yaml: "YAML",
  toml: "TOML", css: "CSS", html: "HTML",
};

function known(lang) {
  const name = lang.toLowerCase();
  return ALIASES[name] ?? name;
}

/** What a language is called; as it was written, where it is not known. */
export function nameOf(lang) {
  const name = known(lang);
  if (NAMES[name]) return lang.toLowerCase() === "xml" ? "XML" : NAMES[name];
  return Object.hasOwn(LANGUAGES, name) ? name[0].toUpperCase() + name.slice(1) : lang;
}

/** The text in pieces of a kind: comment, string, number, keyword, constant, name, key, added, removed, or none. */
export function highlight(text, lang) {
  const name = known(lang);
  if (name === "html") return markup(text);
  if (name === "diff") return diff(text);
  return Object.hasOwn(LANGUAGES, name) ? new Scanner(text, LANGUAGES[name]).pieces() : [{ kind: null, text }];
}

class Scanner {
  constructor(text, language) {
    Object.assign(this, { text, language, at: 0, plain: 0, out: [] });
  }

  pieces() {
    while (this.at < this.text.length) {
      const [kind, end] = this.comment() ?? this.string() ?? this.number() ?? this.word() ?? [null, this.at + 1];
      if (kind) {
        this.flush();
        this.out.push({ kind, text: this.text.slice(this.at, end) });
        this.plain = end;
      }
      this.at = end;
    }
    this.flush();
    return this.out;
  }

  flush() {
    if (this.at > this.plain) this.out.push({ kind: null, text: this.text.slice(this.plain, this.at) });
  }

  /** Where the text that begins here ends: behind `close`, or at the end of everything. */
  behind(close, from) {
    const found = this.text.indexOf(close, from);
    return found < 0 ? this.text.length : found + close.length;
  }

  lineEnd() {
    const found = this.text.indexOf("\n", this.at);
    return found < 0 ? this.text.length : found;
  }

  comment() {
    const { text, at, language } = this;
    const [open, close] = language.block ?? [];
    if (open && text.startsWith(open, at)) return ["comment", this.behind(close, at + open.length)];
    const line = language.line?.find((line) => text.startsWith(line, at));
    // In some languages a # within a word is no comment.
    if (line && (!language.spaced || at === 0 || /\s/.test(text[at - 1]))) return ["comment", this.lineEnd()];
    const first = language.directives && text[at] === "#" && /(^|\n)[ \t]*$/.test(text.slice(Math.max(0, at - 40), at));
    return first ? ["keyword", at + /^#[ \t]*\w*/.exec(text.slice(at, at + 40))[0].length] : null;
  }

  string() {
    const { text, at, language } = this;
    const char = language.chars && /^'(?:[^'\\\n]|\\.[^']{0,8})'/.exec(text.slice(at, at + 14));
    if (char) return ["string", at + char[0].length];
    const quote = language.quotes.find((quote) => text.startsWith(quote, at));
    if (!quote) return null;
    const long = language.long?.includes(quote);
    let end = at + quote.length;
    while (end < text.length && !text.startsWith(quote, end)) {
      if (text[end] === "\n" && !long) return ["string", end];
      end += text[end] === "\\" ? 2 : 1;
    }
    end = Math.min(text.length, end + quote.length);
    return [this.isKey(end) ? "key" : "string", end];
  }

  number() {
    const before = this.text[this.at - 1] ?? " ";
    const found = /[\w$]/.test(before) ? null : /^(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?)\w*%?/.exec(this.text.slice(this.at, this.at + 48));
    return found && ["number", this.at + found[0].length];
  }

  word() {
    const { text, at, language } = this;
    const pattern = language.dashes ? /^[@!]?-{0,2}[A-Za-z_][\w-]*/ : /^(?:\$\{?)?[\p{L}_][\p{L}\p{N}_]*[?!]?|^\$[\d@#?*!$]/u;
    const found = pattern.exec(text.slice(at, at + 100));
    if (!found) return null;
    const word = /[?!]$/.test(found[0]) && !language.keywords.has(found[0]) ? found[0].slice(0, -1) : found[0];
    const end = at + word.length;
    const name = language.insensitive ? word.toLowerCase() : word;
    if (word.startsWith("$")) return [language.variables ? "name" : null, end];
    if (this.isKey(end)) return ["key", end];
    if (language.keywords.has(name)) return ["keyword", end];
    if (language.constants.has(name)) return ["constant", end];
    return [text[end] === "(" || text.startsWith("!(", end) ? "name" : null, end];
  }

  /** Whether what ends here names a value: it begins a line, or a colon follows. */
  isKey(end) {
    return Boolean(this.language.keys) && /^[ \t]*[:=](?![:/])/.test(this.text.slice(end, end + 12));
  }
}

function markup(text) {
  const out = [];
  const pattern = /(<!--[\s\S]*?(?:-->|$))|(<\/?)([A-Za-z][\w:-]*)|([A-Za-z_:@][\w:.-]*)(?==["'])|("[^"<]*"|'[^'<]*')(?=[^<]*>)|(&\w+;)/g;
  let plain = 0;
  const kinds = [null, "comment", null, "keyword", "key", "string", "constant"];
  for (const found of text.matchAll(pattern)) {
    for (let group = 1; group < kinds.length; group += 1) {
      if (found[group] === undefined || !kinds[group]) continue;
      const begin = group === 3 ? found.index + found[2].length : found.index;
      if (begin > plain) out.push({ kind: null, text: text.slice(plain, begin) });
      out.push({ kind: kinds[group], text: found[group] });
      plain = begin + found[group].length;
    }
  }
  if (plain < text.length) out.push({ kind: null, text: text.slice(plain) });
  return out;
}

function diff(text) {
  const kind = (line) => (/^(?:@@|---|\+\+\+)/.test(line) ? "comment" : { "+": "added", "-": "removed" }[line[0]] ?? null);
  return text.split(/(?<=\n)/).map((line) => ({ kind: kind(line), text: line }));
}
