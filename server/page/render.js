// A tree of Markdown as nodes of the document. Text becomes text nodes and nothing else: no string is ever read as HTML.

import { parse } from "./markdown.js";
import { highlight, nameOf } from "./highlight.js";
import { h, icon } from "./dom.js";

/**
 * Shows a text in `container`, which showed an earlier state of it before: blocks that are the same stay as they are, and of one that
 * has grown only what is new changes, so that nothing flickers and what is selected stays selected.
 */
export function show(container, text) {
  const blocks = parse(text);
  const before = container.shownBlocks ?? [];
  for (const [i, block] of blocks.entries()) {
    const shown = container.children[i];
    if (shown && before[i] === block.raw) continue;
    const node = element(block);
    if (shown) morph(shown, node);
    else container.append(node);
  }
  while (container.children.length > blocks.length) container.lastElementChild.remove();
  container.shownBlocks = blocks.map((block) => block.raw);
}

function element(block) {
  switch (block.type) {
    case "heading":
      // Below the page's own headings.
      return h(`h${Math.min(6, block.level + 2)}`, {}, inline(block.content));
    case "paragraph":
      return h("p", {}, inline(block.content));
    case "code":
      return code(block);
    case "quote":
      return h("blockquote", {}, block.blocks.map(element));
    case "list":
      return list(block);
    case "table":
      return table(block);
    default:
      return h("hr");
  }
}

function inline(nodes) {
  return nodes.map((node) => {
    switch (node.type) {
      case "text":
        return node.text;
      case "break":
        return h("br");
      case "code":
        return h("code", {}, node.text);
      case "link":
        return h(
          "a",
          { href: node.href, title: node.title ?? null, target: "_blank", rel: "noopener noreferrer nofollow" },
          inline(node.children),
        );
      default:
        return h(node.type, {}, inline(node.children));
    }
  });
}

function code({ lang, text }) {
  const spans = highlight(text, lang).map(({ kind, text }) => (kind ? h("span", { class: kind }, text) : text));
  const copy = h("button", { type: "button", class: "copy quiet", "aria-label": "Copy code", title: "Copy code" }, icon("copy"));
  const head = h("div", { class: "code-head" }, h("span", {}, nameOf(lang)), copy);
  // It can be scrolled, so it must be reachable without a mouse.
  const pre = h("pre", { tabindex: "0", role: "region", "aria-label": `Code${lang ? `, ${nameOf(lang)}` : ""}` }, h("code", {}, spans));
  return h("div", { class: "code" }, head, pre);
}

function list({ ordered, start, tight, items }) {
  const item = ({ task, blocks }) => {
    const content = blocks.flatMap((block) =>
      tight && block.type === "paragraph" ? inline(block.content) : [element(block)],
    );
    if (task === null) return h("li", {}, content);
    const box = h("input", { type: "checkbox", disabled: true, checked: task, "aria-label": task ? "Done" : "To do" });
    return h("li", { class: "task" }, box, content);
  };
  return h(ordered ? "ol" : "ul", { start: ordered && start !== 1 ? String(start) : null }, items.map(item));
}

function table({ align, head, rows }) {
  const cell = (tag) => (content, i) =>
    h(tag, { class: align[i] ? `to-${align[i]}` : null, scope: tag === "th" ? "col" : null }, inline(content));
  const body = rows.map((row) => h("tr", {}, row.map(cell("td"))));
  const whole = h("table", {}, h("thead", {}, h("tr", {}, head.map(cell("th")))), h("tbody", {}, body));
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, whole);
}

/** Makes a node like another one, changing no more than differs. */
function morph(old, now) {
  if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) {
    old.replaceWith(now);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data === now.data) return;
    if (now.data.startsWith(old.data)) old.appendData(now.data.slice(old.data.length));
    else old.data = now.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const [olds, nows] = [[...old.childNodes], [...now.childNodes]];
  for (const [i, child] of nows.entries()) {
    if (olds[i]) morph(olds[i], child);
    else old.append(child);
  }
  for (const child of olds.slice(nows.length)) child.remove();
}
