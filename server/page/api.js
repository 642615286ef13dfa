// What the page asks of its server: the models, and replies as they come.

import { preference } from "./store.js";

/** What went wrong, in words for who reads the page. */
export class ApiError extends Error {
  constructor(message, { status = 0, retryAfter = 0 } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The key is kept for this tab, and beyond it where that was wished. */
export const key = {
  get: () => sessionStorage.getItem("tcrt.key") ?? preference("key") ?? "",
  set(value, remember) {
    sessionStorage.setItem("tcrt.key", value);
    preference("key", remember && value ? value : null);
  },
};

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const body = await response.json().catch(() => null);
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const message = body?.error?.message ?? `The server answered with status ${response.status}.`;
  return new ApiError(message, { status: response.status, retryAfter });
}

export async function models() {
  const response = await ask("v1/models");
  return (await response.json()).data;
}

/**
 * The events of a streamed answer. Ends when the server says that it is whole; what breaks off throws.
 */
export async function* stream(path, body, signal) {
  const response = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(event.error.message ?? "The server gave up.");
    yield event;
  }
  throw new ApiError("The connection broke off before the answer was whole.");
}

/** The data of server-sent events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffer += value;
      const lines = buffer.split("\n");
      buffer = lines.pop();
      for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The connection broke off before the answer was whole.");
  } finally {
    // Who stops reading leaves, and the server ends the reply.
    reader.cancel().catch(() => {});
  }
}
