/** Yosys (WebAssembly, the optional peer `@yowasp/yosys`) in a thread of its own, because a run cannot be interrupted from within. */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { ConfigError } from '@plumbline/core';

export type YosysRun =
  | { ok: true; log: string; files: Record<string, string> }
  /** `error` is Yosys's own line, or says that the time was over; `log` is what was written until then. */
  | { ok: false; log: string; error: string; timedOut: boolean };

/** Whether Yosys is installed. */
export const yosysInstalled = (): boolean => yosysUrl() !== undefined;

/**
 * Runs a script on files in memory; nothing of the machine's own files can be read or written. Runs wait for each other, since they share one thread.
 *
 * @param timeoutSeconds of this run alone, 30 by default; the first run of a process takes 2 seconds more to load
 * @throws ConfigError where Yosys is not installed; the signal's reason once it is aborted
 */
export function runYosys(
  script: string,
  files: Readonly<Record<string, string>>,
  { timeoutSeconds = 30, signal }: { timeoutSeconds?: number; signal?: AbortSignal } = {},
): Promise<YosysRun> {
  const run = last.then(() => runOne(script, files, timeoutSeconds * 1000, signal));
  last = run.catch(() => {});
  return run;
}

let last: Promise<unknown> = Promise.resolve();
let idle: Worker | undefined;

type FromThread = { text: string } | { error: string } | { files: Record<string, string> };

async function runOne(
  script: string,
  files: Readonly<Record<string, string>>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<YosysRun> {
  signal?.throwIfAborted();
  const worker = idle ?? (await startThread());
  idle = undefined;
  worker.ref();
  let log = '';
  let keep = false;
  let settle = () => {};
  try {
    return await new Promise<YosysRun>((done, fail) => {
      const failed = (error: string, timedOut = false) => done({ ok: false, log, error, timedOut });
      const timer = setTimeout(() => failed(`Yosys ran longer than ${timeoutMs / 1000} s`, true), timeoutMs);
      const abort = () => fail(signal!.reason);
      const broke = (error: Error) => failed(error.message); // out of memory, for one
      const hear = (message: FromThread) => {
        if ('text' in message) log += message.text;
        else if ('files' in message) {
          keep = true;
          done({ ok: true, log, files: message.files });
        } else if ('error' in message) {
          keep = true;
          failed(/^.*ERROR: .*$/m.exec(log)?.[0] ?? message.error);
        }
      };
      settle = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        worker.off('message', hear).off('error', broke);
      };
      signal?.addEventListener('abort', abort, { once: true });
      worker.on('message', hear).on('error', broke);
      worker.postMessage({ script, files });
    });
  } finally {
    settle();
    if (keep) {
      idle = worker;
      worker.unref();
    } else await worker.terminate();
  }
}

async function startThread(): Promise<Worker> {
  const yosys = yosysUrl();
  if (!yosys) throw new ConfigError('Yosys is not installed here: npm install @yowasp/yosys@0.55.944');
  const worker = new Worker(thread, { eval: true, workerData: { yosys } });
  await once(worker, 'message'); // rejects on an error
  return worker;
}

function yosysUrl(): string | undefined {
  try {
    return pathToFileURL(createRequire(import.meta.url).resolve('@yowasp/yosys')).href;
  } catch {
    return undefined;
  }
}

/** The thread's program: it answers each script with what Yosys writes, then with its error or its files. */
const thread = `
const { parentPort, workerData } = require('node:worker_threads');
import(workerData.yosys).then(async ({ runYosys }) => {
  const decoder = new TextDecoder();
  const write = (bytes) => bytes && parentPort.postMessage({ text: decoder.decode(bytes) });
  await runYosys(['-V'], {}, { stdout: null, stderr: null });
  parentPort.on('message', async ({ script, files }) => {
    try {
      const out = await runYosys(['-Q', '-T', '-p', script], files, { stdout: write, stderr: write });
      const texts = Object.entries(out).filter(([, content]) => content instanceof Uint8Array || typeof content === 'string');
      parentPort.postMessage({ files: Object.fromEntries(texts.map(([name, content]) => [name, typeof content === 'string' ? content : decoder.decode(content)])) });
    } catch (error) {
      parentPort.postMessage({ error: error.message });
    }
  });
  parentPort.postMessage({ ready: true });
});
`;
