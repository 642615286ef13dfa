// Markdown as models write it, from text to a tree of blocks. Nothing here touches a document: render.js does.
//
// It is CommonMark with GitHub's tables, task lists and strikethrough, and differs where that reads what models write better: a line's
// end is a line's end, two spaces nest a list, a line of dashes is a rule and never makes the paragraph before it a heading, and
// HTML is text.

import { parseInline } from "./inline.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:([ \t]+)(.*))?$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
/** Quotes and lists deeper than this are text. */
const MAX_DEPTH = 16;

/** The blocks of a text; each has the part of the source that it is made of, as `raw`. */
export function parse(text) {
  return parseBlocks(text.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n"), 0);
}

function parseBlocks(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const [block, end] = parseBlock(lines, at, depth);
    blocks.push({ ...block, raw: lines.slice(at, end).join("\n") });
    at = end;
  }
  return blocks;
}

/** The block that begins in line `at`, and the line after it. */
function parseBlock(lines, at, depth) {
  const line = lines[at];
  const fence = fenceOf(line);
  if (fence) return code(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ type: "heading", level: heading[1].length, content: parseInline(heading[2] ?? "") }, at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < MAX_DEPTH && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < MAX_DEPTH && ITEM.test(line)) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at, depth);
}

function isBlank(line) {
  return line.trim() === "";
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function fenceOf(line) {
  const found = FENCE.exec(line);
  // What follows backticks on their line has none: else it is a span of code.
  return found && !(found[1][0] === "`" && found[2].includes("`")) ? found : null;
}

/** Up to the closing fence, or to the end: what still streams is code already. */
function code(lines, at, [, fence, info]) {
  const indent = indentOf(lines[at]);
  const closes = (line) => {
    const found = /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(line);
    return found && found[1][0] === fence[0] && found[1].length >= fence.length;
  };
  let end = at + 1;
  while (end < lines.length && !closes(lines[end])) end += 1;
  const body = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent, indentOf(line))));
  const closed = end < lines.length;
  const lang = info.trim().split(/[\s{,]/)[0];
  return [{ type: "code", lang, text: body.join("\n"), closed }, closed ? end + 1 : end];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ type: "quote", blocks: parseBlocks(inside, depth + 1) }, end];
}

/** Whether a line begins something that ends the paragraph before it. */
function interrupts(lines, at) {
  const line = lines[at];
  const item = ITEM.exec(line);
  // As in CommonMark, an empty item does not interrupt, nor a number other than 1: it is a number in a text.
  const begins = item && item[4]?.trim() && (/^[-*+]/.test(item[2]) || Number.parseInt(item[2], 10) === 1);
  return begins || fenceOf(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || isTable(lines, at);
}

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end])) {
    if (/^ {0,3}=+[ \t]*$/.test(lines[end])) {
      const text = lines.slice(at, end).join("\n");
      return [{ type: "heading", level: 1, content: parseInline(text.trim()) }, end + 1];
    }
    if (depth < MAX_DEPTH && interrupts(lines, end)) break;
    end += 1;
  }
  const text = lines.slice(at, end).map((line) => line.trimStart());
  return [{ type: "paragraph", content: parseInline(text.join("\n").trimEnd()) }, end];
}

function list(lines, first, depth) {
  const [, , marker] = ITEM.exec(lines[first]);
  const ordered = /\d/.test(marker);
  const items = [];
  let loose = false;
  let at = first;
  while (at < lines.length) {
    const begin = ITEM.exec(lines[at]);
    if (!begin || /\d/.test(begin[2]) !== ordered || RULE.test(lines[at])) break;
    const [content, end] = itemLines(lines, at, begin);
    items.push(item(content, depth));
    const next = skipBlank(lines, end);
    const more = next < lines.length && ITEM.exec(lines[next]);
    loose ||= items.at(-1).spaced || (next > end && more && /\d/.test(more[2]) === ordered);
    at = end;
    if (!more) break;
    at = next;
  }
  const tight = !loose;
  const block = { type: "list", ordered, start: ordered ? Number.parseInt(marker, 10) : 1, tight, items };
  return [block, Math.max(at, first + 1)];
}

function skipBlank(lines, at) {
  while (at < lines.length && isBlank(lines[at])) at += 1;
  return at;
}

/** The lines of an item without their indentation, and the line after it. */
function itemLines(lines, first, [, indent, marker, space, rest]) {
  const width = indent.length + marker.length + Math.min(space?.length ?? 1, 4);
  // What lies at least two columns behind the marker belongs to it, even where that is not where its text began.
  const least = Math.min(width, indent.length + 2);
  const content = [rest ?? ""];
  let at = first + 1;
  let blanks = 0;
  for (; at < lines.length; at += 1) {
    const line = lines[at];
    if (isBlank(line)) {
      blanks += 1;
      continue;
    }
    const inside = indentOf(line) >= least;
    const lazy = blanks === 0 && !ITEM.test(line) && !interrupts(lines, at);
    if (!inside && !lazy) break;
    content.push(...Array(blanks).fill(""), line.slice(Math.min(width, indentOf(line))));
    blanks = 0;
  }
  return [content, at - blanks];
}

function item(lines, depth) {
  const task = /^\[([ xX])\][ \t]+/.exec(lines[0]);
  const body = task ? [lines[0].slice(task[0].length), ...lines.slice(1)] : lines;
  const blocks = parseBlocks(body, depth + 1);
  // Blank lines between the item's own blocks, other than those within code, make the list a loose one.
  const spaced = blocks.length > 1 && blocks.slice(1).some((block) => block.type === "paragraph");
  return { task: task ? task[1] !== " " : null, blocks, spaced };
}

function cells(line) {
  const parts = [];
  let cell = "";
  const text = line.trim().replace(/^\|/, "");
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === "\\" && text[i + 1] === "|") {
      cell += "|";
      i += 1;
    } else if (text[i] === "|") {
      parts.push(cell);
      cell = "";
    } else {
      cell += text[i];
    }
  }
  return (cell.trim() === "" && text.endsWith("|") ? parts : [...parts, cell]).map((cell) => cell.trim());
}

function isTable(lines, at) {
  const [head, delimiters] = [lines[at], lines[at + 1]];
  if (!head.includes("|") || delimiters === undefined || !DELIMITERS.test(delimiters)) return false;
  return delimiters.includes("|") && cells(head).length === cells(delimiters).length;
}

function table(lines, at) {
  const alignment = (cell) => {
    const [left, right] = [cell.startsWith(":"), cell.endsWith(":")];
    return left && right ? "center" : right ? "right" : left ? "left" : null;
  };
  const align = cells(lines[at + 1]).map(alignment);
  const row = (line) => {
    const own = cells(line);
    return align.map((_, i) => parseInline(own[i] ?? ""));
  };
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && !isBlank(lines[end])) end += 1;
  const rows = lines.slice(at + 2, end).map(row);
  return [{ type: "table", align, head: row(lines[at]), rows }, end];
}
