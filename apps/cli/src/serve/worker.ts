/** The other side of `thread.ts`: what runs in the worker. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { PlumblineError } from '@plumbline/core';
import { loadService, type ServeSettings } from './load.js';
import type { GenerateJob, Service } from './service.js';
import type { Call, Reply } from './thread.js';

async function serve(settings: ServeSettings): Promise<void> {
  const port = parentPort!;
  const send = (reply: Reply) => port.postMessage(reply);
  const report = (error: unknown, id?: number) => {
    const known = error instanceof PlumblineError || error instanceof RangeError;
    send({
      ...(id !== undefined && { id }),
      type: 'error',
      message: known || !(error instanceof Error) ? (error as Error).message : (error.stack ?? error.message),
      known,
    });
  };
  let service: Service;
  try {
    service = await loadService(settings);
  } catch (error) {
    return report(error);
  }
  const aborts = new Map<number, AbortController>();
  port.on('message', (message: Call) => {
    if (message.method === 'abort') return void aborts.get(message.id)?.abort();
    const { id, method, argument } = message;
    const run = (): Promise<unknown> => {
      switch (method) {
        case 'generate': {
          const controller = new AbortController();
          aborts.set(id, controller);
          return service
            .generate(argument as GenerateJob, (event) => send({ id, type: 'event', event }), controller.signal)
            .finally(() => aborts.delete(id));
        }
        case 'logps':
          return service.logps(argument as GenerateJob['prompt']);
        case 'embed':
          return service.embed(argument as string[]);
        case 'score':
          return service.score(argument as Parameters<Service['score']>[0]);
        case 'close':
          return service.close();
        default:
          throw new PlumblineError(`the worker has no ${String(method satisfies never)}`);
      }
    };
    run().then(
      (value) => send({ id, type: 'done', value }),
      (error: unknown) => report(error, id),
    );
  });
  send({ type: 'ready', info: service.info });
}

if (!isMainThread && (workerData as { serve?: ServeSettings } | null)?.serve) await serve((workerData as { serve: ServeSettings }).serve);
