// Calls a counter with Cap'n Web's own client. Does what it is told by lines of its input, and says when it is done:
//
//   load.mjs calls URL N    so many milliseconds: calls over one WebSocket, N in flight
//   load.mjs batches URL N  so many milliseconds: HTTP batches of ten calls, N in flight
//   load.mjs idle URL       so many connections that have made one call each
//
// The first two answer with how many there were, the middle one's time in microseconds, and this process's own
// processor time in microseconds.
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';
import { newHttpBatchRpcSession, newWebSocketRpcSession } from 'capnweb';

globalThis.WebSocket ??= WebSocket; // Node has one from version 22

async function connect(url) {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
  return newWebSocketRpcSession(socket);
}

async function call(counter) {
  if (!((await counter.increment(1)) > 0)) throw new Error('it does not count');
}

async function batch(url) {
  const counter = newHttpBatchRpcSession(url);
  const results = await Promise.all(Array.from({ length: 10 }, () => counter.increment(1)));
  if (results[9] !== 10) throw new Error('it does not count');
}

async function load(inFlight, once, milliseconds) {
  const times = [];
  const before = process.cpuUsage();
  const end = performance.now() + milliseconds;
  const turns = Array.from({ length: inFlight }, async () => {
    for (let start = performance.now(); start < end; ) {
      await once();
      const now = performance.now();
      times.push(now - start);
      start = now;
    }
  });
  await Promise.all(turns);
  const { user, system } = process.cpuUsage(before);
  times.sort((a, b) => a - b);
  return `${times.length} ${times[times.length >> 1] * 1000} ${user + system}`;
}

const [what, url, inFlight] = process.argv.slice(2);
let told;
if (what === 'idle') {
  const connections = [];
  told = async (count) => {
    while (connections.length < count) {
      const counter = await connect(url);
      await call(counter);
      connections.push(counter);
    }
    // Once the server has nothing else to do.
    await connections[0].settle();
    return count;
  };
} else {
  const counter = what === 'calls' ? await connect(url) : undefined;
  const once = counter ? () => call(counter) : () => batch(url.replace('ws:', 'http:'));
  told = (milliseconds) => load(Number(inFlight), once, milliseconds);
}
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) console.log(await told(Number(line)));
process.exit();
