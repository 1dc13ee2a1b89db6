/** `plumb train reward`: a reward model from preference pairs, labels, scores or labelled steps. */
import { resolve } from 'node:path';
import { rewardLosses } from '@plumbline/rewards';
import pc from 'picocolors';
import { lossesHelp, settingsSection } from '../settings.js';
import { type RewardSummary, runReward } from '../train/reward.js';
import { RewardSettings } from '../train/rewardConfig.js';
import { endTraining, startTraining, type TrainOptions, trained } from '../train/start.js';

export const rewardHelp = (): string => `${settingsSection(RewardSettings)}\n${lossesHelp(rewardLosses)}`;

export async function trainRewardModel(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const { job, backend } = await startTraining('reward', RewardSettings, options, rest);
  await endTraining(
    await trained(job, runReward),
    { dir: job.dir, backend, json: options.json },
    {
      tell({ steps, data, heldOut, best, settings }) {
        const left =
          data.leftOut > 0 ? `, ${data.leftOut} left out (longer than ${settings.maxTokens} tokens, empty, or without a label)` : '';
        return [
          `${steps} steps on ${data.train} ${data.unit}${left}.`,
          data.skipped > 0 && `${data.skipped} rows hold nothing to learn (${data.why}).`,
          ...(heldOut ? measured(data, heldOut, best) : []),
        ];
      },
      where: ({ output, settings }) => [
        `The reward model, a ${settings.loss === 'step' ? 'token' : 'sequence'} classifier that transformers loads, is in\n${pc.cyan(resolve(output.model))}`,
        ...(output.adapter ? [`and its adapter, in PEFT’s format, in\n${pc.cyan(resolve(output.adapter))}`] : []),
      ],
    },
  );
}

function measured(
  data: RewardSummary['data'],
  { before, after, change }: NonNullable<RewardSummary['heldOut']>,
  best: RewardSummary['best'],
): (string | false)[] {
  const percent = (x: number) => `${Math.round(100 * x)}%`;
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
  return [
    `On ${data.heldOut} held-out ${data.unit}: ${said.join('; ')}.`,
    ...Object.entries(after.attributes ?? {}).map(
      ([name, { error, spearman }]) =>
        `  ${name}: off by ${error.toFixed(2)} (root mean square)${spearman === undefined ? '' : `, rank correlation ${spearman.toFixed(2)}`}`,
    ),
    after.longerChosen !== undefined &&
      Number.isFinite(after.longerChosen) &&
      Number.isFinite(after.shorterChosen) &&
      `Where the chosen answer is longer it is right on ${percent(after.longerChosen)}, where it is shorter on ${percent(after.shorterChosen!)}: a wide gap is a leaning to length.`,
  ];
}
