// The page in a real browser: node page.mjs BASE_URL FOLDER [SCREENSHOTS], where FOLDER/node_modules has playwright-core and axe-core, and
// BASE_URL is a server of a model that has a chat format. What no script knows, the model answers.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";

import { HOSTILE, Scripted, launch } from "./harness.mjs";

const [upstream, folder, screenshots] = process.argv.slice(2);
const server = new Scripted(upstream);
await server.start();
const { browser, axe } = await launch(folder);

const LAST = ".message.assistant:last-child";
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

/** A page of its own, with nothing kept. What the browser complains of fails the test, but for answers that are meant to fail. */
async function open(options = {}, address = server.url, isReady = true) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error.stack)));
  page.on("console", (message) => {
    const expected = /status of (401|429)|ERR_INCOMPLETE_CHUNKED/.test(message.text());
    if (message.type() === "error" && !expected) page.complaints.push(message.text());
  });
  await page.goto(address);
  if (isReady) await ready(page);
  return page;
}

/** All keys do what they should, and the server is known. */
const ready = (page) => page.waitForSelector("body[data-state=ready]");

async function close(page) {
  assert.deepEqual(page.complaints, []);
  await page.context().close();
}

/** Sends a message, by the keyboard where there is one, and waits for the whole reply. */
async function say(page, text) {
  await ready(page);
  await page.locator("#message").focus();
  await page.keyboard.type(text);
  if (page.viewportSize().width < 500) await page.getByRole("button", { name: "Send", exact: true }).tap();
  else await page.keyboard.press("Enter");
  await ended(page);
}

const ended = (page) => page.waitForSelector(`${LAST}[aria-busy=false]`);
const reply = (page) => page.locator(`${LAST} .prose`).innerText();

/** Waits until this text is kept, or is not any more. */
async function kept(page, text, isThere = true) {
  const read = ([text, isThere]) =>
    new Promise((resolve, reject) => {
      const opening = indexedDB.open("tcrt");
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const all = opening.result.transaction("conversations").objectStore("conversations").getAll();
        all.onsuccess = () => {
          opening.result.close();
          resolve(JSON.stringify(all.result).includes(text) === isThere);
        };
      };
    });
  // `waitForFunction` takes a promise for true.
  for (const end = Date.now() + 60_000; !(await page.evaluate(read, [text, isThere])); await page.waitForTimeout(50)) {
    assert.ok(Date.now() < end, `${text}: ${isThere ? "not kept" : "still kept"}`);
  }
}

/** Tools of a conversation in the list are there when the mouse or the focus is. */
async function tool(page, name, conversation) {
  await page.getByRole("button", { name: conversation, exact: true }).hover();
  await page.getByRole("button", { name: `${name}: ${conversation}` }).click();
}

async function seen(page, what, name) {
  const found = await page.evaluate(async (source) => {
    // Given as text: a policy that forbids scripts does not bind the one who drives the browser.
    (0, eval)(source);
    // What is fading has the contrast of neither end.
    for (const running of document.getAnimations()) if (running instanceof CSSTransition) running.finish();
    const { violations, passes } = await globalThis.axe.run();
    if (passes.length < 20) return [`only ${passes.length} rules had anything to look at`];
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html.slice(0, 100)} ${node.failureSummary}`).join("; ")}`);
  }, axe).catch((error) => [String(error)]);
  assert.deepEqual(found, [], what);
  if (!screenshots) return;
  await mkdir(screenshots, { recursive: true });
  await page.screenshot({ path: path.join(screenshots, `${name}.png`) });
}

const checks = {
  async "a model answers, and the policy is kept"() {
    const page = await open();
    const answer = await page.request.get(server.url);
    assert.match(answer.headers()["content-security-policy"], /script-src 'self'/);
    await say(page, "Hello");
    assert.equal(server.asked.at(-1).messages.at(-1).content, "Hello");
    assert.match(await page.locator(`${LAST} .figures`).innerText(), /\d+ tokens?/);
    await close(page);
  },

  async "a reply streams, and Esc stops it"() {
    const page = await open();
    await page.locator("#message").focus();
    await page.keyboard.type("!hold");
    await page.keyboard.press("Enter");
    await page.getByText("Some words come and then").waitFor();
    assert.equal(await page.locator(LAST).getAttribute("aria-busy"), "true");
    assert.equal(await page.locator("#composer button").getAttribute("aria-label"), "Stop");
    await page.keyboard.press("Escape");
    await ended(page);
    assert.equal(await reply(page), "Some words come and then");
    assert.match(await page.locator(`${LAST} .figures`).innerText(), /^Stopped/);
    await say(page, "!count");
    assert.deepEqual(server.asked.at(-1).messages.map(({ role }) => role), ["user", "assistant", "user"]);
    await close(page);
  },

  async "the stop button stops, and what was held comes when nobody stops"() {
    const page = await open();
    for (const stops of [true, false]) {
      await page.locator("#message").fill("!hold");
      await page.locator("#composer button").click();
      await page.locator(`${LAST} .prose`).getByText("and then").waitFor();
      if (stops) await page.locator("#composer button").click();
      else server.release();
      await ended(page);
      assert.equal(await reply(page), stops ? "Some words come and then" : "Some words come and then the rest.");
    }
    await close(page);
  },

  async "a message is edited and sent again, and what was before can be reached"() {
    const page = await open();
    await say(page, "first !count");
    const before = await reply(page);
    await page.keyboard.press("ArrowUp");
    const box = page.getByLabel("Edit message");
    await box.fill("second !count");
    await box.press("Enter");
    await ended(page);
    assert.notEqual(await reply(page), before);
    assert.equal(await page.locator(".said").innerText(), "second !count");
    await page.getByRole("button", { name: "Earlier version" }).click();
    assert.deepEqual([await page.locator(".said").innerText(), await reply(page)], ["first !count", before]);
    await page.getByRole("button", { name: "Edit and send again" }).click();
    await page.getByLabel("Edit message").press("Escape");
    assert.equal(await page.locator(".said").innerText(), "first !count");
    await close(page);
  },

  async "an answer is made again, and the earlier ones stay"() {
    const page = await open();
    await say(page, "!count");
    const first = await reply(page);
    for (const total of [2, 3]) {
      await page.getByRole("button", { name: "Answer again" }).click();
      await page.getByText(`${total}/${total}`).waitFor();
      await ended(page);
    }
    assert.notEqual(await reply(page), first);
    await page.getByRole("button", { name: "Earlier version" }).press("Enter");
    await page.getByText("2/3").waitFor();
    // The focus stays on the button, so that a keyboard can go on.
    await page.keyboard.press("Enter");
    await page.getByText("1/3").waitFor();
    assert.equal(await reply(page), first);
    await close(page);
  },

  async "conversations are there after reloading, have names, and can be deleted"() {
    const page = await open();
    await say(page, "One !count");
    const first = await reply(page);
    await page.keyboard.press("Control+Shift+O");
    await say(page, "Two !count");
    await kept(page, "Two !count");
    await page.reload();
    await page.getByRole("heading", { name: "Two !count" }).waitFor();
    await page.getByRole("button", { name: "One !count", exact: true }).click();
    assert.equal(await reply(page), first);
    await tool(page, "Rename", "One !count");
    await page.getByLabel("New name").fill("Uno");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Uno" }).first().waitFor();
    await tool(page, "Delete", "Uno");
    assert.equal(await page.getByRole("button", { name: "Uno", exact: true }).count(), 0);
    await page.getByRole("button", { name: "Undo" }).click();
    await tool(page, "Delete", "Two !count");
    await kept(page, "Two !count", false);
    await kept(page, "Uno");
    await page.reload();
    await page.getByRole("button", { name: "Uno", exact: true }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Two !count", exact: true }).count(), 0);
    await page.getByLabel("Search conversations").fill("nothing like it");
    await page.getByText("No conversation has that in it.").waitFor();
    await close(page);
  },

  async "conversations go into a file and come back"() {
    const page = await open();
    await say(page, "Keep this !count");
    const kept = await reply(page);
    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export all conversations" }).click();
    const file = await (await saving).path();
    assert.equal(JSON.parse(await readFile(file, "utf8")).format, "tcrt-conversations");
    const other = await open();
    const input = other.locator("input[type=file]");
    await input.setInputFiles({ name: "bad.json", mimeType: "application/json", buffer: Buffer.from("{}") });
    await other.getByText("bad.json: it holds no conversations.").waitFor();
    await input.setInputFiles({ name: "good.json", mimeType: "application/json", buffer: await readFile(file) });
    await other.getByText("Imported a conversation").waitFor();
    assert.equal(await reply(other), kept);
    await close(other);
    await close(page);
  },

  async "HTML from a model is text and nothing else"() {
    const page = await open();
    await say(page, "!hostile");
    const found = await page.evaluate(() => {
      const prose = document.querySelector(".message.assistant:last-child .prose");
      const links = [...prose.querySelectorAll("a")].map((link) => link.href);
      return { made: prose.querySelectorAll("img, script, svg:not(.icon), iframe, [onerror], [onload]").length, links, text: prose.textContent, pwned: window.pwned };
    });
    assert.deepEqual([found.made, found.links, found.pwned], [0, [], undefined]);
    for (const part of ['<img src=x onerror="window.pwned = 1">', "<script>window.pwned = 1</script>", "[x](javascript:window.pwned=1)", "<iframe srcdoc="]) {
      assert.ok(HOSTILE.includes(part) && found.text.includes(part), part);
    }
    // Nor may a script that found its way into the page run there.
    const ran = await page.evaluate(() => {
      try {
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.pwned = 1'>");
      } catch (error) {
        return error.name;
      }
      return "was taken";
    });
    assert.equal(ran, "TypeError");
    await page.context().close();
  },

  async "Markdown is shown, and code can be copied"() {
    const page = await open();
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await say(page, "!markdown");
    const counts = await page.locator(`${LAST} .prose`).evaluate((prose) =>
      Object.fromEntries(["h3", "strong", "em", "pre", "ol", "ul", "td", "blockquote", "a", "del", ".keyword"].map((name) => [name, prose.querySelectorAll(name).length])),
    );
    assert.deepEqual(counts, { h3: 1, strong: 1, em: 1, pre: 1, ol: 1, ul: 1, td: 2, blockquote: 1, a: 1, del: 1, ".keyword": 2 });
    assert.equal(await page.locator(`${LAST} a`).getAttribute("rel"), "noopener noreferrer nofollow");
    await page.getByRole("button", { name: "Copy code" }).click();
    await page.getByText("Copied").waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^def prefix\(strings\):\n {4}#/);
    await close(page);
  },

  async "what fails is told in its place, and can be tried again"() {
    const page = await open();
    await say(page, "!busy");
    await page.locator(".problem").getByText("The server is full. It should have room again in about 3 s.").waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("There was room.").waitFor();
    assert.equal(await page.locator(".problem").count(), 0);
    await page.locator("#message").fill("!break");
    await page.keyboard.press("Enter");
    await page.locator(`${LAST} .prose`).getByText("This breaks").waitFor();
    server.release();
    await ended(page);
    assert.equal(await reply(page), "This breaks");
    await page.locator(".problem").getByText("The connection broke off").waitFor();
    await close(page);
  },

  async "settings are sent"() {
    const page = await open();
    await page.keyboard.press("Control+.");
    await page.getByLabel("System prompt").fill("Speak like a pirate.");
    for (const [name, value] of [["Temperature", "0.3"], ["Top-p", "0.5"], ["Top-k", "40"], ["Min-p", "0.1"], ["Most tokens", "99"], ["Seed", "7"]]) {
      await page.getByLabel(name, { exact: true }).fill(value);
    }
    await page.getByLabel("Stop at").fill("END\n\\n\\n");
    await page.keyboard.press("Escape");
    await say(page, "!count");
    const { messages, stream_options, ...sent } = server.asked.at(-1);
    assert.deepEqual(messages[0], { role: "system", content: "Speak like a pirate." });
    assert.equal(stream_options.include_usage, true);
    assert.deepEqual(sent, { model: sent.model, temperature: 0.3, top_p: 0.5, top_k: 40, min_p: 0.1, max_tokens: 99, seed: 7, stop: ["END", "\n\n"], stream: true });
    await page.getByRole("button", { name: "Answer again" }).click();
    await ended(page);
    assert.equal(server.asked.at(-1).seed, 8, "another try is another reply");
    await close(page);
  },

  async "scrolling follows at the bottom only"() {
    const page = await open();
    await say(page, "!long");
    const bottom = () => page.locator("#scroll").evaluate((scroll) => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight);
    assert.ok((await bottom()) < 2);
    await page.locator("#message").fill("!hold");
    await page.keyboard.press("Enter");
    await page.locator(`${LAST} .prose`).getByText("and then").waitFor();
    assert.ok((await bottom()) < 2);
    await page.locator("#scroll").evaluate((scroll) => (scroll.scrollTop = 100));
    server.release();
    await ended(page);
    assert.equal(await page.locator("#scroll").evaluate((scroll) => scroll.scrollTop), 100);
    await page.getByRole("button", { name: "To the latest message" }).click();
    assert.ok((await bottom()) < 2);
    await close(page);
  },

  async "a model that knows no conversation goes on with a text"() {
    const page = await open();
    await page.getByLabel("Model", { exact: true }).selectOption("base");
    await page.getByRole("button", { name: "Plain text" }).click();
    const text = page.getByLabel("Text", { exact: true });
    await text.fill("Once !count");
    await text.press("Control+Enter");
    await page.waitForFunction(() => document.querySelector(".paper textarea").value.endsWith("."));
    assert.deepEqual([server.asked.at(-1).model, server.asked.at(-1).prompt], ["base", "Once !count"]);
    assert.match(await text.inputValue(), /^Once !countAnswer number \d+\.$/);
    assert.match(await page.locator(".paper mark").textContent(), /^Answer number/);
    await kept(page, "Answer number");
    await page.getByRole("button", { name: "Undo what was last written" }).click();
    const holds = (expected) => page.waitForFunction((text) => document.querySelector(".paper textarea")?.value === text, expected);
    await holds("Once !count");
    // At once: what was changed last is kept when the page is left.
    await page.reload();
    await holds("Once !count");
    await close(page);
  },

  async "a key is asked for and kept"() {
    server.key = "secret";
    const page = await open({}, server.url, false);
    await page.getByRole("heading", { name: "This server wants a key" }).waitFor();
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("That key is not one of this server's.").waitFor();
    await page.keyboard.type("secret");
    await page.keyboard.press("Enter");
    await say(page, "!count");
    assert.match(await reply(page), /Answer/);
    await page.reload();
    await say(page, "!count");
    await close(page);
    const given = await open({}, `${server.url}#key=secret`);
    await say(given, "!count");
    assert.ok(!given.url().includes("secret"), "it does not stay in the address");
    await close(given);
    server.key = null;
  },

  async "colours are the system's or those that were chosen"() {
    const light = (page) => page.evaluate(() => getComputedStyle(document.body.parentElement).backgroundColor);
    const page = await open({ colorScheme: "dark" });
    assert.equal(await light(page), "rgb(23, 22, 20)");
    await page.getByRole("button", { name: "Light" }).click();
    assert.equal(await light(page), "rgb(253, 252, 250)");
    await page.reload();
    assert.equal(await light(page), "rgb(253, 252, 250)");
    await page.getByRole("button", { name: "As the system" }).click();
    assert.equal(await light(page), "rgb(23, 22, 20)");
    await close(page);
  },

  async "all can be done by keyboard"() {
    const page = await open();
    // The first thing that Tab reaches leads past the list.
    await page.locator("#skip").focus();
    await page.keyboard.press("Enter");
    await page.keyboard.type("line one");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("two !count");
    await page.keyboard.press("Enter");
    await ended(page);
    assert.equal(server.asked.at(-1).messages.at(-1).content, "line one\ntwo !count");
    // From the box back to the reply's tools.
    await page.keyboard.press("Shift+Tab");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Answer again");
    await page.keyboard.press("Enter");
    await page.getByText("2/2").waitFor();
    await ended(page);
    await page.keyboard.press("Control+b");
    assert.equal(await page.locator("#sidebar").isVisible(), false);
    await page.keyboard.press("Control+b");
    await page.keyboard.press("Control+Shift+O");
    await page.keyboard.press("Alt+ArrowDown");
    await page.getByText("2/2").waitFor();
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("?");
    await page.getByRole("heading", { name: "Keyboard shortcuts" }).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#dialog").isVisible(), false);
    await close(page);
  },

  async "what happens is told to who cannot see it"() {
    const page = await open();
    await page.locator("#message").focus();
    await page.keyboard.type("!hold");
    await page.keyboard.press("Enter");
    await page.locator("#announcements").getByText("The model answers.").waitFor({ state: "attached" });
    await page.locator(`${LAST} .prose`).getByText("and then").waitFor();
    server.release();
    await page.locator("#announcements").getByText("The reply is complete.").waitFor({ state: "attached" });
    await close(page);
  },

  async "a phone shows all of it"() {
    const page = await open(PHONE);
    const fits = async (what) => assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), what);
    await fits("where nothing was said");
    assert.equal(await page.locator("#sidebar").isVisible(), false);
    await say(page, "!markdown");
    await fits("a wide reply");
    await page.getByRole("button", { name: "Show the list of conversations" }).tap();
    await page.getByRole("button", { name: "!markdown", exact: true }).waitFor();
    await fits("the list");
    await page.locator("#scrim").tap({ position: { x: 380, y: 400 } });
    assert.equal(await page.locator("#sidebar").isVisible(), false);
    await page.getByRole("button", { name: "Settings", exact: true }).tap();
    await fits("settings");
    assert.ok(await page.locator("#composer").isVisible());
    await close(page);
  },

  async "nothing keeps anyone out"() {
    const sizes = { desktop: {}, phone: PHONE };
    for (const [size, options] of Object.entries(sizes)) {
      for (const colorScheme of ["light", "dark"]) {
        const page = await open({ ...options, colorScheme });
        const look = (what) => seen(page, `${what}, ${size}, ${colorScheme}`, `${size}-${colorScheme}-${what}`);
        await look("welcome");
        await say(page, "Show me what Markdown looks like. !markdown");
        await look("conversation");
        await page.getByRole("button", { name: "Answer again" }).click();
        await ended(page);
        await say(page, "!busy");
        await look("error");
        await page.getByRole("button", { name: "Try again" }).click();
        await ended(page);
        await page.getByRole("button", { name: "Settings", exact: true }).click();
        await look("settings");
        await page.keyboard.press("Escape");
        if (size === "phone") {
          await page.getByRole("button", { name: "Show the list of conversations" }).click();
          await look("list");
          await page.keyboard.press("Escape");
        }
        await page.keyboard.press("Control+Shift+O");
        await page.getByRole("button", { name: "Plain text" }).click();
        await page.getByLabel("Text", { exact: true }).fill("Once upon a time !count");
        await page.getByRole("button", { name: "Continue" }).click();
        await page.locator(".paper mark").getByText("Answer").waitFor({ state: "attached" });
        await look("text");
        await page.evaluate(() => document.activeElement.blur());
        await page.keyboard.press("?");
        await look("shortcuts");
        await page.context().close();
      }
    }
  },
};

try {
  for (const [name, check] of Object.entries(checks)) {
    if (process.env.ONLY && !name.includes(process.env.ONLY)) continue;
    await check();
    console.log(`page: ${name}: ok`);
  }
} finally {
  await browser.close();
  server.stop();
}
