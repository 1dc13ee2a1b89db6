/** Our side of `plumb bench trl`: one task in one precision, in a process of its own. `trlWorker.js WORK.json`. */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { initBackend, memoryRun, type Run, rng } from '@plumbline/core';
import { type Batches, encodePairs, pairBatches, promptBatches, rewardBatches } from '@plumbline/data';
import { dpo, trainPairs } from '@plumbline/dpo';
import { addLora, createScorer, generate, type LocalDecoder, loadDecoder } from '@plumbline/models';
import { trainReward } from '@plumbline/rewards';
import { trainPolicy } from '@plumbline/rl';
import type { TrlAnswer, TrlWork } from './trl.js';

const say = (answer: object): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
console.log = console.error; // standard output is for answers

const work = JSON.parse(readFileSync(process.argv[2], 'utf8')) as TrlWork;
const { task, precision, model, steps, threads, maxTokens, samplesPerPrompt: n, newTokens } = work;

try {
  const { version, simd, threads: used } = await initBackend({ backend: 'native', ...(threads && { threads }) });
  const decoder = await loadDecoder(model, { storage: precision, products: precision });
  say({ name: 'plumbline', device: simd, version, threads: used });
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line.includes('run')) break;
    say(await measure(decoder));
  }
} catch (error) {
  process.stdout.write(`${JSON.stringify({ error: messageOf(error) })}\n`, () => process.exit(1));
}

async function measure(decoder: LocalDecoder): Promise<TrlAnswer> {
  const times: number[] = [];
  let [begin, tokens] = [0, 0];
  const run: Run = { ...memoryRun({ seed: 1 }), log: () => void times.push((performance.now() - begin) / 1000) };
  /** A step begins where its batch is there. */
  const timed = <B>(batches: Batches<B>, count: (batch: B) => number): Batches<B> => ({
    steps: batches.steps,
    at: async (step) => {
      const batch = await batches.at(step);
      tokens = count(batch);
      begin = performance.now();
      return batch;
    },
  });
  const lora = { r: 8, alpha: 16, targetModules: 'all-linear' };
  if (task === 'grpo') {
    const policy = await addLora(decoder, lora, { rng: rng(1) });
    const prompts = promptBatches(work.prompts, { promptsPerStep: 4, steps, rng: rng(2) });
    const lengths = (batch: { prompts: string[] }) =>
      batch.prompts.reduce((sum, prompt) => sum + n * (decoder.tokenizer.encode(prompt).length + newTokens), 0);
    await trainPolicy(
      { steps, promptsPerStep: 4, samplesPerPrompt: n, maxTokens: newTokens, klCoef: 0, learningRate: 1e-5 },
      {
        policy,
        prompts: timed(prompts, lengths),
        reward: {
          name: 'length',
          score: async (batch) => ({ scores: Float32Array.from(batch, ({ completion }) => String(completion).length) }),
        },
        rollout: async ({ prompts: ids, n: samples, sampling, rng: draws }) => {
          const drawn = await generate(policy, ids, { ...sampling, n: samples, stopIds: [], rng: draws }); // all of them as long as may be
          return drawn.flatMap((own, group) => own.map((sample) => ({ ...sample, prompt: ids[group], group })));
        },
        run,
      },
    );
  } else {
    const records = work.pairs.map((pair, i) => ({ id: String(i), ...pair }));
    const { pairs } = encodePairs(decoder.tokenizer, records, { maxTokens, truncation: 'keepStart' });
    const apart = (ids: readonly string[]) =>
      ids.reduce((sum, id) => {
        const { prompt, chosen, rejected } = pairs.find((pair) => pair.id === id)!;
        return sum + 2 * prompt.length + chosen.length + rejected.length;
      }, 0);
    const layout = { steps, rng: rng(2), sharePrompts: true };
    if (task === 'dpo') {
      const policy = await addLora(decoder, lora, { rng: rng(1) });
      const batches = timed(pairBatches(pairs, { pairsPerStep: 4, ...layout }), ({ ids }) => apart(ids));
      await trainPairs(
        { steps, pairsPerStep: 4, pairsPerMicroBatch: 4, learningRate: 1e-5 },
        { policy, reference: decoder, batches, loss: dpo, run },
      );
    } else {
      const base = createScorer(decoder, { pooling: 'last', rng: rng(3), name: 'reward', shareBackbone: true });
      const scorer = await addLora(base, lora, { rng: rng(1) });
      const batches = timed(rewardBatches(pairs, { groupsPerStep: 4, ...layout }), ({ ids }) => apart(ids));
      await trainReward({ steps, learningRate: 1e-5 }, { scorer, batches, run });
    }
  }
  return { steps: times, tokens, peakBytes: process.resourceUsage().maxRSS * 1024 };
}
