/** One backend in a process of its own: answers each line of standard input by one line of JSON. `worker.js OPTIONS`, initBackend's and `products`, as JSON. */
import { createInterface } from 'node:readline';
import { type BackendOptions, initBackend, type Products } from '@plumbline/core';
import { type Opened, openOperation } from './operations.js';
import type { Answer, Request } from './participant.js';

const say = (answer: Answer): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
console.log = console.error; // standard output is for answers

const { products, ...options } = JSON.parse(process.argv[2] ?? '{}') as BackendOptions & { products?: Products };
try {
  const { name, device, version, threads, simd } = await initBackend(options);
  say({ name, device: [device, simd].filter(Boolean).join(', '), version, threads });
} catch (error) {
  process.stdout.write(`${JSON.stringify({ error: messageOf(error) } satisfies Answer)}\n`, () => process.exit(1));
}

let opened: Opened | null = null;
for await (const line of createInterface({ input: process.stdin })) {
  try {
    say(await answer(JSON.parse(line) as Request));
  } catch (error) {
    say({ error: messageOf(error) });
  }
}

async function answer(request: Request): Promise<Answer> {
  if ('open' in request) {
    await opened?.close();
    opened = openOperation(request.open, products);
    await opened.time(1); // first calls compile, allocate and fill caches
    return { seconds: await opened.time(1) };
  }
  if ('calls' in request) {
    if (!opened) throw new RangeError('nothing is open');
    return { seconds: await opened.time(request.calls) };
  }
  await opened?.close();
  opened = null;
  return { peakBytes: process.resourceUsage().maxRSS * 1024 };
}
