/** A service in a thread of its own, so that the server's event loop stays free while the model computes. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { ConfigError, PlumblineError } from '@plumbline/core';
import type { Generation } from '@plumbline/data';
import { loadService, type ServeSettings } from './load.js';
import type { Service, ServiceEvent, ServiceInfo } from './service.js';

export type Call =
  | { id: number; method: 'generate' | 'logps' | 'embed' | 'score' | 'close'; argument?: unknown }
  | { id: number; method: 'abort' };
export type Reply =
  | { type: 'ready'; info: ServiceInfo }
  | { id: number; type: 'event'; event: ServiceEvent }
  | { id: number; type: 'done'; value: unknown }
  | { id?: number; type: 'error'; message: string; known: boolean };

/** The compiled worker; sources are not run in one. */
const file = new URL('./serve/worker.js', import.meta.url);

/** The service in a worker thread, or in this one where the worker is not compiled (tests). */
export async function startService(settings: ServeSettings): Promise<Service> {
  if (!file.pathname.endsWith('.js') || !existsSync(fileURLToPath(file))) return loadService(settings);
  const worker = new Worker(file, { workerData: { serve: settings } });
  const waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void; on?(event: ServiceEvent): void }>();
  let next = 0;
  const call = <T>(message: Record<string, unknown>, on?: (event: ServiceEvent) => void, signal?: AbortSignal): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      const id = next++;
      waiting.set(id, { resolve, reject, on });
      signal?.addEventListener('abort', () => worker.postMessage({ id, method: 'abort' }), { once: true });
      worker.postMessage({ id, ...message });
    });
  const failAll = (error: Error) => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  const info = await new Promise<ServiceInfo>((resolve, reject) => {
    worker.on('message', (reply: Reply) => {
      if (reply.type === 'ready') return resolve(reply.info);
      if (reply.type === 'error' && reply.id === undefined) return reject(errorOf(reply));
      const one = waiting.get(reply.id!);
      if (!one) return;
      if (reply.type === 'event') return one.on?.(reply.event);
      waiting.delete(reply.id!);
      if (reply.type === 'done') one.resolve(reply.value as never);
      else one.reject(errorOf(reply));
    });
    worker.once('error', (error) => {
      reject(error);
      failAll(error);
    });
    worker.once('exit', () => failAll(new PlumblineError('the model has been stopped')));
  });
  return {
    info,
    generate: (job, on, signal) => call<Generation[]>({ method: 'generate', argument: job }, on, signal),
    logps: (argument) => call({ method: 'logps', argument }),
    embed: (argument) => call({ method: 'embed', argument }),
    score: (argument) => call({ method: 'score', argument }),
    async close() {
      await call({ method: 'close' }).catch(() => {});
      await worker.terminate();
    },
  };
}

const errorOf = ({ message, known }: { message: string; known: boolean }): Error => (known ? new ConfigError(message) : new Error(message));
