// Conversations as data: node --test tests/page
import assert from "node:assert/strict";
import test from "node:test";

import * as conversation from "../../server/page/conversation.js";

const texts = (one) => conversation.path(one).map((node) => node.text);

function talk() {
  const one = conversation.create({ model: "m", system: "Be brief." });
  const question = conversation.append(one, "", "user", "Hello");
  const answer = conversation.append(one, question.id, "assistant", "Hi");
  return { one, question, answer };
}

test("what was answered or asked again keeps what was there before", () => {
  const { one, question, answer } = talk();
  const again = conversation.append(one, question.id, "assistant", "Good day");
  assert.deepEqual(texts(one), ["Hello", "Good day"]);
  assert.equal(conversation.turn(one, again, -1), answer);
  assert.deepEqual(texts(one), ["Hello", "Hi"]);
  assert.equal(conversation.turn(one, answer, -1), undefined);
  const edited = conversation.append(one, "", "user", "Hello there");
  assert.deepEqual(texts(one), ["Hello there"]);
  conversation.turn(one, edited, -1);
  assert.deepEqual(texts(one), ["Hello", "Hi"], "what followed it is there again");
  assert.equal(conversation.variants(one, answer).length, 2);
});

test("a request has the system prompt, what was said, and nothing of what was not", () => {
  const { one, answer } = talk();
  const empty = conversation.append(one, answer.id, "assistant", "");
  assert.deepEqual(conversation.requestMessages(one, empty), [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Hello" },
    { role: "assistant", content: "Hi" },
  ]);
  assert.deepEqual(conversation.requestSampling({ temperature: 0, top_k: NaN, seed: 3, stop: ["", "x"], other: 1 }), {
    temperature: 0,
    seed: 3,
    stop: ["x"],
  });
});

test("titles are how a conversation begins", () => {
  const { one } = talk();
  assert.equal(conversation.titleOf(one), "Hello");
  one.title = "Greetings";
  assert.equal(conversation.titleOf(one), "Greetings");
  assert.equal(conversation.titleOf(conversation.create({ kind: "text" })), "New text");
  const long = conversation.create({ kind: "text" });
  long.text = `\n${"word ".repeat(40)}\nmore`;
  assert.ok(conversation.titleOf(long).length <= 60 && conversation.titleOf(long).endsWith("…"));
});

test("what is exported is imported as it was", () => {
  const { one, answer } = talk();
  answer.stats = { tokens: 3, seconds: 1, first: 0.5 };
  const text = conversation.create({ kind: "text", sampling: { temperature: 0.5, stop: ["a"] } });
  text.text = "Once";
  const [first, second] = conversation.imported(conversation.exported([one, text]));
  assert.deepEqual(first, one);
  assert.deepEqual({ ...second, past: [] }, text);
});

test("a file can hold anything, and what is no conversation is refused or left out", () => {
  const wrong = (text, why) => assert.throws(() => conversation.imported(text), why, text);
  const file = (...conversations) => JSON.stringify({ format: "tcrt-conversations", version: 1, conversations });
  wrong("{", /not JSON/);
  wrong("null", /holds no conversations/);
  wrong('{"format": "other"}', /holds no conversations/);
  wrong('{"format": "tcrt-conversations", "version": 2, "conversations": []}', /version 2/);
  wrong(file(3), /conversation 1: it is none/);
  wrong(file({ nodes: { a: { role: "system", text: "x", parent: "" } } }), /a message is none/);
  wrong(file({ nodes: { a: { role: "user", text: "x", parent: "z" } } }), /nothing before it/);
  const circle = { nodes: { aaaa: { role: "user", text: "x", parent: "bbbb" }, bbbb: { role: "user", text: "y", parent: "aaaa" } }, chosen: { aaaa: "bbbb", bbbb: "aaaa" } };
  assert.deepEqual(texts(conversation.imported(file(circle))[0]), [], "a circle hangs on nothing, so nothing of it is shown");
  const [odd] = conversation.imported(
    file({ id: "<script>", title: 3, sampling: { temperature: 99, stop: [1, "x"], seed: "y" }, extra: { html: "<b>" }, created: "now" }),
  );
  assert.match(odd.id, /^[0-9a-f]{24}$/);
  assert.deepEqual([odd.title, odd.sampling, odd.extra], ["", { temperature: 2, stop: ["x"] }, undefined]);
});

test("a text can be undone step by step", () => {
  const one = conversation.create({ kind: "text" });
  for (const text of ["a", "ab", "ab"]) {
    one.text = text;
    conversation.keepPast(one);
  }
  assert.deepEqual(one.past, ["a", "ab"]);
});
