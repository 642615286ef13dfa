// Keeps conversations as they change.

import { isEmpty } from "./conversation.js";
import { toast } from "./dom.js";
import { put } from "./store.js";

/** Several times a second is not necessary. */
const EVERY = 300;

const waiting = new Map();

/** Soon, unless nothing was said yet. */
export function keep(conversation) {
  if (isEmpty(conversation) || waiting.has(conversation.id)) return;
  waiting.set(conversation.id, { conversation, timer: setTimeout(() => keepNow(conversation), EVERY) });
}

export async function keepNow(conversation) {
  forget(conversation);
  if (isEmpty(conversation)) return;
  try {
    await put(conversation);
  } catch (error) {
    toast(`Not kept: the browser says "${error.message}".`);
  }
}

/** It will not be kept after all. */
export function forget(conversation) {
  clearTimeout(waiting.get(conversation.id)?.timer);
  waiting.delete(conversation.id);
}

/** What waits, at once: the page is left. */
export function keepAll() {
  for (const { conversation } of [...waiting.values()]) keepNow(conversation);
}
