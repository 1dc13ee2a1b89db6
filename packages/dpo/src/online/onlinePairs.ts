/** Pairs sampled from the policy as it trains. */
import { ConfigError, type Rng } from '@plumbline/core';
import {
  type Batches,
  type Completion,
  type EncodedPair,
  encodePrompt,
  type PairwiseJudge,
  type Prompt,
  type PromptBatch,
  pairBatch,
} from '@plumbline/data';
import { generate, type LocalDecoder } from '@plumbline/models';
import type { TrainingPairs } from '../pairInputs.js';
import { missesEos, penaliseMissingEos } from './missingEos.js';

export type OnlinePairs = {
  /** The policy that `trainPairs` trains. */
  policy: LocalDecoder;
  /** Prompts of each step; a step has as many pairs as prompts. */
  prompts: Batches<PromptBatch<Prompt | { prompt: Prompt; id?: string; meta?: Record<string, unknown> }>>;
  /** Who labels: used through both orders (`debiased`) where it reads two answers at once, since training finds and exploits a position that it prefers. */
  preference: PairwiseJudge;
  maxTokens: number;
  temperature?: number;
  /** Subtracted from the reward of a sample without end token, before the two are compared; 0 unless given. A `preference` whose verdicts have no `logOdds` (no `pairwiseFromPointwise`) refuses it. */
  missingEosPenalty?: number;
  sharePrompts?: boolean;
  rng: Rng;
  signal?: AbortSignal;
};

/** What was left out so far: answers that are the same, and pairs that the judge calls a tie or could not read. */
export type OnlineCounts = { pairs: number; identical: number; ties: number };

/**
 * A data source for `trainPairs`: for each prompt of a step two samples of the policy as it is then, ordered by a preference model. Tang et al. 2024, arXiv:2405.08448; Guo et al.
 * 2024, arXiv:2402.04792.
 *
 * Identical samples and ties stay in their step with weight 0, so that a step's size and the divisor of its loss are always the same; `counts` tells how many. A batch is a
 * function of step and policy: a run that goes on from a checkpoint samples what it would have sampled.
 *
 * @throws ConfigError where more than half of a step's samples are identical, or no verdict of a step can be read; RangeError naming the pair where the judge's probability is not in [0, 1]
 */
export function onlinePairs({
  policy,
  prompts,
  preference,
  maxTokens,
  temperature = 1,
  missingEosPenalty = 0,
  sharePrompts,
  rng,
  signal,
}: OnlinePairs): RecordableBatches & { readonly counts: OnlineCounts } {
  const counts: OnlineCounts = { pairs: 0, identical: 0, ties: 0 };
  const draw = async (step: number): Promise<{ pairs: EncodedPair[]; dropped: { identical: number; ties: number } }> => {
    signal?.throwIfAborted();
    const asked = await prompts.at(step);
    const texts = asked.prompts.map((item) => (isPrompt(item) ? item : item.prompt));
    const ids = texts.map((prompt) => encodePrompt(policy.tokenizer, prompt));
    const sampled = await generate(policy, ids, { n: 2, maxTokens, temperature, rng: rng.fork('online', step), signal });
    signal?.throwIfAborted(); // a batch that was cut short is not a sample of the policy
    const judged = await preference.compare(
      texts.map((prompt, i) => ({
        prompt,
        a: said(prompt, sampled[i][0].text),
        b: said(prompt, sampled[i][1].text),
        ...metaOf(asked.prompts[i]),
      })),
      { rng: rng.fork('preference', step), signal },
    );
    const verdicts = missingEosPenalty
      ? penaliseMissingEos(
          preference.name,
          judged,
          sampled.map(([a, b]) => [missesEos(a.tokens, policy.tokenizer), missesEos(b.tokens, policy.tokenizer)] as const),
          missingEosPenalty,
        )
      : judged;
    if (!verdicts.some(({ parsed }) => parsed))
      throw new ConfigError(
        `onlinePairs: ${preference.name} answered nothing that can be read on any of the ${ids.length} pairs of step ${step}`,
      );
    let [identical, ties] = [0, 0];
    const pairs = ids.map((prompt, i): EncodedPair => {
      const [a, b] = sampled[i].map(({ tokens }) => tokens);
      const { probA, winner, parsed } = verdicts[i];
      if (!(probA >= 0 && probA <= 1))
        throw new RangeError(`onlinePairs: step ${step}, pair ${i}: ${preference.name} says ${probA}, which is no probability`);
      const same = a.length === b.length && a.every((token, t) => token === b[t]);
      const tie = !same && (!parsed || winner === 'tie');
      identical += same ? 1 : 0;
      ties += tie ? 1 : 0;
      const [chosen, rejected] = probA >= 0.5 ? [a, b] : [b, a];
      return { id: `${step}.${asked.ids[i]}`, prompt, chosen, rejected, weight: same || tie ? 0 : 1 };
    });
    counts.pairs += pairs.length;
    counts.identical += identical;
    counts.ties += ties;
    if (identical > pairs.length / 2)
      throw new ConfigError(
        `onlinePairs: ${identical} of ${pairs.length} pairs of step ${step} are the same text twice; sample at a higher temperature than ${temperature}, or train less`,
      );
    return { pairs, dropped: { identical, ties } };
  };
  return {
    steps: prompts.steps,
    counts,
    pairsAt: async (step) => (await draw(step)).pairs,
    async at(step) {
      const { pairs, dropped } = await draw(step);
      return { ...pairBatch(pairs, { sharePrompts }), dropped };
    },
  };
}

/** As messages, where the prompt is some. */
const said = (prompt: Prompt, content: string): Completion => (typeof prompt === 'string' ? content : [{ role: 'assistant', content }]);

/** Batches whose pairs can be kept. */
export type RecordableBatches = Batches<TrainingPairs> & { pairsAt(step: number): Promise<EncodedPair[]> };

const metaOf = (item: Prompt | { prompt: Prompt; meta?: Record<string, unknown> }) =>
  isPrompt(item) || !item.meta ? {} : { meta: item.meta };
const isPrompt = (item: Prompt | { prompt: Prompt }): item is Prompt => typeof item === 'string' || Array.isArray(item);
