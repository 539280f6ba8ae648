// What the page does: the entrance, and the room behind it.

import { Membership, isRefusal } from "./membership.js";
import { RoomView, sentence } from "./view.js";

const entrance = document.querySelector("#entrance");
const join = document.querySelector("#join");
const joinError = document.querySelector("#join-error");
const { name, room } = join.elements;
const remembered = sessionStorage;

/** The room in the page's address. */
const addressed = () => {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
};

name.value = remembered.getItem("name") ?? "";
room.value = addressed() || "lobby";

let view;
let membership;

join.addEventListener("submit", (event) => {
  event.preventDefault();
  showError("");
  remembered.setItem("name", name.value);
  enter(room.value.trim(), name.value.trim());
});

// Another room in the address is another room.
addEventListener("hashchange", () => {
  if (addressed() === view?.room) return;
  toEntrance();
  room.value = addressed() || "lobby";
});

function enter(roomName, ownName) {
  membership?.leave();
  view = new RoomView(roomName, ownName, { say, leave: toEntrance });
  membership = new Membership(roomName, ownName, {
    here: (names) => view.here(names),
    said: (message, how) => view.said(message, how),
    state(state) {
      view.state(state);
      if (entrance.hidden) return;
      showError(state === "lost" ? "The server cannot be reached. Trying again …" : "");
      if (state !== "here") return;
      history.replaceState(null, "", `#${encodeURIComponent(roomName)}`);
      entrance.hidden = true;
      view.open();
    },
    refused(error) {
      toEntrance();
      showRefusal(error);
    },
  });
}

async function say(text) {
  try {
    await membership.say(text);
  } catch (error) {
    if (isRefusal(error)) throw new Error(sentence(error.message));
    throw new Error("The connection was lost. Perhaps the others have not got this.");
  }
}

function toEntrance() {
  membership?.leave();
  view?.close();
  membership = view = undefined;
  entrance.hidden = false;
  showError("");
  name.select();
}

function showRefusal(error) {
  // If the room has a name, it is the guest's that is wrong.
  const wrong = room.value.trim() ? name : room;
  showError(sentence(error.message), wrong);
  wrong.focus();
}

function showError(text, wrong) {
  joinError.textContent = text;
  for (const field of [name, room]) field.setAttribute("aria-invalid", field === wrong);
}
