/** Rewards that a server knows by name. */
import { type Candidate, type RewardFunction, textOf } from '@plumbline/data';

const perText = (name: string, f: (completion: string, candidate: Candidate) => number): RewardFunction => ({
  name,
  score: async (batch) => ({ scores: Float32Array.from(batch, (one) => f(textOf(one.completion), one)) }),
});

const rewards: Record<string, RewardFunction> = {
  length: perText('length', (text) => [...text].length),
  'exact-match': perText('exact-match', (text, { meta }) => (text.trim() === String(meta?.answer ?? '').trim() ? 1 : 0)),
  sentiment: {
    name: 'sentiment',
    async score(batch) {
      const { sentiment } = await import('@plumbline/envs'); // its lexicon only where it is asked for
      return { scores: Float32Array.from(batch, ({ completion }) => sentiment(textOf(completion))) };
    },
  },
};

export const rewardNames = Object.keys(rewards);
export const namedReward = (name: string): RewardFunction | undefined => (Object.hasOwn(rewards, name) ? rewards[name] : undefined);
