/** Pairs of which the policy writes one answer and an opponent the other: the batches of XPO and Nash-MD. */
import { ConfigError, type Rng } from '@plumbline/core';
import {
  type Batches,
  type Completion,
  type EncodedPair,
  encodePrompt,
  type PairVerdict,
  type PairwiseJudge,
  type Prompt,
  type PromptRecord,
  pairBatch,
  promptBatches,
} from '@plumbline/data';
import { generate, type LocalDecoder } from '@plumbline/models';
import type { TrainingPairs } from '../pairInputs.js';
import { missesEos, penaliseMissingEos } from './missingEos.js';
import { sampleMixture } from './mixture.js';

export type OpponentPairs = {
  policy: LocalDecoder;
  prompts: readonly PromptRecord[];
  /** Wrap it in `debiased` of rewards where the order of the answers could matter. */
  judge: PairwiseJudge;
  pairsPerStep: number;
  steps: number;
  rng: Rng;
  maxTokens: number;
  temperature?: number;
  /** Subtracted from the reward of an answer without end token, before the two are compared; 0 unless given. A `judge` whose verdicts have no `logOdds` (no `pairwiseFromPointwise`) refuses it. */
  missingEosPenalty?: number;
  /**
   * The reference (XPO); or the geometric mixture of both (Nash-MD), where the policy's answer always stands as the chosen one, and `preference` says
   * how likely it is to win.
   */
  opponent: { kind: 'reference'; model: LocalDecoder } | { kind: 'mixture'; model: LocalDecoder; mixtureCoef?: number };
  sharePrompts?: boolean;
};

/**
 * Batches for `trainPairs` under `xpo` or `nash_md`: for each prompt of a step a sample of the policy as it is then and one of the opponent, ordered by
 * the judge. A batch is a function of step and policy: a run that goes on from a checkpoint samples what it would have sampled.
 *
 * For XPO, identical samples and ties stay in their step with weight 0, and the batch counts them (for Nash-MD a tie says P = 1/2).
 *
 * @throws ConfigError where more than half of a step's samples are identical, no verdict of a step can be read, or the judge's probability is not in [0, 1]
 */
export function opponentPairs(options: OpponentPairs): Batches<TrainingPairs> {
  const { policy, judge, pairsPerStep, steps, rng, maxTokens, temperature = 1, missingEosPenalty = 0, opponent, sharePrompts } = options;
  const order = promptBatches(options.prompts, { promptsPerStep: pairsPerStep, steps, rng: rng.fork('prompts') });
  const { tokenizer } = policy;
  return {
    steps,
    async at(step) {
      const { ids, prompts: records } = await order.at(step);
      const prompts = records.map(({ prompt }) => encodePrompt(tokenizer, prompt));
      const sampling = { maxTokens, temperature, longPrompts: 'left' as const };
      const draws = (who: string) => ({ ...sampling, n: 1, rng: rng.fork(who, step) });
      const own = await generate(policy, prompts, draws('policy'));
      const others =
        opponent.kind === 'reference'
          ? await generate(opponent.model, prompts, draws('opponent'))
          : await sampleMixture(policy, opponent.model, prompts, { ...draws('opponent'), mixtureCoef: opponent.mixtureCoef });
      const sides = own.map((samples, i) => [samples[0].tokens, others[i][0].tokens] as const);
      const judged = await judge.compare(
        sides.map(([a, b], i) => {
          const { prompt, meta } = records[i];
          return { prompt, a: said(prompt, a), b: said(prompt, b), ...(meta && { meta }) };
        }),
        { rng: rng.fork('judge', step), step },
      );
      checkVerdicts(judge.name, judged, sides.length);
      const verdicts = missingEosPenalty
        ? penaliseMissingEos(
            judge.name,
            judged,
            sides.map(([a, b]) => [missesEos(a, tokenizer), missesEos(b, tokenizer)] as const),
            missingEosPenalty,
          )
        : judged;
      const ordered = opponent.kind === 'mixture';
      const same = sides.map(([a, b]) => a.length === b.length && a.every((id, i) => id === b[i]));
      const identical = ordered ? 0 : same.filter(Boolean).length;
      if (identical > sides.length / 2)
        throw new ConfigError(
          `opponentPairs: step ${step}: both answers are the same for ${identical} of ${sides.length} prompts; raise the temperature (${temperature}) or maxTokens`,
        );
      const first = sides.map((_, i) => ordered || verdicts[i].probA >= 0.5); // whether the policy's answer is the chosen one
      const tie = sides.map((_, i) => !ordered && !same[i] && verdicts[i].probA === 0.5);
      const pairs = sides.map(([a, b], i): EncodedPair => {
        const [chosen, rejected] = first[i] ? [a, b] : [b, a];
        const weight = tie[i] || (same[i] && !ordered) ? 0 : 1;
        return { id: `${step}.${ids[i]}`, prompt: prompts[i], chosen, rejected, weight };
      });
      return trainingPairs(
        pairs,
        {
          preference: Float32Array.from(first, (mine, i) => (mine ? verdicts[i].probA : 1 - verdicts[i].probA)),
          chosenByReference: Uint8Array.from(first, (mine) => (mine ? 0 : 1)),
          dropped: { identical, ties: tie.filter(Boolean).length },
        },
        sharePrompts,
      );
    },
  };

  function said(prompt: Prompt, tokens: Int32Array): Completion {
    const content = tokenizer.decode(tokens, { skipSpecial: true });
    return typeof prompt === 'string' ? content : [{ role: 'assistant', content }];
  }
}

/** What is known of pairs beside their tokens goes with them into micro-batches. */
function trainingPairs(
  pairs: readonly EncodedPair[],
  { preference, chosenByReference, dropped }: Pick<TrainingPairs, 'preference' | 'chosenByReference' | 'dropped'>,
  sharePrompts?: boolean,
): TrainingPairs {
  const batch = pairBatch(pairs, { sharePrompts });
  return {
    ...batch,
    preference,
    chosenByReference,
    dropped,
    split: (size) =>
      batch.split(size).map((micro, m) => ({
        ...micro,
        ...(preference && { preference: preference.slice(m * size, (m + 1) * size) }),
        ...(chosenByReference && { chosenByReference: chosenByReference.slice(m * size, (m + 1) * size) }),
      })),
  };
}

function checkVerdicts(name: string, verdicts: readonly PairVerdict[], pairs: number): void {
  if (verdicts.length !== pairs) throw new ConfigError(`opponentPairs: ${name} gave ${verdicts.length} verdicts on ${pairs} pairs`);
  if (!verdicts.some(({ parsed }) => parsed))
    throw new ConfigError(`opponentPairs: ${name} answered nothing that can be read on any of ${pairs} pairs`);
  const bad = verdicts.findIndex(({ probA }) => !(probA >= 0 && probA <= 1));
  if (bad >= 0)
    throw new ConfigError(`opponentPairs: ${name} gave pair ${bad} the probability ${verdicts[bad].probA}; it must be in [0, 1]`);
}
