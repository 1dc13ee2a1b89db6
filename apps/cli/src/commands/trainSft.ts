/** `plumb train sft`: supervised finetuning on conversations. */

import { settingsSection } from '../settings.js';
import { runSft } from '../train/sft.js';
import { SftSettings } from '../train/sftConfig.js';
import { endTraining, policyIs, startTraining, type TrainOptions, trained } from '../train/start.js';

export const sftHelp = (): string => settingsSection(SftSettings);

export async function trainSft(options: TrainOptions, rest: readonly string[]): Promise<void> {
  const { job, backend } = await startTraining('sft', SftSettings, options, rest);
  await endTraining(
    await trained(job, runSft),
    { dir: job.dir, backend, json: options.json },
    {
      tell({ steps, data, heldOutLoss, best }) {
        const left =
          data.leftOut > 0 ? `, ${data.leftOut} left out (longer than ${job.settings.maxTokens} tokens, or without an answer)` : '';
        return [
          `${steps} steps on ${data.train} conversations of ${data.tokens} tokens${left}.`,
          data.skipped > 0 && `${data.skipped} rows hold nothing to learn (${data.why}).`,
          heldOutLoss &&
            `Loss on ${data.heldOut} held-out conversations: ${heldOutLoss.before.toFixed(3)} before, ${heldOutLoss.after.toFixed(3)} after (nats a token)${best ? `, the lowest after step ${best.step}` : ''}.`,
        ];
      },
      where: (summary) => [policyIs(summary)],
    },
  );
}
