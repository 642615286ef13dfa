// The page's reader of Markdown, and what its colours make of code: node --test tests/page
import assert from "node:assert/strict";
import test from "node:test";

import { highlight, nameOf } from "../../server/page/highlight.js";
import { parseInline, safeHref } from "../../server/page/inline.js";
import { parse } from "../../server/page/markdown.js";

/** Inline nodes in a short form: `<em>x</em>`, `⏎` for a line's end. */
function inline(nodes) {
  const one = (node) => {
    if (node.type === "text") return node.text;
    if (node.type === "break") return "⏎";
    if (node.type === "code") return `<code>${node.text}</code>`;
    return `<${node.type}${node.href ? ` ${node.href}` : ""}>${inline(node.children)}</${node.type}>`;
  };
  return nodes.map(one).join("");
}

/** Blocks in a short form, in which their nesting can be seen. */
function outline(blocks) {
  return blocks.map((block) => {
    switch (block.type) {
      case "heading":
        return `h${block.level}(${inline(block.content)})`;
      case "paragraph":
        return `p(${inline(block.content)})`;
      case "code":
        return `code:${block.lang}${block.closed ? "" : ":open"}(${block.text})`;
      case "quote":
        return `quote(${outline(block.blocks)})`;
      case "list": {
        const name = block.ordered ? `ol:${block.start}` : "ul";
        const task = (item) => (item.task === null ? "" : item.task ? "[x]" : "[ ]");
        return `${name}${block.tight ? "" : ":loose"}(${block.items.map((item) => task(item) + outline(item.blocks)).join(" | ")})`;
      }
      case "table":
        return `table(${[block.head, ...block.rows].map((row) => row.map(inline).join(", ")).join(" / ")}; ${block.align.join(" ")})`;
      default:
        return block.type;
    }
  }).join(" ");
}

const read = (text) => outline(parse(text));
const line = (text) => inline(parseInline(text));

function same(cases, how) {
  for (const [text, expected] of cases) assert.equal(how(text), expected, JSON.stringify(text));
}

test("emphasis", () => {
  same(
    [
      ["**bold** and *em* and ***both***", "<strong>bold</strong> and <em>em</em> and <em><strong>both</strong></em>"],
      ["a * b * c, 2*3*4", "a * b * c, 2<em>3</em>4"],
      ["snake_case_name and _em_", "snake_case_name and <em>em</em>"],
      ["**a *b* c** and *a **b***", "<strong>a <em>b</em> c</strong> and <em>a <strong>b</strong></em>"],
      ["**unclosed and *more", "**unclosed and *more"],
      ["é**wichtig**. 你**好**。", "é<strong>wichtig</strong>. 你<strong>好</strong>。"],
      ["~~gone~~ ~5 ~~~x~~~", "<del>gone</del> ~5 ~~~x~~~"],
      ["\\*not\\* \\a", "*not* \\a"],
      ["****", "****"],
      ["*(a)*, **\"b\"**", "<em>(a)</em>, <strong>\"b\"</strong>"],
    ],
    line,
  );
});

test("code within a line", () => {
  same(
    [
      ["`a` ``b`c`` ` d ` `e", "<code>a</code> <code>b`c</code> <code>d</code> `e"],
      ["`**a**` and `<b>`", "<code>**a**</code> and <code><b></code>"],
      ["``", "``"],
    ],
    line,
  );
});

test("links lead to addresses that are safe, and nowhere else", () => {
  same(
    [
      ["[x](http://a.b/c_(d) \"t\") [**y**](<https://e.f>)", "<link http://a.b/c_(d)>x</link> <link https://e.f/><strong>y</strong></link>"],
      ["[x](javascript:alert(1)) [x](data:text/html,y) [x](/local)", "[x](javascript:alert(1)) [x](data:text/html,y) [x](/local)"],
      ["[x](JaVaScRiPt:alert) <javascript:alert(1)> [x](\u0001javascript:y)", "[x](JaVaScRiPt:alert) <javascript:alert(1)> [x](\u0001javascript:y)"],
      ["![picture](https://x.y/z.png)", "<link https://x.y/z.png>picture</link>"],
      ["see https://a.b/c). <mailto:a@b.c>", "see <link https://a.b/c>https://a.b/c</link>). <link mailto:a@b.c>a@b.c</link>"],
      ["(https://en.wikipedia.org/wiki/A_(b)) xhttp://no", "(<link https://en.wikipedia.org/wiki/A_(b)>https://en.wikipedia.org/wiki/A_(b)</link>) xhttp://no"],
      ["[a](b [c](http://d.e)", "[a](b <link http://d.e/>c</link>"],
      ["array[0] and [1]", "array[0] and [1]"],
    ],
    line,
  );
  assert.equal(safeHref("javascript:alert(1)"), null);
  assert.equal(safeHref("vbscript:x"), null);
  assert.equal(safeHref("https://a.b"), "https://a.b/");
});

test("HTML is text, but for a line's end", () => {
  same(
    [
      ["<img src=x onerror=alert(1)><script>y</script>", "<img src=x onerror=alert(1)><script>y</script>"],
      ["a<br>b<br/>c\\\nd", "a⏎b⏎c⏎d"],
      ["&lt;b&gt; &amp;", "&lt;b&gt; &amp;"],
    ],
    line,
  );
  assert.equal(read("<div onclick=x>\n**y**\n</div>"), "p(<div onclick=x>⏎<strong>y</strong>⏎</div>)");
});

test("headings, rules, paragraphs, quotes", () => {
  same(
    [
      ["# A #\n## B *c*\n####### no", "h1(A) h2(B <em>c</em>) p(####### no)"],
      ["one\ntwo\n\nthree", "p(one⏎two) p(three)"],
      ["text\n---\nmore\n***", "p(text) rule p(more) rule"],
      ["Title\n=====\ntext", "h1(Title) p(text)"],
      ["> a\n> > b\n>\n> - c\nnot", "quote(p(a) quote(p(b)) ul(p(c))) p(not)"],
      ["#tag and C# #", "p(#tag and C# #)"],
      ["", ""],
    ],
    read,
  );
});

test("lists", () => {
  same(
    [
      ["- a\n- b\n* c", "ul(p(a) | p(b) | p(c))"],
      ["3. x\n4. y", "ol:3(p(x) | p(y))"],
      ["1. a\n  - b\n  - c\n2. d", "ol:1(p(a) ul(p(b) | p(c)) | p(d))"],
      ["- a\n\n- b", "ul:loose(p(a) | p(b))"],
      ["- a\n\n  more\n- b", "ul:loose(p(a) p(more) | p(b))"],
      ["- [ ] do\n- [x] done", "ul([ ]p(do) | [x]p(done))"],
      ["1. Code:\n   ```js\n   x\n   ```\n2. y", "ol:1(p(Code:) code:js(x) | p(y))"],
      ["- a\nlazy\n\nafter", "ul(p(a⏎lazy)) p(after)"],
      ["In\n1986. That year\n2. x", "p(In⏎1986. That year⏎2. x)"],
      ["text\n- a", "p(text) ul(p(a))"],
      ["- a\n1. b", "ul(p(a)) ol:1(p(b))"],
      ["* **A**: x\n    * b\n        * c", "ul(p(<strong>A</strong>: x) ul(p(b) ul(p(c))))"],
      ["-", "ul()"],
    ],
    read,
  );
});

test("code is code while it still comes", () => {
  same(
    [
      ["```python\nx = 1\n\n# y\n```\nafter", "code:python(x = 1\n\n# y) p(after)"],
      ["```\nopen", "code::open(open)"],
      ["~~~ c++ {1}\na\n```\n~~~", "code:c++(a\n```)"],
      ["````md\n```\nx\n```\n````", "code:md(```\nx\n```)"],
      ["``` no `fence`", "p(``` no <code>fence</code>)"],
    ],
    read,
  );
});

test("tables", () => {
  same(
    [
      ["| a | b |\n|:--|--:|\n| 1 | `x|y` |\n| 2 |", "table(a, b / 1, `x / 2, ; left right)"],
      ["a | b\n--|:-:\n1 \\| 2 | **3**\n\nafter", "table(a, b / 1 | 2, <strong>3</strong>;  center) p(after)"],
      ["a | b\nc | d", "p(a | b⏎c | d)"],
    ],
    read,
  );
});

test("every beginning of a text can be read, and its blocks hold all of it", () => {
  const text =
    "# T\n\nSome *text* with [a](http://b.c) and `code`.\n\n1. one\n   - two\n\n   ```js\n   f(`x`)\n   ```\n2. three\n\n> q **w\n> e**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n***\n~~x~~ <br> https://y.z\n";
  for (let end = 0; end <= text.length; end += 1) {
    const blocks = parse(text.slice(0, end));
    const words = (text) => text.match(/\w+/g) ?? [];
    assert.deepEqual(words(blocks.map((block) => block.raw).join("\n")), words(text.slice(0, end)));
  }
});

test("nothing is lost of a hostile text", () => {
  const long = 5_000;
  const texts = ["*a ".repeat(long), "[".repeat(long), "`".repeat(long), "> ".repeat(long), "- ".repeat(long), "a*".repeat(long), "|".repeat(long) + "\n" + "-|".repeat(long), "<".repeat(long), "_*".repeat(long), "[a](".repeat(long), "**a** ".repeat(long), "((".repeat(long), "\\".repeat(long)];
  for (const text of texts) assert.equal(parse(text).map((block) => block.raw).join("\n"), text);
});

test("colours lose nothing", () => {
  const samples = {
    rust: "fn main() { let x: &'a str = \"hi\\\"\"; // c\n  println!(\"{}\", 1_000.5e3); }",
    python: "def f(a, *, b=None):\n    \"\"\"doc\n    \"\"\"\n    return f'{a}' # x",
    html: "<div class=\"a\" id='b'>x &amp; <!-- c --></div>",
    json: "{\"a\": [1, true], \"b\": \"x: y\"}",
    bash: "echo \"$HOME\" ${X} foo#bar # c\nfor i in 1 2; do x; done",
    diff: "- a\n+ b\n",
    unknown: "x",
    "": "<b>",
  };
  for (const [lang, text] of Object.entries(samples)) {
    for (let end = 0; end <= text.length; end += 1) {
      const pieces = highlight(text.slice(0, end), lang);
      assert.equal(pieces.map((piece) => piece.text).join(""), text.slice(0, end), lang);
    }
  }
  const kinds = (text, lang) => highlight(text, lang).filter(({ kind }) => kind).map(({ kind, text }) => `${kind} ${text}`);
  assert.deepEqual(kinds("def f(): return \"x\" # y", "py"), ["keyword def", "name f", "keyword return", "string \"x\"", "comment # y"]);
  assert.deepEqual(kinds("{\"a\": 1}", "json"), ["key \"a\"", "number 1"]);
  assert.deepEqual([nameOf("py"), nameOf("c++"), nameOf("JS"), nameOf("foo"), nameOf("constructor")], ["Python", "C++", "JavaScript", "foo", "constructor"]);
});
