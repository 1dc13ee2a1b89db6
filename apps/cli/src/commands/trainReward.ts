/** `plumb train reward`: a reward model from preference pairs, or from completions with a label. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, onInterrupt, writeFileAtomic } from '@plumbline/core';
import { modelPath } from '@plumbline/models';
import pc from 'picocolors';
import { startBackend } from '../backend.js';
import { duration } from '../progress.js';
import { runFolder } from '../runs.js';
import { parseFlags, readSettings, settingsHelp, wholeNumber } from '../settings.js';
import { runReward } from '../train/reward.js';
import { RewardSettings } from '../train/rewardConfig.js';
import { differences, interrupted, nameOf, type TrainOptions } from './train.js';

type Identity = { command: 'train reward'; model: string; dataset: string; seed: number; settings: RewardSettings; backend: string };

/** What `plumb train reward --help` says of the settings. */
export const rewardHelp = (): string => `\nSettings, as flags or in the YAML file of --config:\n${settingsHelp(RewardSettings)}\n`;

export async function trainRewardModel(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const flags = parseFlags(rest);
  const before = options.resume === undefined ? undefined : interrupted<Identity>(options.resume, options.out, 'reward');
  const given = options.config !== undefined || options.set !== undefined || Object.keys(flags).length > 0;
  const settings = before && !given ? before.identity.settings : readSettings(RewardSettings, { ...options, flags });
  const seed = options.seed === undefined ? (before?.identity.seed ?? 0) : wholeNumber('--seed', options.seed);
  const model = nameOf(options.model ?? before?.identity.model, '--model', 'plumb train reward');
  const source = nameOf(options.dataset ?? before?.identity.dataset, '--dataset', 'plumb train reward');
  const dataset = existsSync(source) ? resolve(source) : source; // else a hub id
  modelPath(model); // an error now, not after reading the data
  const backend = await startBackend(options);
  const signal = onInterrupt();
  const where = model.startsWith('zoo:') || !existsSync(model) ? model : resolve(model);
  const identity: Identity = { command: 'train reward', model: where, dataset, seed, settings, backend: backend.name };
  if (before && JSON.stringify(before.identity) !== JSON.stringify(identity))
    throw new ConfigError(
      `${before.dir} is a run of other settings (${differences(before.identity, identity)}); without --resume a new run begins`,
    );
  const dir =
    before?.dir ?? (await runFolder({ out: options.out, prefix: `reward-seed${seed}-${backend.name}`, identity, fresh: options.fresh }));

  const summary = await runReward({ settings, model: where, dataset, seed, dir, signal });

  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  if (options.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  const { data, heldOut, best, output } = summary;
  const unit = settings.loss === 'outcome' ? 'completions' : 'pairs';
  const left = data.leftOut > 0 ? `, ${data.leftOut} left out (longer than ${settings.maxTokens} tokens, or empty)` : '';
  console.log(`\n${summary.steps} steps on ${data.train} ${unit}${left}.`);
  if (data.skipped > 0) console.log(`${data.skipped} rows hold nothing to learn (${data.why}).`);
  if (heldOut) {
    const percent = (x: number) => `${Math.round(100 * x)}%`;
    const { before, after, change } = heldOut;
    const moved = change.low > 0 ? 'better' : change.high < 0 ? 'worse' : 'no difference that these could tell';
    console.log(
      `On ${data.heldOut} held-out ${unit}: accuracy ${percent(before.accuracy.mean)} before, ${percent(after.accuracy.mean)} after [${percent(after.accuracy.low)}, ${percent(after.accuracy.high)}] (${moved}); loss ${after.loss.toFixed(3)} nats${after.margin === undefined ? '' : `, margin ${after.margin.toFixed(2)}`}${after.calibrationError === undefined ? '' : `, calibration error ${after.calibrationError.toFixed(2)}`}${best ? `; the best was after step ${best.step}` : ''}.`,
    );
    if (Number.isFinite(after.longerChosen) && Number.isFinite(after.shorterChosen))
      console.log(
        `Where the chosen answer is longer it is right on ${percent(after.longerChosen!)}, where it is shorter on ${percent(after.shorterChosen!)}: a wide gap is a leaning to length.`,
      );
  }
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  console.log(
    `${duration(summary.seconds)} on ${backend.name}, ${Math.round(summary.tokensPerSecond)} tokens/s, ${megabytes(summary.peakBytes)} of memory at most; ${summary.model.trained.toLocaleString('en')} of ${summary.model.parameters.toLocaleString('en')} parameters were trained.`,
  );
  console.log(`The reward model, a sequence classifier that transformers loads, is in\n${pc.cyan(resolve(output.model))}`);
  if (output.adapter) console.log(`and its adapter, in PEFT’s format, in\n${pc.cyan(resolve(output.adapter))}`);
}
