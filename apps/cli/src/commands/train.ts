/** `plumb train sft`: supervised finetuning on conversations. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { modelPath, resolveModel } from '@plumbline/models';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { duration } from '../progress.js';
import { runFolder } from '../runs.js';
import { parseFlags, readSettings, settingsHelp, wholeNumber } from '../settings.js';
import { SftSettings } from '../train/config.js';
import { runSft } from '../train/sft.js';

export type TrainOptions = BackendFlags & {
  model?: string;
  dataset?: string;
  config?: string;
  set?: string[];
  seed?: string;
  out: string;
  fresh?: boolean;
  resume?: string | true;
  json?: boolean;
};
type Identity = { command: 'train sft'; model: string; dataset: string; seed: number; settings: SftSettings; backend: string };

/** What `plumb train sft --help` says of the settings. */
export const sftHelp = (): string => `\nSettings, as flags or in the YAML file of --config:\n${settingsHelp(SftSettings)}\n`;

export async function trainSft(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const flags = parseFlags(rest);
  const before = options.resume === undefined ? undefined : interrupted<Identity>(options.resume, options.out, 'sft');
  const given = options.config !== undefined || options.set !== undefined || Object.keys(flags).length > 0;
  const settings = before && !given ? before.identity.settings : readSettings(SftSettings, { ...options, flags });
  const seed = options.seed === undefined ? (before?.identity.seed ?? 0) : wholeNumber('--seed', options.seed);
  const model = nameOf(options.model ?? before?.identity.model, '--model', 'plumb train sft');
  const source = nameOf(options.dataset ?? before?.identity.dataset, '--dataset', 'plumb train sft');
  const dataset = existsSync(source) ? resolve(source) : source; // else a hub id
  // An error now, not after reading the data; a name on the hub is pinned to a commit.
  const where = model.startsWith('zoo:') && modelPath(model) ? model : await resolveModel(model);
  const backend = await startBackend(options);
  const signal = onInterrupt();
  const identity: Identity = { command: 'train sft', model: where, dataset, seed, settings, backend: backend.name };
  if (before && JSON.stringify(before.identity) !== JSON.stringify(identity))
    throw new ConfigError(
      `${before.dir} is a run of other settings (${differences(before.identity, identity)}); without --resume a new run begins`,
    );
  const dir =
    before?.dir ?? (await runFolder({ out: options.out, prefix: `sft-seed${seed}-${backend.name}`, identity, fresh: options.fresh }));

  const summary = await runSft({ settings, model: where, dataset, seed, dir, signal });

  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  if (options.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  const { data, heldOutLoss, best } = summary;
  const left = data.leftOut > 0 ? `, ${data.leftOut} left out (longer than ${settings.maxTokens} tokens, or without an answer)` : '';
  console.log(`\n${summary.steps} steps on ${data.train} conversations of ${data.tokens} tokens${left}.`);
  if (data.skipped > 0) console.log(`${data.skipped} rows hold nothing to learn (${data.why}).`);
  if (heldOutLoss)
    console.log(
      `Loss on ${data.heldOut} held-out conversations: ${heldOutLoss.before.toFixed(3)} before, ${heldOutLoss.after.toFixed(3)} after (nats a token)${best ? `, the lowest after step ${best.step}` : ''}.`,
    );
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  console.log(
    `${duration(summary.seconds)} on ${backend.name}, ${Math.round(summary.tokensPerSecond)} tokens/s, ${megabytes(summary.peakBytes)} of memory at most; ${summary.model.trained.toLocaleString('en')} of ${summary.model.parameters.toLocaleString('en')} parameters were trained.`,
  );
  console.log(`The ${settings.full ? 'model' : 'adapter, in PEFT’s format,'} is in\n${pc.cyan(resolve(summary.output))}`);
}

export function nameOf(name: string | undefined, flag: string, command: string): string {
  if (name === undefined) throw new ConfigError(`${flag} is missing (${command} --help)`);
  return name;
}

/** The run to go on with: the named one, or the newest that is not finished. */
export function interrupted<I>(which: string | true, out: string, prefix: string): { dir: string; identity: I } {
  const candidates =
    which === true
      ? (existsSync(out) ? readdirSync(out) : [])
          .filter((name) => name.startsWith(`${prefix}-`))
          .sort()
          .reverse()
          .map((name) => join(out, name))
      : [which];
  const dir = candidates.find((folder) => existsSync(join(folder, 'identity.json')) && !existsSync(join(folder, 'summary.json')));
  if (dir) return { dir, identity: JSON.parse(readFileSync(join(dir, 'identity.json'), 'utf8')) as I };
  const finished = which !== true && existsSync(join(which, 'summary.json'));
  throw new ConfigError(
    finished
      ? `${which} is finished; there is nothing to go on with`
      : `there is no interrupted run ${which === true ? `in ${out}` : `at ${which}`} to go on with`,
  );
}

export function differences(before: object, now: object, at = ''): string {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  const record = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null && !Array.isArray(x);
  return keys
    .flatMap((key) => {
      const [a, b] = [(before as Record<string, unknown>)[key], (now as Record<string, unknown>)[key]];
      if (JSON.stringify(a) === JSON.stringify(b)) return [];
      return record(a) && record(b)
        ? [differences(a, b, `${at}${key}.`)]
        : [`${at}${key} was ${JSON.stringify(a)} and is ${JSON.stringify(b)}`];
    })
    .join(', ');
}
