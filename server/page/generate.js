// Replies on their way: each belongs to its conversation and goes on while another one is looked at.

import { ApiError, stream } from "./api.js";
import { requestMessages, requestSampling, variants } from "./conversation.js";

/** How far a plain text goes on at a time, where nothing else is said. */
export const TEXT_TOKENS = 256;

/** By conversation: how to stop its reply, and what it has brought so far. */
const running = new Map();

export function isRunning(conversation) {
  return running.has(conversation.id);
}

/** The figures of a reply on its way. */
export function progress(conversation) {
  return running.get(conversation.id)?.meter.stats();
}

export function stop(conversation) {
  running.get(conversation.id)?.controller.abort();
}

export function anyRunning() {
  return running.size > 0;
}

/** Counts tokens and time. */
class Meter {
  begin = performance.now();
  first = 0;
  tokens = 0;

  token() {
    this.last = performance.now();
    this.first ||= this.last;
    this.tokens += 1;
  }

  /** Seconds to the first token, and from there to the last one. The server's count is the right one: a token may bring no text. */
  stats(usage) {
    const first = this.first ? (this.first - this.begin) / 1000 : 0;
    const seconds = this.first ? (this.last - this.first) / 1000 : 0;
    return { tokens: usage?.completion_tokens ?? this.tokens, seconds, first };
  }
}

/** Tokens per second; null where too few came to say. */
export function rate({ tokens, seconds }) {
  return tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null;
}

/**
 * Asks for an assistant's message and fills it. `onUpdate` is called when something of it has changed. What goes wrong becomes the message's
 * `error`.
 */
export async function reply(conversation, node, model, onUpdate) {
  const sampling = requestSampling(conversation.sampling);
  // With a seed of one's own, another try is to be another reply.
  if (sampling.seed !== undefined) sampling.seed += variants(conversation, node).indexOf(node);
  const messages = requestMessages(conversation, conversation.nodes[node.parent]);
  node.model = model;
  const take = (choice) => {
    node.text += choice.delta?.content ?? "";
    if (choice.finish_reason) node.finish = choice.finish_reason;
  };
  await fill(conversation, node, "v1/chat/completions", { model, messages, ...sampling }, take, onUpdate);
}

/** Goes on with a text; `node` is where figures and errors go. */
export async function goOn(conversation, node, model, onUpdate) {
  const sampling = { max_tokens: TEXT_TOKENS, ...requestSampling(conversation.sampling) };
  const take = (choice) => {
    conversation.text += choice.text ?? "";
    if (choice.finish_reason) node.finish = choice.finish_reason;
  };
  await fill(conversation, node, "v1/completions", { model, prompt: conversation.text, ...sampling }, take, onUpdate);
}

async function fill(conversation, node, path, body, take, onUpdate) {
  const [controller, meter] = [new AbortController(), new Meter()];
  running.set(conversation.id, { controller, meter });
  delete node.error;
  delete node.stopped;
  delete node.finish;
  let usage;
  onUpdate();
  try {
    for await (const event of stream(path, body, controller.signal)) {
      usage = event.usage ?? usage;
      const [choice] = event.choices ?? [];
      if (!choice) continue;
      // The first event of a chat has only a role, the last only why it ended.
      if (choice.delta?.content || choice.text) meter.token();
      take(choice);
      onUpdate();
    }
  } catch (error) {
    if (error.name === "AbortError") node.stopped = true;
    else if (error instanceof ApiError) node.error = { message: error.message, status: error.status, retryAfter: error.retryAfter };
    else node.error = { message: `The page failed: ${error.message}.`, status: 0 };
  } finally {
    running.delete(conversation.id);
    if (meter.tokens > 0) node.stats = meter.stats(usage);
    conversation.updated = Date.now();
    onUpdate();
  }
}
