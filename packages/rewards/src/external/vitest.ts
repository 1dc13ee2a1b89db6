/** Matchers for vitest and jest: `expect.extend(rewardMatchers)`. */
import { rng } from '@plumbline/core/light';
import { type Candidate, type Completion, type PairwiseJudge, type RewardFunction, textOf } from '@plumbline/data/light';

type Matched = { pass: boolean; message: () => string };

/**
 * `await expect({ prompt, completion }).toScoreAtLeast(reward, 0.8)` and `await expect({ prompt, completion }).toBePreferredTo(other, judge)`. What a reward abstains on, and a verdict that could
 * not be parsed, match neither the assertion nor its negation: they are errors.
 */
export const rewardMatchers = {
  async toScoreAtLeast(received: Candidate, reward: RewardFunction, least: number, { seed = 0 }: { seed?: number } = {}): Promise<Matched> {
    const { scores, abstained } = await reward.score([received], { rng: rng(seed) });
    if (abstained?.[0] === 1) throw new Error(`${reward.name} cannot judge ${shown(received.completion)}`);
    const score = scores[0];
    return {
      pass: score >= least,
      message: () =>
        `${reward.name} gives ${shown(received.completion)} a score of ${score}; expected ${score >= least ? 'less than' : 'at least'} ${least}`,
    };
  },
  async toBePreferredTo(
    received: Candidate,
    other: Completion,
    judge: PairwiseJudge,
    { seed = 0 }: { seed?: number } = {},
  ): Promise<Matched> {
    const [{ winner, probA, parsed, rationale }] = await judge.compare([{ prompt: received.prompt, a: received.completion, b: other }], {
      rng: rng(seed),
    });
    if (!parsed) throw new Error(`${judge.name} gave no verdict on ${shown(received.completion)} against ${shown(other)}`);
    return {
      pass: winner === 'a',
      message: () =>
        `${judge.name} calls ${winner === 'tie' ? 'both alike' : `${winner === 'a' ? 'the first' : 'the other'} better`} (P = ${probA.toFixed(2)}): ${shown(received.completion)} against ${shown(other)}${rationale ? `\n${rationale}` : ''}`,
    };
  },
};

/** For TypeScript: `declare module 'vitest' { interface Matchers<T> extends RewardMatchers {} }`. */
export interface RewardMatchers {
  toScoreAtLeast(reward: RewardFunction, least: number, options?: { seed?: number }): Promise<void>;
  toBePreferredTo(other: Completion, judge: PairwiseJudge, options?: { seed?: number }): Promise<void>;
}

function shown(completion: Completion): string {
  const text = textOf(completion);
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}
