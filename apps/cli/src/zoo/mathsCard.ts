/** The model card of the maths model. */
import type { Rng } from '@plumbline/core';
import { joinSequence } from '@plumbline/data';
import { type AnyProblem, type Level, mathsBed, mathsExample, verifyMaths } from '@plumbline/envs';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import { filesSection, hashFiles, mean, percent, table, timeOf, writeFiles } from './cards.js';
import type { MathsConfig } from './maths.js';
import { bitsPerByte } from './quality.js';
import type { Spent } from './spent.js';

/** Measures the model in the folder `out` as it is there, in float16, and writes README.md and sha256.json beside it. */
export async function writeMathsCard(
  config: MathsConfig,
  { out, seed, spent, rng }: { out: string; seed: number; spent: Spent; rng: Rng },
): Promise<{ sha256: Record<string, string>; measured: Record<string, number> }> {
  const decoder = await loadDecoder(out);
  const { measured, samples } = await measureMaths(decoder, config, rng);
  const parameters = decoder.parameters.trainable().reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  decoder.dispose();
  const sha256 = await hashFiles(out);
  await writeFiles(out, modelCard(config, { seed, spent, measured, samples, sha256, parameters }), sha256, measured);
  return { sha256, measured };
}

type Sample = { problem: AnyProblem; completion: string; right: boolean };

/** Greedy and sampled accuracy of each level on the validation split, and bits per byte of true solutions. */
export async function measureMaths(
  decoder: LocalDecoder,
  config: MathsConfig,
  rng: Rng,
): Promise<{ measured: Record<string, number>; samples: Sample[] }> {
  const measured: Record<string, number> = {};
  const samples: Sample[] = [];
  for (const level of config.measured.levels) {
    const bed = await mathsBed({
      seed: 0,
      base: decoder,
      levels: [level as Level | 0],
      count: 1,
      heldOut: config.measured.problems,
      countdown: config.mix.countdown,
    });
    const problems = bed.heldOutProblems;
    const greedy = await bed.evaluate(decoder, { problems, temperature: 0, rng: rng.fork('greedy', level) });
    const sampled = await bed.evaluate(decoder, { problems, samplesPerProblem: 4, rng: rng.fork('sampled', level) });
    const name = level === 0 ? 'countdown' : `level${level}`;
    measured[`${name}Greedy`] = mean(greedy.accuracy);
    measured[`${name}Sampled`] = mean(sampled.accuracy);
    measured[`${name}Sound`] = mean(sampled.sound);
    measured[`${name}Tokens`] = mean(sampled.length);
    for (const [i, { completions }] of sampled.samples.slice(0, 2).entries())
      samples.push({ problem: problems[i], completion: completions[0], right: verifyMaths(problems[i], completions[0]) });
  }
  const heldOut = Array.from({ length: config.measured.problems }, (_, i) => mathsExample(rng.fork('text', i), config.mix).record);
  const { tokenizer } = decoder;
  measured.solutionBitsPerByte = await bitsPerByte(
    decoder,
    heldOut.map(({ prompt, completion }) =>
      joinSequence(tokenizer.encode(prompt as string), Int32Array.of(...tokenizer.encode(completion as string), tokenizer.eosId!)),
    ),
  );
  return { measured, samples };
}

const names = {
  1: 'level 1',
  2: 'level 2',
  3: 'level 3',
  4: 'level 4',
  5: 'level 5 (a tree; never trained on)',
  0: 'countdown, 3 and 4 numbers',
} as const;

function modelCard(
  config: MathsConfig,
  {
    seed,
    spent,
    measured: m,
    samples,
    sha256,
    parameters,
  }: {
    seed: number;
    spent: Spent;
    measured: Record<string, number>;
    samples: Sample[];
    sha256: Record<string, string>;
    parameters: number;
  },
): string {
  const { shape, measured, mix } = config;
  const share = (level: keyof typeof mix.levels) => percent(mix.levels[level] ?? 0, 0);
  return `# ${config.name}

A decoder of ${(parameters / 1e6).toFixed(2)} million parameters for Plumbline's maths bed: it solves story problems in steps. Of its answers to problems of level 4 ${percent(m.level4Sampled ?? 0, 0)} are right at
temperature 1 and ${percent(m.level4Greedy ?? 0, 0)} greedily, so that there is something to build on and something to gain. It knows nothing but these problems.

- Llama architecture: ${shape.layers} layers, width ${shape.width}, ${shape.heads} heads, SwiGLU ${shape.mlpWidth}, tied embeddings, context ${shape.contextLength}; float16
- byte-level BPE in which every digit is a token of its own; \`<m>\` stands between the thought and the equation of a step, \`<s>\` is kept for models that score steps
- remade by \`plumb zoo train ${config.name}\` (seed ${seed}; ${timeOf(spent)})

## Measured

Of the float16 weights in this folder, on ${measured.problems} problems of the validation split for each level: the share of answers that are right, greedily and at
temperature 1 (4 samples each), the share of samples whose every step is right too, and the tokens of a sample.

${table(
  measured.levels.map((level) => {
    const of = (what: string) => m[`${level === 0 ? 'countdown' : `level${level}`}${what}`];
    return [names[level], percent(of('Greedy')), percent(of('Sampled')), percent(of('Sound')), of('Tokens').toFixed(0)];
  }),
  ['', 'greedy', 'temperature 1', 'every step right', 'tokens'],
)}

Bits per byte of ${measured.problems} true solutions, their problems given: ${m.solutionBitsPerByte.toFixed(3)}.

## Text

- generated problems of \`mathsExample\` (\`@plumbline/envs\`), drawn anew for every step, training split only: ${share(1)} level 1, ${share(2)} level 2, ${share(3)} level 3, ${share(4)} level 4, ${share(0)} countdown;
  ${percent(mix.redundant, 0)} of the chains have a step that is true and of no use. The splits are by the structure of a problem (\`splitOf\`)
- ${config.steps.toLocaleString('en')} steps of ${config.problemsPerStep} problems, AdamW (${config.beta1}, ${config.beta2}), weight decay ${config.weightDecay}, rate ${config.learningRate}: ${config.warmupSteps} steps of warm-up, flat to ${percent(config.flatShare, 0)},
  then cosine to 0; only the tokens of the solution count in the loss

## Samples at temperature 1, none picked

${samples
  .map(
    ({ problem, completion, right }) =>
      `> ${problem.text}\n>\n${completion
        .split('\n')
        .map((line) => `> ${line.replaceAll('<', '\\<').replaceAll('*', '\\*')}  `)
        .join('\n')}\n> (${right ? 'right' : 'wrong'})`,
  )
  .join('\n\n')}

${filesSection(sha256)}

Apache-2.0. The problems are generated.
`;
}
