/** `plumb serve`: a local model, a reward, or both, behind HTTP. */
import { ConfigError } from '@plumbline/core';
import pc from 'picocolors';
import { type BackendFlags, backendOf } from '../backend.js';
import { modelParts } from '../models.js';
import { listen } from '../serve/server.js';
import { startService } from '../serve/thread.js';
import { wholeNumber } from '../settings.js';
import { stopSignal } from '../stop.js';

export type ServeOptions = BackendFlags & {
  model?: string;
  reward?: string;
  host: string;
  port: string;
  token?: string;
  name?: string;
  storage?: 'f32' | 'bf16' | 'int8';
  products?: 'f32' | 'bf16';
  rows?: string;
  cache?: string;
};

export async function serveModel({
  model,
  reward,
  host,
  port,
  token,
  name,
  storage,
  products,
  rows,
  cache,
  ...backend
}: ServeOptions): Promise<void> {
  if (model === undefined && reward === undefined) throw new ConfigError('give --model, --reward, or both: there is nothing to serve');
  // Errors now, not from the worker or once the model is there.
  if (model !== undefined) modelParts(model);
  const listening = { host, port: portOf(port), token: token ?? process.env.PLUMB_TOKEN };
  const signal = stopSignal('leaving: requests under way may end first; once more to leave at once');
  const service = await startService({
    model,
    reward,
    name,
    storage,
    products,
    ...backendOf(backend),
    ...(rows !== undefined && { maxRows: wholeNumber('--rows', rows, 1) }),
    ...(cache !== undefined && { cacheBytes: wholeNumber('--cache', cache, 1) * 2 ** 20 }),
  });
  const running = await listen(service, listening).catch(async (error: unknown) => {
    await service.close();
    throw error;
  });
  const { info } = service;
  const paths = [
    ...(info.model ? ['/v1/chat/completions', '/v1/completions', '/v1/embeddings'] : []),
    ...(info.reward ? ['/get_reward', '/classify', '/score'] : []),
  ];
  console.error(`${pc.bold([info.model, info.reward].filter(Boolean).join(' and '))} at ${pc.cyan(running.url)} (${paths.join(', ')})`);
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  await running.close();
}

function portOf(text: string): number {
  const port = wholeNumber('--port', text);
  if (port > 65_535) throw new ConfigError(`--port must be at most 65535, got "${text}"`);
  return port;
}
