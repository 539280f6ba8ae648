// Being in a room, over lost connections and restarts of the server. Knows nothing of how the page looks.

import { RpcTarget, newWebSocketRpcSession } from "./vendor/capnweb-0.12.0.js";

/** How long to wait before connecting again: from the first to the last, each time twice as long. */
const WAIT = { first: 250, last: 10_000 };

/** How long the server may take to let us in. */
const PATIENCE = 10_000;

/** What the room calls: see the interface `Member` in room.rs. */
class Member extends RpcTarget {
  #welcome;
  #here;
  #said;
  #released;

  constructor({ welcome, here, said, released }) {
    super();
    this.#welcome = welcome;
    this.#here = here;
    this.#said = said;
    this.#released = released;
  }

  welcome(here, missed) { this.#welcome(here, missed); }
  here(names) { this.#here(names); }
  said(message) { this.#said(message); }

  /** Nobody at the other end holds it any more: the room has lost us, as when it began anew after a failure. */
  [Symbol.dispose]() { this.#released(); }
}

/** Whether the room decided so. Otherwise it, the server or the way there failed, and it is worth another try. */
export function isRefusal(error) {
  return typeof error?.code === "string" && error.code !== "Failed" && error.mayHaveRun === undefined;
}

/**
 * A place in a room, kept until `leave()`.
 *
 * `view` is told: `state("connecting" | "here" | "lost")`, `here(names)`,
 * `said(message, { missed, gap })` for each message once, in order, and `refused(error)` when the room does not want us;
 * that is the end.
 */
export class Membership {
  #url = new URL("api", location.href.replace(/^http/, "ws")).href;
  #room;
  #name;
  #view;
  /** With it the room knows us again when it has not noticed that our last connection is gone. */
  #key = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
  /** The number of the last message we have. */
  #seen = 0;
  /** The session's main stub; disposing it ends the session. */
  #door;
  #seat;
  #attempts = 0;
  #timer;
  #listening = new AbortController();

  constructor(room, name, view) {
    this.#room = room;
    this.#name = name;
    this.#view = view;
    const { signal } = this.#listening;
    // The browser knows sooner than the connection.
    addEventListener("offline", () => this.#lost(this.#door), { signal });
    addEventListener("online", () => this.#hurry(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry(), { signal });
    this.#enter();
  }

  get name() { return this.#name; }

  /** Says something to everybody. Rejects with what the room, or the connection, has against it. */
  async say(text) {
    if (!this.#seat) throw new Error("not connected");
    await this.#seat.say(text);
  }

  /** Ends it: the room notices that the session has ended. */
  leave() {
    this.#listening.abort();
    clearTimeout(this.#timer);
    this.#hangUp();
  }

  async #enter() {
    this.#view.state("connecting");
    const door = newWebSocketRpcSession(this.#url);
    this.#door = door;
    door.onRpcBroken(() => this.#lost(door));
    const patience = setTimeout(() => this.#lost(door), PATIENCE);
    let released = false;
    const member = this.#member(door, () => {
      released = true;
      if (this.#seat) this.#lost(door);
    });
    try {
      const guest = { name: this.#name, key: this.#key, since: this.#seen };
      const seat = await door.enter(this.#room, guest, member);
      if (door !== this.#door) return;
      if (released) return this.#lost(door);
      this.#seat = seat;
      this.#attempts = 0;
      this.#view.state("here");
    } catch (error) {
      if (door !== this.#door) return;
      if (!isRefusal(error)) return this.#lost(door);
      this.leave();
      this.#view.refused(error);
    } finally {
      clearTimeout(patience);
    }
  }

  /** What a room may call as long as that session is ours. */
  #member(door, released) {
    const ours = (react) => (...args) => { if (door === this.#door) react(...args); };
    return new Member({
      welcome: ours((here, missed) => {
        this.#view.here(here);
        for (const message of missed) this.#said(message, true);
      }),
      here: ours((names) => this.#view.here(names)),
      said: ours((message) => this.#said(message, false)),
      released: ours(released),
    });
  }

  #said(message, missed) {
    // The room tells only what comes after what we have; numbers without a gap tell that it is everything.
    const gap = this.#seen > 0 && message.number > this.#seen + 1;
    this.#seen = message.number;
    this.#view.said(message, { missed, gap });
  }

  /** That session is of no use any more. */
  #lost(door) {
    if (!door || door !== this.#door) return;
    this.#hangUp();
    // At random, so that not everybody comes back at the same moment.
    const wait = Math.min(WAIT.last, WAIT.first * 2 ** this.#attempts) * (0.5 + Math.random() / 2);
    this.#attempts += 1;
    this.#view.state("lost");
    this.#timer = setTimeout(() => this.#enter(), wait);
  }

  /** Does not wait for the end of the pause, if there is one. */
  #hurry() {
    if (this.#door) return;
    clearTimeout(this.#timer);
    this.#enter();
  }

  #hangUp() {
    const door = this.#door;
    this.#door = undefined;
    this.#seat = undefined;
    door?.[Symbol.dispose]();
  }
}
