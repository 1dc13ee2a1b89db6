/** How every `plumb train` command begins: settings, an interrupted run or a new folder, the backend. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError, onInterrupt } from '@plumbline/core';
import { modelPath, resolveModel } from '@plumbline/models';
import type { z } from 'zod';
import { startBackend } from '../backend.js';
import { differences, interrupted, nameOf, type TrainOptions } from '../commands/train.js';
import { runFolder } from '../runs.js';
import { parseFlags, readSettings, wholeNumber } from '../settings.js';

export type Started<S> = {
  settings: S;
  seed: number;
  model: string;
  dataset: string;
  /** The run folder, new or gone on with. */
  dir: string;
  backend: Awaited<ReturnType<typeof startBackend>>;
  signal: AbortSignal;
};

/**
 * @param kind the word behind `plumb train`, which run folders begin with
 * @throws ConfigError where a setting is wrong, or the run to go on with has other ones
 */
export async function startTraining<Z extends z.ZodObject>(
  kind: string,
  schema: Z,
  options: TrainOptions,
  rest: readonly string[],
): Promise<Started<z.infer<Z>>> {
  type Identity = { command: string; model: string; dataset: string; seed: number; settings: z.infer<Z>; backend: string };
  const command = `train ${kind}`;
  const flags = parseFlags(rest);
  const before = options.resume === undefined ? undefined : interrupted<Identity>(options.resume, options.out, kind);
  const given = options.config !== undefined || options.set !== undefined || Object.keys(flags).length > 0;
  const settings = before && !given ? before.identity.settings : readSettings(schema, { ...options, flags });
  const seed = options.seed === undefined ? (before?.identity.seed ?? 0) : wholeNumber('--seed', options.seed);
  const model = nameOf(options.model ?? before?.identity.model, '--model', `plumb ${command}`);
  const source = nameOf(options.dataset ?? before?.identity.dataset, '--dataset', `plumb ${command}`);
  const dataset = existsSync(source) ? resolve(source) : source; // else a hub id
  const where = model.startsWith('zoo:') && modelPath(model) ? model : await resolveModel(model); // an error now, not after reading the data
  const backend = await startBackend(options);
  const identity: Identity = { command, model: where, dataset, seed, settings, backend: backend.name };
  if (before && JSON.stringify(before.identity) !== JSON.stringify(identity))
    throw new ConfigError(
      `${before.dir} is a run of other settings (${differences(before.identity, identity)}); without --resume a new run begins`,
    );
  const prefix = `${kind}-seed${seed}-${backend.name}`;
  const dir = before?.dir ?? (await runFolder({ out: options.out, prefix, identity, fresh: options.fresh }));
  return { settings, seed, model: where, dataset, dir, backend, signal: onInterrupt() };
}
