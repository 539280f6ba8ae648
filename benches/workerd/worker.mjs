// The durable counter as its documentation writes it, and a request that calls it so often.
import { DurableObject } from 'cloudflare:workers';

export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => { this.value = (await ctx.storage.get('value')) ?? 0; });
  }

  // Not awaited: the output gate holds the reply back until the write is confirmed.
  increment(by) {
    this.value += by;
    this.ctx.storage.put('value', this.value);
    return this.value;
  }
}

export default {
  async fetch(request, env) {
    const query = new URL(request.url).searchParams;
    const [calls, inFlight, objects] = ['calls', 'in_flight', 'objects'].map((name) => Number(query.get(name)));
    let next = 0;
    const caller = async () => {
      while (next < calls) {
        const name = `counter-${next++ % objects}`;
        await env.COUNTER.get(env.COUNTER.idFromName(name)).increment(1);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, caller));
    return new Response(`${calls}`);
  },
};
