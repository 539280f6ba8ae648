// The server of Cap'n Web's own library, over WebSocket and for HTTP batches: prints its address, ends with its input.
import http from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';
import { RpcTarget, newWebSocketRpcSession, nodeHttpBatchRpcResponse } from 'capnweb';

globalThis.WebSocket ??= WebSocket; // Node has one from version 22

class Counter extends RpcTarget {
  #value = 0;

  increment(by) {
    return (this.#value += by);
  }

  // What is resident is to be what is held.
  settle() {
    globalThis.gc();
  }
}

const server = http.createServer((request, response) => nodeHttpBatchRpcResponse(request, response, new Counter()));
new WebSocketServer({ server }).on('connection', (socket) => newWebSocketRpcSession(socket, new Counter()));
server.listen(0, '127.0.0.1', () => console.log(`ws://127.0.0.1:${server.address().port}/`));
process.stdin.resume().on('end', () => process.exit());
