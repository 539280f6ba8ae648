// Made by opendo from Rust interfaces. Do not edit: change the Rust code and make it again.

import type { RpcStub, RpcTarget } from "capnweb";

/** What an implementation returns; a caller awaits it. */
export type MaybePromise<T> = T | Promise<T>;

/** One method for each row of the table of types. */
export interface Api extends RpcTarget {
  /**
   * Adds.
   *
   * In two parts.
   */
  add(a: number | bigint, b: number | bigint): MaybePromise<number | bigint>;
  readonly currentValue: number | null;
  /** @deprecated use `add` */
  increment(): MaybePromise<void>;
  numbers(byte: number, small: number, float: number, letter: string, yes: boolean): MaybePromise<number>;
  optional(first: string | null | undefined, second: number, third?: number | null, fourth?: Profile | null): MaybePromise<void>;
  bytes(plain: Uint8Array, bytes: Uint8Array, array: Uint8Array): MaybePromise<Uint8Array>;
  lists(list: (number | null)[], set: string[], pair: [string, number], nested: (number | bigint)[][]): MaybePromise<void>;
  maps(by_name: Record<string, number>, by_number: Record<string, Profile>, by_colour: Record<string, number>, by_pair: [[number, number], string][]): MaybePromise<Record<string, Uint8Array>>;
  times(at: Date, wait: { secs: number | bigint; nanos: number }): MaybePromise<Date>;
  shapes(shape: Shape, colour: Colour, length: number, pair: Pair, marker: Marker): MaybePromise<Shape[]>;
  nestedResult(): MaybePromise<({ Ok: number } | { Err: string })[]>;
  profile(id: number): MaybePromise<Profile | null>;
  sameNames(profile: Profile2, date: Date2): MaybePromise<void>;
  promised(profile: Profile, n: number): MaybePromise<void>;
  opaque(opaque: unknown, default_: unknown): MaybePromise<unknown>;
  identity(id: string): MaybePromise<string>;
  login(token: string): MaybePromise<Login>;
  passport(): MaybePromise<RpcStub<Passport>>;
  watch(watcher: RpcStub<Watcher>, others: RpcStub<Watcher>[]): MaybePromise<void>;
  callBack(done: () => MaybePromise<void>, map: (arg: number) => MaybePromise<string>, pairs?: ((arg: [string, number]) => MaybePromise<boolean>) | null): MaybePromise<void>;
  stream(from: ReadableStream<number | bigint>, to: WritableStream<string>): MaybePromise<ReadableStream<Profile>>;
}

/**
 * Who somebody is.
 *
 * Docs of more than one line, which end *\/ nothing.
 */
export interface Profile {
  /** As it is in the passport. */
  fullName: string;
  age?: number | null;
  "e-mail": string;
  tags?: string[];
  scores?: Record<string, number>;
  friends: Profile[];
  number: `${number}`;
}

export type Colour =
  | "Red"
  | "Green";

/** Everything an enum can hold. */
export type Shape =
  | "nothing"
  | { DOT: number }
  | { line_to: [number, number] }
  | { rgb: Uint8Array }
  | { circle: { midPoint: [number, number]; radius?: number | null } };

export type Pair = [number, string];

export type Marker = undefined;

/** Another type of the same name. */
export interface Profile2 {
  id: number;
}

/** A name that means something in TypeScript. */
export interface Date2 {
  day: number;
}

export interface Login {
  profile: RpcStub<Passport>;
  since: Date;
}

export interface Passport extends RpcTarget {
  name(): MaybePromise<string>;
  api(): MaybePromise<RpcStub<Api> | null>;
}

/** What a client implements. */
export interface Watcher extends RpcTarget {
  /** The value is another one now. */
  hasChanged(value: number | bigint): MaybePromise<void>;
  wantsMore(): MaybePromise<boolean>;
}
