// Starts workerd with the worker beside this file and storage on disk; says where it listens, and ends with its input.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const free = await new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(`127.0.0.1:${port}`));
  });
});
const here = import.meta.dirname;
const data = mkdtempSync(join(tmpdir(), 'opendo-bench-workerd-'));
mkdirSync(join(data, 'objects'));
writeFileSync(join(data, 'worker.mjs'), readFileSync(join(here, 'worker.mjs')));
writeFileSync(join(data, 'config.capnp'), `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "disk", disk = (path = "${join(data, 'objects')}", writable = true)),
  ],
  sockets = [ (name = "http", address = "${free}", http = (), service = "main") ],
);
const main :Workerd.Worker = (
  modules = [ (name = "worker.mjs", esModule = embed "worker.mjs") ],
  compatibilityDate = "2026-04-01",
  durableObjectNamespaces = [ (className = "Counter", uniqueKey = "counter", enableSql = true) ],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [ (name = "COUNTER", durableObjectNamespace = "Counter") ],
);
`);
const machine = `${process.platform}-${process.arch === 'x64' ? '64' : process.arch}`;
const program = join(here, `node_modules/@cloudflare/workerd-${machine}/bin/workerd`);
const workerd = spawn(program, ['serve', join(data, 'config.capnp')], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
const stop = () => {
  workerd.kill('SIGKILL');
  rmSync(data, { recursive: true, force: true });
  process.exit(0);
};
for (let attempt = 0; ; attempt++) {
  try {
    await (await fetch(`http://${free}/?calls=0&in_flight=1&objects=1`)).text();
    break;
  } catch (error) {
    if (attempt > 200) throw error;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
console.log(free);

// A line asks for so many calls: their number, how many in flight, to how many objects. The answer is the seconds.
for await (const chunk of process.stdin) {
  for (const line of chunk.toString().trim().split('\n')) {
    const [calls, inFlight, objects] = line.split(' ');
    const start = performance.now();
    const response = await fetch(`http://${free}/?calls=${calls}&in_flight=${inFlight}&objects=${objects}`);
    if (!response.ok) throw new Error(await response.text());
    await response.text();
    console.log((performance.now() - start) / 1000);
  }
}
stop();
