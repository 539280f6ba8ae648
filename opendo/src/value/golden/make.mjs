// Writes what the npm package says about these values: one line each, `name<TAB>text`.
//
//     npm install capnweb@0.12.0 && node make.mjs > lines.txt
import { serialize } from "capnweb";

const typed = (Class, ...numbers) => new Class(numbers);
const error = (Class, message, props) => Object.assign(new Class(message), props);

const values = {
  undefined: undefined, null: null, true: true, zero: -0, integer: 42, negative: -7, fraction: 0.1,
  safe: Number.MAX_SAFE_INTEGER, huge: 1e300, tiny: 5e-324, inf: Infinity, "-inf": -Infinity, nan: NaN,
  bigint: 123456789012345678901234567890n, "bigint-negative": -(2n ** 63n), "bigint-zero": 0n,
  string: 'a"\\\n\u0001\u2028é😀', empty: "",
  date: new Date(1500), "date-before-1970": new Date(-86400000), "date-invalid": new Date(NaN),
  array: [1, [2, []], "x", null, undefined], object: { a: 1, b: { c: [true] }, "": "empty" },
  bytes: new Uint8Array([0, 255, 128]), "bytes-empty": new Uint8Array(),
  ArrayBuffer: new Uint8Array([1, 2]).buffer, DataView: new DataView(new Uint8Array([1, 2, 3]).buffer),
  Int8Array: typed(Int8Array, -1, 1), Uint8ClampedArray: typed(Uint8ClampedArray, 1, 255),
  Int16Array: typed(Int16Array, -2, 2), Uint16Array: typed(Uint16Array, 65535), Int32Array: typed(Int32Array, -3),
  Uint32Array: typed(Uint32Array, 4294967295), BigInt64Array: typed(BigInt64Array, -4n),
  BigUint64Array: typed(BigUint64Array, 18446744073709551615n), Float32Array: typed(Float32Array, 0.5, -1.5),
  Float64Array: typed(Float64Array, 0.1),
  error: new Error("m"), "error-range": new RangeError("r"),
  "error-props": error(TypeError, "t", { code: "E", cause: new Error("c"), list: [1n] }),
  url: new URL("https://example.com/a?b#c"), headers: new Headers({ b: "2", a: "1" }),
  request: new Request("https://example.com/", { headers: { a: "b" } }),
  response: new Response(null, { status: 404, statusText: "Not Found", headers: { a: "b" } }),
};

for (const [name, value] of Object.entries(values)) console.log(`${name}\t${serialize(value)}`);
