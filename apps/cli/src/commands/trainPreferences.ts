/** `plumb train dpo` and `plumb train kto`: direct alignment from preference pairs, or from answers with a thumb up or down. */
import { join } from 'node:path';
import { onlinePairLosses, pairLosses } from '@plumbline/dpo';
import { lossesHelp, settingsSection } from '../settings.js';
import { type OnlineSummary, runOnline } from '../train/online.js';
import { type PreferenceSummary, runDpo, runKto } from '../train/preference.js';
import { DpoSettings, KtoSettings } from '../train/preferenceConfig.js';
import { endTraining, policyIs, startTraining, type TrainOptions, trained } from '../train/start.js';
import { ofDpo } from '../train/unused.js';

export const preferenceHelp = (kind: 'dpo' | 'kto'): string =>
  kind === 'kto' ? settingsSection(KtoSettings) : `${settingsSection(DpoSettings)}\n${lossesHelp({ ...pairLosses, ...onlinePairLosses })}`;

export async function trainDpo(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const { job, backend } = await startTraining('dpo', DpoSettings, options, rest, { unused: ofDpo });
  const place = { dir: job.dir, backend, json: options.json };
  if (job.settings.online === undefined)
    await endTraining(await trained(job, runDpo), place, {
      tell: (summary) => toldOf(summary, 'pairs'),
      where: (summary) => [policyIs(summary)],
    });
  else
    await endTraining(await trained(job, runOnline), place, {
      tell: toldOnline,
      where: (summary) => [`Pairs of each step are in ${join(job.dir, 'samples')}. ${policyIs(summary)}`],
    });
}

export async function trainKto(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const { job, backend } = await startTraining('kto', KtoSettings, options, rest);
  await endTraining(
    await trained(job, runKto),
    { dir: job.dir, backend, json: options.json },
    { tell: (summary) => toldOf(summary, 'answers'), where: (summary) => [policyIs(summary)] },
  );
}

const toldOnline = ({ steps, judge, data, pairs, heldOut, best }: OnlineSummary) => [
  `${steps} steps on ${pairs.sampled} pairs that the policy wrote to ${data.train} prompts${data.tooLong > 0 ? `; ${data.tooLong} left out (too long)` : ''}, ordered by ${judge}.`,
  data.skipped > 0 && `${data.skipped} rows could not be read (${data.why}).`,
  pairs.identical + pairs.ties > 0 &&
    `${pairs.identical} pairs of the same text twice and ${pairs.ties} ties or unreadable verdicts counted for nothing.`,
  heldOut &&
    `On ${data.heldOut} held-out prompts: ${heldOut.of} ${heldOut.before.toFixed(3)} before, ${heldOut.after.toFixed(3)} after (change ${heldOut.change.toFixed(3)}, standard error ${heldOut.standardError.toFixed(3)})${best ? `; the best was after step ${best.step}` : ''}.`,
];

function toldOf(
  { steps, data, heldOut, best, reference, settings }: PreferenceSummary<DpoSettings | KtoSettings>,
  unit: 'pairs' | 'answers',
): (string | false | undefined)[] {
  const left = [
    data.tooLong > 0 && `${data.tooLong} longer than ${settings.maxTokens} tokens`,
    data.empty > 0 && `${data.empty} empty`,
    data.identical > 0 && `${data.identical} with two answers that are the same`,
  ].filter(Boolean);
  return [
    `${steps} steps on ${data.train} ${unit}${left.length > 0 ? `; left out: ${left.join(', ')}` : ''}.`,
    data.truncated > 0 && `${data.truncated} lost tokens to fit into ${settings.maxTokens}.`,
    data.skipped > 0 && `${data.skipped} rows hold nothing to learn (${data.why}).`,
    reference && `Reference log-probabilities: ${reference.computed} ${unit} computed, ${reference.cached} known from before.`,
    heldOut && `On ${data.heldOut} held-out ${unit}: ${measured(heldOut)}${best ? `, the lowest after step ${best.step}` : ''}.`,
  ];
}

function measured({ before, after }: NonNullable<PreferenceSummary<unknown>['heldOut']>): string {
  const percent = (x: number) => `${Math.round(100 * x)}%`;
  const right = after.accuracy
    ? `accuracy ${before?.accuracy ? `${percent(before.accuracy.mean)} before, ` : ''}${percent(after.accuracy.mean)} after [${percent(after.accuracy.low)}, ${percent(after.accuracy.high)}]; `
    : after.auroc !== undefined
      ? `area under the ROC curve ${after.auroc.toFixed(2)}; `
      : '';
  const spread = Number.isFinite(after.margin.low) ? ` [${after.margin.low.toFixed(3)}, ${after.margin.high.toFixed(3)}]` : '';
  return `${right}margin ${after.margin.mean.toFixed(3)}${spread}; loss ${after.loss.toFixed(3)}`;
}
