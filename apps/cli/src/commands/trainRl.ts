/** `plumb train rl`: online reinforcement learning on prompts, under any reward. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError } from '@plumbline/core';
import { policyLosses } from '@plumbline/rl';
import { loadReward } from '../serve/load.js';
import { lossesHelp, settingsSection } from '../settings.js';
import { runRl } from '../train/rl.js';
import { RlSettings } from '../train/rlConfig.js';
import { endTraining, policyIs, startTraining, type TrainOptions, trained } from '../train/start.js';
import { ofRl } from '../train/unused.js';

const percent = (share: number): string => `${share < 0.01 ? 'Less than 1' : Math.round(100 * share)}%`;

export const rlHelp = (): string => `${settingsSection(RlSettings)}\n${lossesHelp(policyLosses)}`;

export async function trainRl(options: TrainOptions & { reward?: string[] }, rest: readonly string[]): Promise<void> {
  const started = await startTraining('rl', RlSettings, options, rest, {
    unused: ofRl, // an error now, not after the model was loaded
    identity(_, before?: { rewards: string[] }) {
      const asked = options.reward ?? before?.rewards ?? [];
      if (asked.length === 0) throw new ConfigError('--reward is missing (plumb train rl --help)');
      return { rewards: asked.map((name) => (existsSync(name) ? resolve(name) : name)) };
    },
    async load({ rewards }) {
      const loaded = [];
      for (const name of rewards) loaded.push(await loadReward(name));
      return loaded;
    },
  });
  const { job, backend, loaded } = started;
  await endTraining(
    await trained({ ...job, rewards: loaded }, runRl),
    { dir: job.dir, backend, json: options.json },
    {
      tell({ steps, data, rewards, abstained, heldOutReward: held }) {
        const left = data.leftOut > 0 ? `, ${data.leftOut} left out (too long)` : '';
        return [
          `${steps} steps on ${data.train} prompts${left}, rewarded by ${rewards.join(', ')}.`,
          data.skipped > 0 && `${data.skipped} rows could not be read (${data.why}).`,
          abstained > 0 &&
            `${percent(abstained)} of the completions got no reward, and teach nothing${abstained === 1 ? ': has the data set the columns that the reward reads?' : '.'}`,
          held &&
            `Reward on ${data.heldOut} held-out prompts: ${held.before.toFixed(3)} before, ${held.after.toFixed(3)} after (change ${held.change.toFixed(3)}, standard error ${held.standardError.toFixed(3)}).`,
        ];
      },
      where: (summary) => [`Samples of each step are in ${join(job.dir, 'samples')}. ${policyIs(summary)}`],
    },
  );
}
