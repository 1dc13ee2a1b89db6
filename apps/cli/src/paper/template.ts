/** What `plumb new paper` writes: a small experiment on the words bed that runs as it stands. */

type Paper = { id: string; title: string; arxiv: string };

export const experimentSource = ({ id, title, arxiv }: Paper): string => `/**
 * ${title}. arXiv:${arxiv}: say here in one sentence what the paper proposes.
 */
import { defineExperiment, firstAnswers, goldTie, heldOutPrompts, wordsMetrics, wordsModel } from '@plumbline/bench';
import { encodePairs, makePairs, pairBatches } from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import { z } from 'zod';

export default defineExperiment({
  id: '${id}',
  paper: 'arXiv:${arxiv}',
  packages: ['models', 'dpo', 'envs'],
  config: z.strictObject({
    model: wordsModel('The decoder that is trained'),
    prompts: z.int().positive().default(100).describe('Prompts with 4 sampled answers each'),
    steps: z.int().positive().default(40).describe('Optimizer updates of every arm'),
    pairsPerStep: z.int().positive().default(16).describe('Pairs of an update'),
    learningRate: z.number().positive().default(1e-4).describe('Peak rate'),
    evaluationPrompts: heldOutPrompts(48),
  }),
  quick: { prompts: 4, steps: 2, pairsPerStep: 2, evaluationPrompts: 3 },
  arms: ['baseline', 'method'],
  metrics: wordsMetrics('goldReward', 'kl'),
  units: 'prompts',
  claims: [
    {
      id: 'better',
      text: 'The method ends with more gold reward than the baseline at equal steps',
      test: { metric: 'goldReward', better: 'method', than: 'baseline', smallestEffect: 0.05 },
    },
  ],
  async run({ config, rng, arm, bed, say, signal }) {
    const words = await bed('words');
    const prompts = words.prompts.slice(0, config.prompts);
    const heldOut = words.heldOutPrompts.slice(0, config.evaluationPrompts);
    say('pairs of answers of the base');
    const groups = await words.sampleGroups({ prompts, n: 4, rng: rng.fork('answers'), signal });
    const { pairs } = encodePairs(words.base.tokenizer, makePairs(groups, 'bestRandom', rng.fork('pairs'), { minGap: goldTie }));

    /** The two arms differ in one thing: here the weight of the KL penalty. */
    const train = async (name: 'baseline' | 'method', beta: number) => {
      say(\`\${name}: \${config.steps} steps\`);
      const policy = words.policy();
      const { steps, pairsPerStep, learningRate } = config;
      const batches = pairBatches(pairs, { pairsPerStep, steps, rng: rng.fork('order') });
      const settings = { steps, pairsPerStep, pairsPerMicroBatch: pairsPerStep, learningRate };
      await trainPairs(settings, { policy, reference: words.base, batches, loss: withOptions(dpo, { beta }), run: arm(name) });
      const { goldReward, kl, samples } = await words.evaluate(policy, { prompts: heldOut, rng: rng.fork('evaluate'), signal });
      policy.dispose();
      return { metrics: { goldReward, kl }, samples };
    };
    const trained = { baseline: await train('baseline', 0.5), method: await train('method', 0.1) };
    return {
      arms: { baseline: trained.baseline.metrics, method: trained.method.metrics },
      samples: firstAnswers({ baseline: trained.baseline.samples, method: trained.method.samples }),
    };
  },
});
`;

/** @param command how the experiment is named to `plumb reproduce` */
export const readmeSource = ({ id, title, arxiv }: Paper, command: string): string => `# ${id}

${title}, [arXiv:${arxiv}](https://arxiv.org/abs/${arxiv}). Say here what the paper proposes, in two or three sentences.

    plumb reproduce ${command}

Arms: \`baseline\` and \`method\`, and the one thing in which they differ.

## Measured

Nothing yet. Fix the smallest effect of interest and the settings first (on seed 0, which does not count: \`--seeds 0\`), then run it as above: a pilot on other seeds
says how many count.

## What differs from the paper, and why

`;
