// A client as a user would write it. Compiled, never run: each line that must be refused says so.

import { newHttpBatchRpcSession, newWebSocketRpcSession, RpcStub, RpcTarget } from "capnweb";
import type { Api, Colour, Profile, Shape, Watcher } from "./api.ts";

/** Fails to compile where the two types are not the same. */
function same<A, B>(..._: [A] extends [B] ? ([B] extends [A] ? [] : ["differs"]) : ["differs"]): void {}

using api = newWebSocketRpcSession<Api>("ws://localhost/");
using batch = newHttpBatchRpcSession<Api>("http://localhost/");
batch.increment();

// Numbers: exact ones are numbers, others are bigints.
const sum = await api.add(1, 2n);
same<typeof sum, number | bigint>();
same<typeof sum, number>("differs");
// @ts-expect-error: no text
api.add("1", 2);
// @ts-expect-error: two arguments
api.add(1);
// @ts-expect-error: only two
api.add(1, 2, 3);
// @ts-expect-error: no such method
api.subtract(1, 2);

// Properties are read and not called.
const value = await api.currentValue;
same<typeof value, number | null>();
// @ts-expect-error: no method
api.currentValue();

const float = await api.numbers(1, -1, 0.5, "a", true);
same<typeof float, number>();
// @ts-expect-error: a byte is no bigint
api.numbers(1n, -1, 0.5, "a", true);
const nothing = await api.increment();
same<typeof nothing, void>();

// Options: left out at the end, `null` and `undefined` anywhere.
api.optional("a", 1);
api.optional(null, 1, 2, null);
api.optional(undefined, 1, undefined);
// @ts-expect-error: the second is required
api.optional("a");
// @ts-expect-error: the second is no option
api.optional("a", null);

const bytes = await api.bytes(new Uint8Array(1), new Uint8Array(2), new Uint8Array(4));
same<typeof bytes extends Uint8Array ? true : false, true>();
// @ts-expect-error: a list of numbers is no list of bytes
api.bytes([1], [2], [3]);

api.lists([1, null], ["a"], ["a", 1], [[1, 2n]]);
// @ts-expect-error: the first of the pair is a text (of the rest of a tuple, capnweb's types are no judges)
api.lists([1], ["a"], [1, 1], []);

const maps = await api.maps({ a: 1 }, {}, { Red: 1 }, [[[1, 2], "a"]]);
same<(typeof maps)[string] extends Uint8Array ? true : false, true>();
// @ts-expect-error: the values are numbers
api.maps({ a: "1" }, {}, {}, []);
// @ts-expect-error: a `Map` cannot be sent
api.maps(new Map([["a", 1]]), {}, {}, []);

const time = await api.times(new Date(), { secs: 1, nanos: 0 });
time.getTime();
// @ts-expect-error: no date
api.times(1, { secs: 1, nanos: 0 });

// Enums, as serde tags them.
const red: Colour = "Red";
const circle: Shape = { circle: { midPoint: [0, 0] } };
const shapes = await api.shapes(circle, red, 1.5, [1, "a"], undefined);
for (const shape of shapes) {
  if (shape === "nothing") continue;
  if ("DOT" in shape) same<typeof shape.DOT, number>();
  if ("line_to" in shape) same<typeof shape.line_to, [number, number]>();
}
api.shapes("nothing", "Green", 1, [1, "a"], undefined);
// @ts-expect-error: no such variant
api.shapes("something", red, 1, [1, "a"], undefined);
// @ts-expect-error: the variant's name is another one
api.shapes({ Dot: 1 }, red, 1, [1, "a"], undefined);
// @ts-expect-error: no such colour
api.shapes("nothing", "Blue", 1, [1, "a"], undefined);

for (const result of await api.nestedResult()) {
  if ("Ok" in result) same<typeof result.Ok, number>();
  else same<typeof result.Err, string>();
}

// Structs: names and options of serde; what is left out may be left out.
const profile: Profile = { fullName: "Ann", "e-mail": "ann@example.org", friends: [], number: "7" };
// @ts-expect-error: `fullName` is missing
const incomplete: Profile = { "e-mail": "", friends: [], number: "7" };
// @ts-expect-error: a field that serde skips
profile.secret;
// @ts-expect-error: the field is no text of a number
profile.number = "seven";
const found = await api.profile(1);
if (found) same<typeof found.age, number | null | undefined>();
// @ts-expect-error: it may not be there
found.fullName;
api.sameNames({ id: 1 }, { day: 1 });

// A promise goes where its value goes.
api.promised(profile, 1);
api.promised(profile, batch.numbers(1, 2, 3, "a", true));

const opaque = await api.opaque(1, [2]);
same<typeof opaque, unknown>();
const id = await api.identity("…");
same<typeof id, string>();

// Stubs: called when they are there, and before.
const { profile: passport, since } = await api.login("sesame");
same<typeof since, Date>();
same<Awaited<ReturnType<typeof passport.name>>, string>();
const name = await api.login("sesame").profile.name();
same<typeof name, string>();
const direct = await api.passport().name();
same<typeof direct, string>();
using held = await api.passport();
held.name();
const back = await held.api();
back?.increment();
// @ts-expect-error: no such method
api.login("sesame").profile.age();

// Interfaces that a client implements.
class Screen extends RpcTarget implements Watcher {
  hasChanged(value: number | bigint): void {
    console.log(value);
  }

  async wantsMore(): Promise<boolean> {
    return true;
  }
}
class Mute extends RpcTarget {}
api.watch(new Screen(), [new RpcStub(new Screen())]);
api.watch(new RpcStub<Watcher>(new Screen()), []);
// @ts-expect-error: it has none of the methods
api.watch(new Mute(), []);
// @ts-expect-error: the method returns something else
class Wrong extends RpcTarget implements Watcher { hasChanged() { return 1; } wantsMore() { return true; } }

// Functions.
api.callBack(() => {}, (n) => n.toFixed());
api.callBack(async () => {}, async (n) => n.toFixed(), ([text, times]) => text.length > times);
// @ts-expect-error: it returns no text
api.callBack(() => {}, (n) => n);
// @ts-expect-error: it takes no text
api.callBack(() => {}, (n: string) => n);

// Streams.
const numbers = new ReadableStream<number | bigint>();
const profiles = await api.stream(numbers, new WritableStream<string>());
for await (const each of profiles) same<typeof each, Profile>();
// @ts-expect-error: the other way round
api.stream(new WritableStream<string>(), numbers);
