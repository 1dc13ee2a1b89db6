/** The training of the main job on TensorFlow beside the same on native: same data, same seed, the losses of every step. */
import { describeBackends, initBackend, memoryRun, rng } from '@plumbline/core';
import { encodeGroups, encodePairs, makePairs, pairBatches, promptBatches, rewardBatches } from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import { wordsBed } from '@plumbline/envs';
import { blockBatches, createScorer, loadDecoder, trainSft } from '@plumbline/models';
import { trainReward } from '@plumbline/rewards';
import { trainPolicy } from '@plumbline/rl';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';

const schedule = { kind: 'constant', warmupSteps: 2 } as const;
const seed = 3;
const steps = 6;

async function reason(): Promise<string> {
  if (!process.env.PLUMB_FULL) return 'it takes a minute; PLUMB_FULL=1 runs it where TensorFlow is set up';
  for (const backend of ['native', 'tensorflow']) {
    const rung = (await describeBackends({ backend })).find(({ taken }) => taken);
    if (!rung) return (await describeBackends({ backend })).find(({ name }) => name === backend)!.why;
  }
  return '';
}
const why = await reason();

/** How often values come back from TensorFlow meanwhile; 0 on a backend that is not it. */
async function readsDuring(f: () => Promise<void>): Promise<number> {
  type Storage = { readSync(id: object): unknown; tensorMap?: { get(id: object): { values: unknown } } };
  const backend = tf.backend() as unknown as Storage;
  const { readSync } = backend;
  let count = 0;
  if (!backend.tensorMap) {
    await f();
    return 0;
  }
  backend.readSync = function (this: Storage, id) {
    if (this.tensorMap!.get(id).values === null) count++;
    return readSync.call(this, id);
  };
  await f();
  backend.readSync = readSync;
  return count;
}

it.skipIf(why)(`tensorflow learns with native's losses to 1e-3${why && ` (not run: ${why})`}`, async () => {
  await initBackend({ backend: 'native' });
  const bed = await wordsBed({ seed, base: 'zoo:words-1m' });
  const groups = await bed.sampleGroups({ prompts: bed.prompts.slice(0, 32), n: 4, rng: rng(seed) });
  const { tokenizer } = bed.base;
  const text = Int32Array.from(
    groups.flatMap(({ prompt, completions }) => completions.flatMap((c) => [...tokenizer.encode(`${prompt}${c}`)])),
  );

  const losses = async (backend: string): Promise<Record<'sft' | 'reward' | 'dpo' | 'grpo', number[]>> => {
    await initBackend({ backend });
    const base = await loadDecoder('zoo:words-1m');
    const run = () => memoryRun({ seed });
    const lossesOf = ({ history }: ReturnType<typeof memoryRun>): number[] => history.map(({ loss }) => loss!);

    const sft = run();
    const blocks = blockBatches(text, { blockTokens: 64, blocksPerStep: 4, steps, rng: rng(seed) });
    const policy = base.snapshot();
    const reads = await readsDuring(
      async () => void (await trainSft({ steps, learningRate: 1e-3, schedule }, { policy, batches: blocks, run: sft })),
    );
    if (backend === 'tensorflow') expect(reads).toBe(steps); // loss and gradient norm, in one transfer a step

    const reward = run();
    const encoded = encodeGroups(tokenizer, groups, { minGap: 0.05 }).groups;
    const rewardSteps = rewardBatches(encoded, { groupsPerStep: 4, epochs: 1, rng: rng(seed) });
    const scorer = createScorer(base, { pooling: 'mean', rng: rng(seed) });
    await trainReward({ steps: rewardSteps.steps, learningRate: 5e-4, schedule }, { scorer, batches: rewardSteps, run: reward });

    const preferences = run();
    const { pairs } = encodePairs(tokenizer, makePairs(groups, 'all', rng(seed), { minGap: 0.05 }));
    await trainPairs(
      { steps, pairsPerStep: 8, pairsPerMicroBatch: 8, learningRate: 1e-4, schedule },
      {
        policy: base.snapshot(),
        reference: base,
        batches: pairBatches(pairs, { pairsPerStep: 8, steps, rng: rng(seed) }),
        loss: withOptions(dpo, { beta: 0.1 }),
        run: preferences,
      },
    );

    // What it samples is part of this: one token that rounding turns would show in every loss after it.
    const online = run();
    await trainPolicy(
      { steps: 3, promptsPerStep: 8, samplesPerPrompt: 4, learningRate: 2e-4, klCoef: 0.1, schedule, ...bed.sampling },
      {
        policy: base.snapshot(),
        reference: base,
        prompts: promptBatches(bed.prompts, { promptsPerStep: 8, steps: 3, rng: rng(seed) }),
        reward: bed.gold,
        run: online,
      },
    );
    const grpo = online.history.flatMap((values) => [values.loss!, values['reward/mean']!]); // the losses begin at 0; the rewards are the samples'
    return { sft: lossesOf(sft), reward: lossesOf(reward), dpo: lossesOf(preferences), grpo };
  };
  const native = await losses('native');
  const tensorflow = await losses('tensorflow');
  for (const job of ['sft', 'reward', 'dpo', 'grpo'] as const) {
    const difference = Math.max(...native[job].map((loss, step) => Math.abs(loss - tensorflow[job][step])));
    console.log(
      `${job}: ${native[job].length} numbers, ${native[job][0].toFixed(4)} to ${native[job].at(-1)!.toFixed(4)}, largest difference ${difference.toExponential(1)}`,
    );
    expect(tensorflow[job]).toHaveLength(native[job].length);
    expect(difference).toBeLessThan(1e-3);
    expect(new Set(native[job]).size).toBeGreaterThan(1); // or the runs would agree by doing nothing
  }
});
