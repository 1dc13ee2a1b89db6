/** `plumb train rl`: online reinforcement learning on prompts, under any reward. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { modelPath, resolveModel } from '@plumbline/models';
import pc from 'picocolors';
import { startBackend } from '../backend.js';
import { duration } from '../progress.js';
import { runFolder } from '../runs.js';
import { loadReward } from '../serve/load.js';
import { parseFlags, readSettings, settingsHelp, wholeNumber } from '../settings.js';
import { runRl } from '../train/rl.js';
import { policyConfig, RlSettings } from '../train/rlConfig.js';
import { differences, interrupted, nameOf, type TrainOptions } from './train.js';

type Identity = {
  command: 'train rl';
  model: string;
  dataset: string;
  rewards: string[];
  seed: number;
  settings: RlSettings;
  backend: string;
};

/** What `plumb train rl --help` says of the settings. */
export const rlHelp = (): string => `\nSettings, as flags or in the YAML file of --config:\n${settingsHelp(RlSettings)}\n`;

export async function trainRl(options: TrainOptions & { reward?: string[] }, rest: readonly string[]): Promise<void> {
  const flags = parseFlags(rest);
  const before = options.resume === undefined ? undefined : interrupted<Identity>(options.resume, options.out, 'rl');
  const given = options.config !== undefined || options.set !== undefined || Object.keys(flags).length > 0;
  const settings = before && !given ? before.identity.settings : readSettings(RlSettings, { ...options, flags });
  policyConfig(settings); // an error now, not after the model was loaded
  const seed = options.seed === undefined ? (before?.identity.seed ?? 0) : wholeNumber('--seed', options.seed);
  const model = nameOf(options.model ?? before?.identity.model, '--model', 'plumb train rl');
  const source = nameOf(options.dataset ?? before?.identity.dataset, '--dataset', 'plumb train rl');
  const asked = options.reward ?? before?.identity.rewards ?? [];
  if (asked.length === 0) throw new ConfigError('--reward is missing (plumb train rl --help)');
  const dataset = existsSync(source) ? resolve(source) : source; // else a hub id
  const where = model.startsWith('zoo:') && modelPath(model) ? model : await resolveModel(model);
  const rewardNames = asked.map((name) => (existsSync(name) ? resolve(name) : name));
  const backend = await startBackend(options);
  const signal = onInterrupt();
  const identity: Identity = { command: 'train rl', model: where, dataset, rewards: rewardNames, seed, settings, backend: backend.name };
  if (before && JSON.stringify(before.identity) !== JSON.stringify(identity))
    throw new ConfigError(
      `${before.dir} is a run of other settings (${differences(before.identity, identity)}); without --resume a new run begins`,
    );
  const rewards = [];
  for (const name of rewardNames) rewards.push(await loadReward(name));
  const dir =
    before?.dir ?? (await runFolder({ out: options.out, prefix: `rl-seed${seed}-${backend.name}`, identity, fresh: options.fresh }));

  const summary = await runRl({ settings, model: where, dataset, rewards, seed, dir, signal });

  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  if (options.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  const { data, heldOutReward } = summary;
  const left = data.leftOut > 0 ? `, ${data.leftOut} left out (too long)` : '';
  console.log(`\n${summary.steps} steps on ${data.train} prompts${left}, rewarded by ${summary.rewards.join(', ')}.`);
  if (data.skipped > 0) console.log(`${data.skipped} rows could not be read (${data.why}).`);
  if (heldOutReward) {
    const { before: from, after, change, standardError } = heldOutReward;
    console.log(
      `Reward on ${data.heldOut} held-out prompts: ${from.toFixed(3)} before, ${after.toFixed(3)} after (change ${change.toFixed(3)}, standard error ${standardError.toFixed(3)}).`,
    );
  }
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  console.log(
    `${duration(summary.seconds)} on ${backend.name}, ${Math.round(summary.tokensPerSecond)} tokens/s, ${megabytes(summary.peakBytes)} of memory at most; ${summary.model.trained.toLocaleString('en')} of ${summary.model.parameters.toLocaleString('en')} parameters were trained.`,
  );
  console.log(
    `Samples of each step are in ${join(dir, 'samples')}. The ${settings.full ? 'model' : 'adapter, in PEFT’s format,'} is in\n${pc.cyan(resolve(summary.output))}`,
  );
}
