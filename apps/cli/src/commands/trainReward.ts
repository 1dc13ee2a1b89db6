/** `plumb train reward`: a reward model from preference pairs, labels, scores or labelled steps. */
import { join, resolve } from 'node:path';
import { writeFileAtomic } from '@plumbline/core';
import pc from 'picocolors';
import { duration } from '../progress.js';
import { settingsHelp } from '../settings.js';
import { runReward } from '../train/reward.js';
import { RewardSettings } from '../train/rewardConfig.js';
import { startTraining } from '../train/start.js';
import type { TrainOptions } from './train.js';

/** What `plumb train reward --help` says of the settings. */
export const rewardHelp = (): string => `\nSettings, as flags or in the YAML file of --config:\n${settingsHelp(RewardSettings)}\n`;

export async function trainRewardModel(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const { backend, ...job } = await startTraining('reward', RewardSettings, options, rest);
  const { dir, settings } = job;

  const summary = await runReward(job);

  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  if (options.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  const { data, heldOut, best, output } = summary;
  const left = data.leftOut > 0 ? `, ${data.leftOut} left out (longer than ${settings.maxTokens} tokens, empty, or without a label)` : '';
  console.log(`\n${summary.steps} steps on ${data.train} ${data.unit}${left}.`);
  if (data.skipped > 0) console.log(`${data.skipped} rows hold nothing to learn (${data.why}).`);
  if (heldOut) {
    const percent = (x: number) => `${Math.round(100 * x)}%`;
    const { before, after, change } = heldOut;
    const moved = !change ? '' : change.low > 0 ? ' (better)' : change.high < 0 ? ' (worse)' : ' (no difference that these could tell)';
    const accuracy =
      before.accuracy && after.accuracy
        ? `accuracy ${percent(before.accuracy.mean)} before, ${percent(after.accuracy.mean)} after [${percent(after.accuracy.low)}, ${percent(after.accuracy.high)}]${moved}`
        : undefined;
    const said = [
      accuracy,
      after.loss !== undefined && `loss ${before.loss?.toFixed(3)} before, ${after.loss.toFixed(3)} after${accuracy ? '' : moved}`,
      after.margin !== undefined && `margin ${after.margin.toFixed(2)}`,
      after.auroc !== undefined && `area under the ROC curve ${after.auroc.toFixed(2)}`,
      after.calibrationError !== undefined && `calibration error ${after.calibrationError.toFixed(2)}`,
      best && `the best was after step ${best.step}`,
    ].filter(Boolean);
    console.log(`On ${data.heldOut} held-out ${data.unit}: ${said.join('; ')}.`);
    for (const [name, { error, spearman }] of Object.entries(after.attributes ?? {}))
      console.log(
        `  ${name}: off by ${error.toFixed(2)} (root mean square)${spearman === undefined ? '' : `, rank correlation ${spearman.toFixed(2)}`}`,
      );
    if (after.longerChosen !== undefined && Number.isFinite(after.longerChosen) && Number.isFinite(after.shorterChosen))
      console.log(
        `Where the chosen answer is longer it is right on ${percent(after.longerChosen)}, where it is shorter on ${percent(after.shorterChosen!)}: a wide gap is a leaning to length.`,
      );
  }
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  console.log(
    `${duration(summary.seconds)} on ${backend.name}, ${Math.round(summary.tokensPerSecond)} tokens/s, ${megabytes(summary.peakBytes)} of memory at most; ${summary.model.trained.toLocaleString('en')} of ${summary.model.parameters.toLocaleString('en')} parameters were trained.`,
  );
  console.log(
    `The reward model, a ${settings.loss === 'step' ? 'token' : 'sequence'} classifier that transformers loads, is in\n${pc.cyan(resolve(output.model))}`,
  );
  if (output.adapter) console.log(`and its adapter, in PEFT’s format, in\n${pc.cyan(resolve(output.adapter))}`);
}
