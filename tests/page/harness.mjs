// What the page's tests need: a browser, and a server between it and the real one that answers some messages by a script.
import http from "node:http";
import { createRequire } from "node:module";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export const MARKDOWN = [
  "# Prefixes", "", "The **first** and the *last* of `sorted` strings.", "", "```python", "def prefix(strings):",
  "    # a comment that is so long that it does not fit into a narrow window, wherever that may be, and so has to be scrolled",
  "    return strings[0]", "```", "", "1. one", "   - nested", "2. two", "", "| Name | Time |", "|:--|--:|", "| a | 1 ms |", "",
  "> quoted", "", "[a link](https://example.org/x) and ~~struck~~ and - [ ] no task.", "",
].join("\n");

export const HOSTILE =
  "<img src=x onerror=\"window.pwned = 1\"> <script>window.pwned = 1</script> [x](javascript:window.pwned=1) <svg onload=window.pwned=1>\n\n" +
  "| <img src=x onerror=window.pwned=1> |\n|---|\n| <a href=javascript:window.pwned=1>y</a> |\n\n```html\n<iframe srcdoc=\"<script>parent.pwned=1</script>\">\n```";

/** A server that passes on to `upstream`, but for what its script knows. */
export class Scripted {
  constructor(upstream) {
    this.upstream = new URL(upstream);
    /** The bodies of requests for replies. */
    this.asked = [];
    /** Requests must bring this key, where there is one. */
    this.key = null;
    this.held = [];
    this.busy = 0;
    this.server = http.createServer((request, response) => this.answer(request, response));
  }

  async start() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/`;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** Lets replies that are held go on. */
  release() {
    for (const go of this.held.splice(0)) go();
  }

  async answer(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const api = request.url.startsWith("/v1/");
    if (api && this.key && request.headers.authorization !== `Bearer ${this.key}`) {
      return this.json(response, 401, { error: { message: "Incorrect API key.", code: "invalid_api_key" } });
    }
    if (request.url === "/v1/models") return this.models(response);
    if (api && request.method === "POST") {
      const asked = JSON.parse(body);
      this.asked.push(asked);
      const last = asked.prompt ?? asked.messages.at(-1).content;
      const script = this.script(last);
      if (script) return script(response, asked.prompt !== undefined);
    }
    return this.pass(request, body, response);
  }

  /** The real server's models, and one that knows no conversation. */
  async models(response) {
    const chunks = [];
    const answer = await new Promise((resolve, reject) => this.ask({ path: "/v1/models" }, resolve).on("error", reject).end());
    for await (const chunk of answer) chunks.push(chunk);
    const list = JSON.parse(Buffer.concat(chunks));
    list.data.push({ id: "base", object: "model", context_length: 512, chat: false });
    this.json(response, 200, list);
  }

  json(response, status, value, headers = {}) {
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(value));
  }

  /** Asks the real server, on a connection of its own: those that say nothing are closed after a while. */
  ask(options, take) {
    const { hostname, port } = this.upstream;
    return http.request({ hostname, port, agent: false, ...options }, take);
  }

  pass(request, body, response) {
    const inner = this.ask({ path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    response.on("close", () => inner.destroy());
    inner.on("error", () => response.destroy());
    inner.end(body);
  }

  script(said) {
    const [word] = said.trim().split(/\s+/).slice(-1);
    return {
      "!markdown": (response, plain) => this.say(response, plain, MARKDOWN),
      "!hostile": (response, plain) => this.say(response, plain, HOSTILE),
      "!long": (response, plain) => this.say(response, plain, "A line of many.\n\n".repeat(80)),
      "!hold": (response, plain) => this.say(response, plain, "Some words come and then", " the rest."),
      "!break": (response, plain) => this.say(response, plain, "This breaks", null),
      "!busy": (response, plain) => {
        this.busy += 1;
        if (this.busy % 2 === 0) return this.say(response, plain, "There was room.");
        return this.json(response, 429, { error: { message: "The server is full." } }, { "Retry-After": "3" });
      },
      "!count": (response, plain) => this.say(response, plain, `Answer number ${this.asked.length}.`),
    }[word];
  }

  /** Streams a text token by token; `rest` comes when it is released, and null then breaks the stream off. */
  async say(response, plain, text, rest) {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const event = (value) => response.write(`data: ${JSON.stringify(value)}\n\n`);
    const piece = (text) => (plain ? { index: 0, text } : { index: 0, delta: { content: text } });
    let tokens = 0;
    const send = (text) => {
      for (const token of text.match(/\S+\s*|\s+/g)) {
        event({ choices: [piece(token)] });
        tokens += 1;
      }
    };
    send(text);
    if (rest !== undefined) {
      await new Promise((resolve) => {
        this.held.push(resolve);
        response.on("close", resolve);
      });
      if (rest === null) response.destroy();
      if (response.destroyed) return;
      send(rest);
    }
    event({ choices: [{ ...piece(""), finish_reason: "stop" }] });
    event({ choices: [], usage: { prompt_tokens: 1, completion_tokens: tokens } });
    response.end("data: [DONE]\n\n");
  }
}

/** A browser; `folder` has playwright-core and axe-core in its node_modules. */
export async function launch(folder) {
  const require = createRequire(`${folder}/`);
  const { chromium } = require("playwright-core");
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS, timeout: 300_000 });
  return { browser, axe: require("axe-core").source };
}
