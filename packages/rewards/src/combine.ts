/** Several rewards in one, each shaped by itself first. */
import { ConfigError } from '@plumbline/core';
import { type Candidate, type RewardFunction, type Shaper, textOf } from '@plumbline/data';
import { checkScores, weightedSum } from './adapters.js';

export { tiltedPolicy } from '@plumbline/data/statistics';

export type ShapedOptions = {
  /** Where each candidate's `meta` holds its prompt's reference rewards under this reward, as `scoreReferences` makes them; `reference_rewards` unless given. */
  references?: string;
  /** Lengths that a shaper such as `lengthPenalty` counts; the characters of the completion unless given. */
  lengthOf?: (candidate: Candidate) => number;
};

/**
 * A reward after a shaper: what the shaper reads of each row besides (references, lengths) comes from the candidate. Rows on which the reward abstains are not shaped. The raw scores are the
 * component `NAME/raw`; the shaper's running statistics stay the caller's to save.
 *
 * @throws RangeError where the column of references holds anything but numbers
 */
export function shapedReward(
  reward: RewardFunction,
  shaper: Shaper,
  { references: column = 'reference_rewards', lengthOf }: ShapedOptions = {},
): RewardFunction {
  return {
    name: reward.name,
    async score(batch, ctx) {
      const answer = checkScores(reward.name, await reward.score(batch, ctx), batch.length);
      const scored = batch.map((_, i) => i).filter((i) => answer.abstained?.[i] !== 1);
      const known = scored.map((i) => referencesOf(batch[i], column, reward.name, i));
      const shaped = shaper.apply({
        rewards: Float32Array.from(scored, (i) => answer.scores[i]),
        ...(known.every((own) => own !== undefined) && known.length > 0 && { references: known as Float32Array[] }),
        lengths: Int32Array.from(scored, (i) => (lengthOf ? lengthOf(batch[i]) : [...textOf(batch[i].completion)].length)),
      });
      const scores = new Float32Array(batch.length);
      scored.forEach((i, at) => {
        scores[i] = shaped[at];
      });
      return { ...answer, scores, components: { ...answer.components, [`${reward.name}/raw`]: answer.scores } };
    },
  };
}

function referencesOf({ meta }: Candidate, column: string, name: string, i: number): Float32Array | undefined {
  const value = meta?.[column];
  if (value === undefined) return undefined;
  const own = Array.isArray(value) || ArrayBuffer.isView(value) ? Float32Array.from(value as ArrayLike<number>) : undefined;
  if (!own || own.length === 0 || !own.every(Number.isFinite))
    throw new RangeError(`${name}: "${column}" of candidate ${i} is no list of numbers`);
  return own;
}

/**
 * `Σ weight · shaped reward`. With `logSigmoidCentered` on every part it is the logarithm of the chance that all properties hold at once, which a part that is good already cannot push any further:
 * Wang et al. 2024, arXiv:2402.00742. Weights are 1 unless given. Abstains where a part does.
 *
 * @throws ConfigError for no parts
 */
export function combine(
  parts: readonly ({ reward: RewardFunction; shaper?: Shaper; weight?: number } & ShapedOptions)[],
  name = parts.map(({ reward }) => reward.name).join(' and '),
): RewardFunction {
  if (parts.length === 0) throw new ConfigError('combine: there are no parts');
  return weightedSum(
    parts.map(({ reward, shaper, weight = 1, ...options }) => ({
      reward: shaper ? shapedReward(reward, shaper, options) : reward,
      weight,
    })),
    name,
  );
}
