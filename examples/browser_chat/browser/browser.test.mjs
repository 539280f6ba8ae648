// The chat as people use it: each test has a server of its own, all share one browser.
// Run by ../tests.rs, which says with what: SERVER, CHROMIUM, VENDORED.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { SERVER, CHROMIUM, VENDORED } = process.env;
let browser;

before(async () => {
  const quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", ...quiet],
  });
});

after(() => browser?.close());

/** A server that ends with the test, and can be restarted where it was. */
async function serve(t) {
  let process;
  async function start(address) {
    process = spawn(SERVER, [address], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = await once(createInterface({ input: process.stdout }), "line");
    return line.replace("open ", "");
  }
  async function kill() {
    process.kill("SIGKILL");
    await once(process, "exit");
  }
  t.after(kill);
  const url = await start("127.0.0.1:0");
  return { url, kill, restart: () => start(new URL(url).host) };
}

/** A window with the page, with what people do in it and see there. */
async function open(t, server, room = "lobby") {
  const context = await browser.newContext({ viewport: { width: 900, height: 600 } });
  t.after(() => context.close());
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(`the page failed: ${error.stack}`));
  await page.goto(`${server.url}/#${room}`);
  const message = page.getByRole("textbox", { name: "Message" });
  const bubbles = page.locator(".bubble p");
  return {
    page,
    context,
    message,
    async asks(name) {
      await page.getByLabel("Your name").fill(name);
      await page.getByRole("button", { name: "Join" }).click();
    },
    async joins(name) {
      await this.asks(name);
      await message.waitFor();
      return this;
    },
    async says(text) {
      await message.fill(text);
      // What was said before may be heard before the room's answer to it: the page says one thing at a time.
      await page.locator("#say button:enabled").waitFor();
      await message.press("Enter");
    },
    hears: (text) => bubbles.getByText(text, { exact: true }).waitFor(),
    heard: () => bubbles.allTextContents(),
    isTold: (text) => page.getByRole("alert").getByText(text).waitFor(),
    reads: (text) => page.getByText(text, { exact: true }).waitFor(),
    /** Resolves when exactly they are in the list. */
    sees: (...names) => page.waitForFunction((names) => {
      const here = [...document.querySelectorAll("#here .name")].map((each) => each.textContent);
      return here.join() === names;
    }, names.join()),
  };
}

test("the vendored client is the published one", async () => {
  const published = new URL("node_modules/capnweb/dist/index.js", import.meta.url);
  assert.ok((await readFile(VENDORED)).equals(await readFile(published)));
});

test("pages in one room see what the other says, as text, and pages in another room do not", async (t) => {
  const server = await serve(t);
  const ann = await (await open(t, server)).joins("ann");
  const bob = await (await open(t, server)).joins("bob");
  const carl = await (await open(t, server, "elsewhere")).joins("carl");
  await ann.reads("bob is here");
  await ann.says("hello");
  await bob.hears("hello");
  await bob.says("<b>hi</b> <img src=x onerror=alert(1)>");
  await ann.hears("<b>hi</b> <img src=x onerror=alert(1)>");
  await ann.hears("hello");
  assert.equal(await ann.page.locator(".bubble :is(b, img)").count(), 0);
  assert.equal(await ann.page.locator(".own .bubble").count(), 1);
  assert.equal(await ann.message.inputValue(), "");
  // What is late comes before the answer.
  await carl.says("nobody here?");
  await carl.hears("nobody here?");
  assert.deepEqual(await carl.heard(), ["nobody here?"]);
});

test("who comes later reads what was said", async (t) => {
  const server = await serve(t);
  const ann = await (await open(t, server)).joins("ann");
  for (const text of ["one", "two", "three"]) {
    await ann.says(text);
    await ann.hears(text);
  }
  const bob = await (await open(t, server)).joins("bob");
  await bob.hears("three");
  assert.deepEqual(await bob.heard(), ["one", "two", "three"]);
});

test("what the room refuses is told, and nothing that was typed is lost", async (t) => {
  const server = await serve(t);
  const ann = await (await open(t, server)).joins("ann");
  const other = await open(t, server);
  await other.asks("  ");
  await other.isTold("A name is missing.");
  await other.asks("x".repeat(25));
  await other.isTold("A name has at most 24 characters.");
  await other.asks("Ann");
  await other.isTold("Somebody called Ann is here already.");
  await other.joins("bob");

  await ann.says("   ");
  await ann.isTold("There is nothing to say.");
  const long = "x".repeat(2_001);
  await ann.says(long);
  await ann.isTold("A message has at most 2000 characters.");
  assert.equal(await ann.message.inputValue(), long);
  assert.equal(await ann.message.getAttribute("aria-invalid"), "true");
  await ann.says(long.slice(1));
  await other.hears(long.slice(1));
  assert.deepEqual(await ann.heard(), [long.slice(1)]);
});

test("the list says who is here, and a page that leaves or is closed frees its name", async (t) => {
  const server = await serve(t);
  const ann = await (await open(t, server)).joins("ann");
  const bob = await (await open(t, server)).joins("bob");
  const carl = await (await open(t, server)).joins("carl");
  await Promise.all([ann, bob, carl].map((each) => each.sees("ann", "bob", "carl")));
  await bob.context.close();
  await ann.sees("ann", "carl");
  await ann.reads("bob has left");
  await carl.page.getByRole("button", { name: "Leave" }).click();
  await ann.sees("ann");
  await (await open(t, server)).joins("bob");
  await carl.joins("carl");
  await ann.sees("ann", "bob", "carl");
});

test("a page that was cut off gets what it has missed, once", async (t) => {
  const server = await serve(t);
  const ann = await (await open(t, server)).joins("ann");
  const bob = await (await open(t, server)).joins("bob");
  await ann.says("before");
  await bob.hears("before");
  await bob.context.setOffline(true);
  await bob.reads("Reconnecting …");
  await ann.sees("ann");
  await ann.says("meanwhile");
  await ann.hears("meanwhile");
  await bob.context.setOffline(false);
  await bob.hears("meanwhile");
  await ann.sees("ann", "bob");
  await ann.says("after");
  await bob.hears("after");
  assert.deepEqual(await bob.heard(), ["before", "meanwhile", "after"]);
});

test("pages come back when the server does, with what they show and what is typed", async (t) => {
  const server = await serve(t);
  const ann = await (await open(t, server)).joins("ann");
  const bob = await (await open(t, server)).joins("bob");
  await ann.says("before");
  await bob.hears("before");
  await ann.message.fill("half a sentence");
  await server.kill();
  await ann.reads("Reconnecting …");
  await bob.reads("Reconnecting …");
  await server.restart();
  await ann.reads("Connected");
  await bob.reads("Connected");
  await ann.message.press("Enter");
  await bob.hears("half a sentence");
  await bob.says("after");
  await ann.hears("after");
  assert.deepEqual(await ann.heard(), ["before", "half a sentence", "after"]);
});

test("who reads further up stays there, and is told of new messages", async (t) => {
  const server = await serve(t);
  const ann = await (await open(t, server)).joins("ann");
  const bob = await (await open(t, server)).joins("bob");
  await ann.says(Array.from({ length: 60 }, (_, line) => `line ${line}`).join("\n"));
  await bob.page.getByText("line 59").waitFor();
  const scroller = bob.page.locator("#scroller");
  const top = () => scroller.evaluate((element) => element.scrollTop);
  assert.ok(await top() > 0);
  // The page knows of it when the event has come.
  await scroller.evaluate((element) => new Promise((done) => {
    element.addEventListener("scroll", done, { once: true });
    element.scrollTo(0, 0);
  }));
  await ann.says("new");
  const newer = bob.page.getByRole("button", { name: "1 new message" });
  await newer.waitFor();
  assert.equal(await top(), 0);
  await newer.click();
  await newer.waitFor({ state: "hidden" });
  assert.ok(await top() > 0);
});

test("a page comes back to a room that has let it go, and its key gives it its own seat only", async (t) => {
  const server = await serve(t);
  const ann = await open(t, server);
  await ann.page.evaluate(() => { crypto.getRandomValues = (numbers) => numbers.fill(7); });
  await ann.joins("ann");
  const bob = await (await open(t, server)).joins("bob");
  const outcome = await bob.page.evaluate(async () => {
    const { RpcTarget, newWebSocketRpcSession } = await import("/vendor/capnweb-0.12.0.js");
    const released = Promise.withResolvers();
    class Deaf extends RpcTarget {
      welcome() {}
      here() {}
      said() {}
      [Symbol.dispose]() { released.resolve(); }
    }
    const door = newWebSocketRpcSession(`ws://${location.host}/api`);
    const guess = await door.enter("lobby", { name: "ann", key: "1-1-1-1", since: 0 }, new RpcTarget()).catch((error) => error);
    const seat = await door.enter("lobby", { name: "ann", key: "7-7-7-7", since: 0 }, new Deaf());
    await released.promise;
    const late = await seat.say("too late").catch((error) => error);
    return { guess: guess.code, late: late.code };
  });
  assert.deepEqual(outcome, { guess: "NameTaken", late: "SeatLost" });
  await ann.reads("Connected");
  await bob.says("there you are");
  await ann.hears("there you are");
  await ann.sees("bob", "ann");
  assert.deepEqual(await bob.heard(), ["there you are"]);
});

test("a page reaches rooms by the door only", async (t) => {
  const { page } = await open(t, await serve(t));
  const answers = await page.evaluate(async () => {
    const { newWebSocketRpcSession } = await import("/vendor/capnweb-0.12.0.js");
    const ask = async (path, call) => {
      const session = newWebSocketRpcSession(`ws://${location.host}${path}`);
      try { return await call(session); } catch (error) { return `refused: ${error.message}`; }
    };
    return Promise.all([
      ask("/api/Room/lobby", (room) => room.say(1, "I am ann")),
      ask("/api", (door) => door.object("Room", "lobby").say(1, "I am ann")),
    ]);
  });
  for (const answer of answers) assert.match(String(answer), /^refused: /);
});
