// How a room looks. All that others have said becomes text nodes, never HTML.

const $ = (id) => document.getElementById(id);
const time = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const STATES = { connecting: "Connecting …", here: "Connected", lost: "Reconnecting …" };

/** Messages of one person that close in time stand together. */
const TOGETHER = 5 * 60_000;

/** So near to the end counts as there. */
const NEAR = 40;

/** The text of an error as a sentence. */
export const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** The same colour for the same name, everywhere. */
function hue(name) {
  let sum = 0;
  for (const letter of name.toLowerCase()) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

function avatar(name) {
  const made = element("span", { className: "avatar", ariaHidden: "true" }, [...name][0].toUpperCase());
  made.style.setProperty("--hue", hue(name));
  return made;
}

export class RoomView {
  #self;
  #say;
  #names;
  #last;
  #newer = 0;
  /** Whether the reader is at the end, where what is new shall be seen. */
  #atEnd = true;
  #connected = false;
  #sending = false;
  #closing = new AbortController();

  constructor(room, self, { say, leave }) {
    this.room = room;
    this.#self = self;
    this.#say = say;
    const { signal } = this.#closing;
    const form = $("say");
    $("leave").addEventListener("click", leave, { signal });
    $("newer").addEventListener("click", () => this.#toEnd(), { signal });
    $("scroller").addEventListener("scroll", () => this.#scrolled(), { signal, passive: true });
    form.addEventListener("submit", (event) => { event.preventDefault(); this.#submit(form); }, { signal });
    form.elements.text.addEventListener("input", () => this.#complain(""), { signal });
    form.elements.text.addEventListener("keydown", (event) => {
      // Enter that ends the composition of a character sends nothing.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    }, { signal });
    // The end stays in sight when the window, or the keyboard on the screen, takes room away.
    const resized = new ResizeObserver(() => { if (this.#atEnd) this.#toEnd("instant"); });
    resized.observe($("scroller"));
    signal.addEventListener("abort", () => resized.disconnect());
    $("messages").replaceChildren();
    $("empty").hidden = false;
    $("title").textContent = room;
    this.#complain("");
    form.reset();
  }

  open() {
    document.title = `${this.room} – Chat`;
    $("room").hidden = false;
    this.#toEnd("instant");
    $("say").elements.text.focus();
  }

  close() {
    this.#closing.abort();
    $("room").hidden = true;
    document.title = "Chat";
  }

  state(state) {
    this.#connected = state === "here";
    $("state").textContent = STATES[state];
    $("state").dataset.state = state;
    // Who comes and goes meanwhile, nobody tells; and after a restart all others come back.
    if (state === "lost") this.#names = undefined;
    this.#allowSending();
  }

  /** Who is here. Who came or went since the last time is told among the messages. */
  here(names) {
    for (const name of names) if (this.#names && !this.#names.includes(name)) this.#notice(`${name} is here`);
    for (const name of this.#names ?? []) if (!names.includes(name)) this.#notice(`${name} has left`);
    this.#names = names;
    $("count").textContent = names.length;
    $("here").replaceChildren(...names.map((name) => {
      const own = name === this.#self;
      const label = element("span", { className: "name", title: name }, name);
      return element("li", {}, avatar(name), label, ...(own ? [element("span", { className: "hint" }, "you")] : []));
    }));
  }

  said({ at, name, text }, { missed, gap }) {
    if (gap) this.#notice("The room does not remember everything that was said here");
    const last = this.#last;
    if (last?.at.toDateString() !== at.toDateString()) this.#notice(day.format(at), "day");
    const own = name === this.#self;
    const together = this.#last?.name === name && at - this.#last.at < TOGETHER;
    const stamp = element("time", { dateTime: at.toISOString(), title: at.toLocaleString() }, time.format(at));
    const who = element("span", { className: own ? "name unseen" : "name" }, own ? "You" : name);
    who.style.setProperty("--hue", hue(name));
    const bubble = element("div", { className: "bubble" }, element("p", {}, text), stamp);
    const item = element("li", { className: `message${own ? " own" : ""}${together ? " together" : ""}` });
    item.append(...(own ? [] : [avatar(name)]), element("div", { className: "said" }, who, bubble));
    this.#append(item);
    this.#last = { at, name };
    if (own && !missed) this.#toEnd();
    else if (!this.#atEnd) this.#count(this.#newer + 1);
  }

  #notice(text, kind = "") {
    this.#append(element("li", { className: `notice ${kind}` }, text));
    // What is said after it begins anew.
    this.#last &&= { at: this.#last.at };
  }

  #append(item) {
    $("empty").hidden = item.classList.contains("message") || $("empty").hidden;
    $("messages").append(item);
    if (this.#atEnd) this.#toEnd("instant");
  }

  async #submit(form) {
    const field = form.elements.text;
    if (!this.#connected || this.#sending) return;
    this.#sending = true;
    this.#allowSending();
    try {
      const text = field.value;
      await this.#say(text.trim());
      // Only what was sent: more may have been typed meanwhile.
      field.value = field.value.startsWith(text) ? field.value.slice(text.length) : field.value;
      this.#complain("");
    } catch (error) {
      this.#complain(error.message);
    } finally {
      this.#sending = false;
      this.#allowSending();
      field.focus();
    }
  }

  #allowSending() {
    $("say").querySelector("button").disabled = !this.#connected || this.#sending;
  }

  #complain(text) {
    $("say-error").textContent = text;
    $("say").elements.text.setAttribute("aria-invalid", text !== "");
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = $("scroller");
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this.#atEnd) this.#count(0);
  }

  #toEnd(behavior = "auto") {
    this.#atEnd = true;
    this.#count(0);
    $("scroller").scrollTo({ top: $("scroller").scrollHeight, behavior });
  }

  #count(newer) {
    this.#newer = newer;
    $("newer").hidden = newer === 0;
    $("newer").textContent = newer === 1 ? "1 new message" : `${newer} new messages`;
  }
}
