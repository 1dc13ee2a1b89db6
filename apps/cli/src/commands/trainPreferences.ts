/** `plumb train dpo` and `plumb train kto`: direct alignment from preference pairs, or from answers with a thumb up or down. */
import { join, resolve } from 'node:path';
import { writeFileAtomic } from '@plumbline/core';
import pc from 'picocolors';
import { duration } from '../progress.js';
import { settingsHelp } from '../settings.js';
import { type OnlineSummary, runOnline } from '../train/online.js';
import { type PreferenceSummary, runDpo, runKto } from '../train/preference.js';
import { DpoSettings, KtoSettings } from '../train/preferenceConfig.js';
import { startTraining } from '../train/start.js';
import type { TrainOptions } from './train.js';

/** What `plumb train dpo --help` and `plumb train kto --help` say of the settings. */
export const preferenceHelp = (kind: 'dpo' | 'kto'): string =>
  `\nSettings, as flags or in the YAML file of --config:\n${settingsHelp(kind === 'dpo' ? DpoSettings : KtoSettings)}\n`;

export async function trainDpo(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const started = await startTraining('dpo', DpoSettings, options, rest);
  if (started.settings.online === undefined) await report(await runDpo(started), started, options, 'pairs');
  else await reportOnline(await runOnline(started), started, options);
}

async function reportOnline(
  summary: OnlineSummary,
  { dir, backend }: { dir: string; backend: { name: string } },
  { json }: TrainOptions,
): Promise<void> {
  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  if (json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  const { data, pairs, heldOut, best, settings } = summary;
  const left = data.tooLong > 0 ? `; ${data.tooLong} left out (too long)` : '';
  console.log(
    `\n${summary.steps} steps on ${pairs.sampled} pairs that the policy wrote to ${data.train} prompts${left}, ordered by ${summary.judge}.`,
  );
  if (data.skipped > 0) console.log(`${data.skipped} rows could not be read (${data.why}).`);
  if (pairs.identical + pairs.ties > 0)
    console.log(`${pairs.identical} pairs of the same text twice and ${pairs.ties} ties or unreadable verdicts counted for nothing.`);
  if (heldOut)
    console.log(
      `On ${data.heldOut} held-out prompts: ${heldOut.of} ${heldOut.before.toFixed(3)} before, ${heldOut.after.toFixed(3)} after (change ${heldOut.change.toFixed(3)}, standard error ${heldOut.standardError.toFixed(3)})${best ? `; the best was after step ${best.step}` : ''}.`,
    );
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  console.log(
    `${duration(summary.seconds)} on ${backend.name}, ${Math.round(summary.tokensPerSecond)} tokens/s, ${megabytes(summary.peakBytes)} of memory at most; ${summary.model.trained.toLocaleString('en')} of ${summary.model.parameters.toLocaleString('en')} parameters were trained.`,
  );
  console.log(
    `Pairs of each step are in ${join(dir, 'samples')}. The ${settings.full ? 'model' : 'adapter, in PEFT’s format,'} is in\n${pc.cyan(resolve(summary.output))}`,
  );
}

export async function trainKto(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const started = await startTraining('kto', KtoSettings, options, rest);
  await report(await runKto(started), started, options, 'answers');
}

async function report(
  summary: PreferenceSummary<DpoSettings | KtoSettings>,
  { dir, backend }: { dir: string; backend: { name: string } },
  { json }: TrainOptions,
  unit: 'pairs' | 'answers',
): Promise<void> {
  await writeFileAtomic(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  if (json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  const { data, heldOut, best, reference, settings } = summary;
  const left = [
    data.tooLong > 0 && `${data.tooLong} longer than ${settings.maxTokens} tokens`,
    data.empty > 0 && `${data.empty} empty`,
    data.identical > 0 && `${data.identical} with two answers that are the same`,
  ].filter(Boolean);
  console.log(`\n${summary.steps} steps on ${data.train} ${unit}${left.length > 0 ? `; left out: ${left.join(', ')}` : ''}.`);
  if (data.truncated > 0) console.log(`${data.truncated} lost tokens to fit into ${settings.maxTokens}.`);
  if (data.skipped > 0) console.log(`${data.skipped} rows hold nothing to learn (${data.why}).`);
  if (reference) console.log(`Reference log-probabilities: ${reference.computed} pairs computed, ${reference.cached} known from before.`);
  if (heldOut) {
    const { before, after } = heldOut;
    const percent = (x: number) => `${Math.round(100 * x)}%`;
    const right = after.accuracy
      ? `accuracy ${before?.accuracy ? `${percent(before.accuracy.mean)} before, ` : ''}${percent(after.accuracy.mean)} after [${percent(after.accuracy.low)}, ${percent(after.accuracy.high)}]; `
      : after.auroc !== undefined
        ? `area under the ROC curve ${after.auroc.toFixed(2)}; `
        : '';
    const spread = Number.isFinite(after.margin.low) ? ` [${after.margin.low.toFixed(3)}, ${after.margin.high.toFixed(3)}]` : '';
    console.log(
      `On ${data.heldOut} held-out ${unit}: ${right}margin ${after.margin.mean.toFixed(3)}${spread}; loss ${after.loss.toFixed(3)}${best ? `, the lowest after step ${best.step}` : ''}.`,
    );
  }
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  console.log(
    `${duration(summary.seconds)} on ${backend.name}, ${Math.round(summary.tokensPerSecond)} tokens/s, ${megabytes(summary.peakBytes)} of memory at most; ${summary.model.trained.toLocaleString('en')} of ${summary.model.parameters.toLocaleString('en')} parameters were trained.`,
  );
  console.log(`The ${settings.full ? 'model' : 'adapter, in PEFT’s format,'} is in\n${pc.cyan(resolve(summary.output))}`);
}
