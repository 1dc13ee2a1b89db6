import { rng } from '@plumbline/core';
import type { LanguageModel, Prompt } from '../interfaces.js';
import { type ContractCase, ensure, ensureClose } from './case.js';

/**
 * What every `LanguageModel` keeps, local or behind an endpoint. `deterministic: false` for a server that does not honour seeds;
 * `independent: false` where a sample may depend on what else is in the batch.
 */
export function languageModelContract(
  make: () => LanguageModel | Promise<LanguageModel>,
  {
    prompts,
    maxTokens = 6,
    deterministic = true,
    independent = deterministic,
    tolerance = 1e-4,
  }: { prompts: readonly Prompt[]; maxTokens?: number; deterministic?: boolean; independent?: boolean; tolerance?: number },
): ContractCase[] {
  const cases: ContractCase[] = [
    {
      name: 'generates n continuations of each prompt, none longer than asked for',
      run: async () => {
        const model = await make();
        const answers = await model.generate(prompts, { n: 3, maxTokens, rng: rng(1) });
        ensure(answers.length === prompts.length, `${model.name}: ${answers.length} answers for ${prompts.length} prompts`);
        for (const samples of answers) {
          ensure(samples.length === 3, `${model.name}: ${samples.length} samples where 3 were asked for`);
          for (const { text, tokens, samplingLogps, finish } of samples) {
            ensure(typeof text === 'string', `${model.name}: a sample has no text`);
            ensure(tokens.length <= maxTokens, `${model.name}: ${tokens.length} tokens, at most ${maxTokens} were asked for`);
            ensure(['stop', 'length', 'aborted'].includes(finish), `${model.name}: finish is ${finish}`);
            if (model.can.logps) {
              ensure(
                samplingLogps.length === tokens.length,
                `${model.name}: ${samplingLogps.length} log-probabilities for ${tokens.length} tokens`,
              );
              ensure(
                samplingLogps.every((logp) => logp <= 1e-5),
                `${model.name}: a log-probability is above 0 or not a number`,
              );
            }
          }
        }
      },
    },
    {
      name: 'answers greedily at temperature 0, whatever the seed',
      run: async () => {
        const model = await make();
        const [one, two] = await Promise.all([1, 2].map((seed) => model.generate(prompts, { maxTokens, temperature: 0, rng: rng(seed) })));
        if (deterministic)
          ensure(
            one.flat().every(({ text }, i) => text === two.flat()[i].text),
            `${model.name}: temperature 0 depends on the seed`,
          );
      },
    },
    {
      name: 'can do what it says it can',
      run: async () => {
        const model = await make();
        ensure(model.can.score === (model.score !== undefined), `${model.name}: can.score is ${model.can.score}`);
        ensure(model.can.embed === (model.embed !== undefined), `${model.name}: can.embed is ${model.can.embed}`);
        if (model.score) {
          const batch = prompts.map((prompt) => ({
            prompt,
            completion: typeof prompt === 'string' ? ' and so on' : [{ role: 'assistant', content: 'and so on' }],
          }));
          const together = await model.score(batch);
          ensure(together.length === batch.length, `${model.name}: ${together.length} scored for ${batch.length}`);
          for (const [i, { tokens, logps }] of together.entries()) {
            ensure(
              tokens.length > 0 && tokens.length === logps.length,
              `${model.name}: ${logps.length} log-probabilities for ${tokens.length} tokens`,
            );
            ensure(
              logps.every((logp) => logp <= 1e-5),
              `${model.name}: a log-probability is above 0 or not a number`,
            );
            ensureClose((await model.score([batch[i]]))[0].logps, logps, tolerance, `${model.name}: log-probabilities of ${i} alone`);
          }
        }
        if (model.embed) {
          const vectors = await model.embed(['one', 'two']);
          ensure(vectors.length === 2 && vectors[0].length === vectors[1].length, `${model.name}: embeddings of unlike size`);
        }
      },
    },
  ];
  if (deterministic) {
    cases.push({
      name: 'generates the same for the same seed, and something else for another',
      run: async () => {
        const model = await make();
        const texts = async (seed: number) =>
          (await model.generate(prompts, { n: 4, maxTokens, temperature: 1, rng: rng(seed) }))
            .flat()
            .map(({ text }) => text)
            .join('\u0000');
        const first = await texts(1);
        ensure((await texts(1)) === first, `${model.name}: seed 1 gives two answers`);
        ensure((await texts(2)) !== first, `${model.name}: seeds 1 and 2 give the same answers`);
      },
    });
  }
  if (independent) {
    cases.push({
      name: 'generates a sample whatever else is in the batch',
      run: async () => {
        const model = await make();
        const [together] = await model.generate(prompts, { n: 2, maxTokens, temperature: 1, rng: rng(5) });
        const [alone] = await model.generate(prompts.slice(0, 1), { n: 2, maxTokens, temperature: 1, rng: rng(5) });
        for (const [i, { text }] of together.entries()) {
          ensure(text === alone[i].text, `${model.name}: sample ${i} of the first prompt depends on the others`);
        }
      },
    });
  }
  return cases;
}
