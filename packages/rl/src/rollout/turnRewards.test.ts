import { rng } from '@plumbline/core';
import type { Episode } from '@plumbline/data';
import { tinyDecoder } from '@plumbline/models/testing';
import { describe, expect, it } from 'vitest';
import { episodeReturn } from './episodes.js';
import type { Rollout, RolloutSample } from './generate.js';
import { withTurnRewards } from './turnRewards.js';

const episode = (turnRewards: number[]): Episode => ({
  turnEnds: turnRewards.map((_, i) => i),
  turnRewards,
  end: 'done',
  invalid: 0,
  messages: [],
});
const sample = (own?: Episode): RolloutSample => ({
  prompt: Int32Array.of(1),
  group: 0,
  tokens: Int32Array.of(2, 3),
  text: '',
  samplingLogps: new Float32Array(2),
  finish: 'stop',
  ...(own && { episode: own }),
});
const options = { policy: tinyDecoder(), prompts: [Int32Array.of(1)], n: 1, sampling: { maxTokens: 2 }, rng: rng(0) };
const of =
  (...own: (Episode | undefined)[]): Rollout =>
  async () =>
    own.map(sample);
const rewardsOf = async (rollout: Rollout) => (await rollout(options)).map((own) => own.episode!.turnRewards);

describe('withTurnRewards', () => {
  it('puts rewards of the whole episode in the place of the turns, or on top of them', async () => {
    const halves = async ({ turnRewards }: Episode) => turnRewards.map(() => 1 / turnRewards.length);
    expect(await rewardsOf(withTurnRewards(of(episode([0, 0, 1]), episode([5])), halves))).toEqual([[1 / 3, 1 / 3, 1 / 3], [1]]);
    expect(await rewardsOf(withTurnRewards(of(episode([0, 3])), halves, { add: true }))).toEqual([[0.5, 3.5]]);
  });
  it('changes the return of the episode, and nothing of what was sampled', async () => {
    const [before] = await of(episode([1, 2]))(options);
    const [after] = await withTurnRewards(of(episode([1, 2])), async () => [10, 0])(options);
    expect({ ...after, episode: before.episode }).toEqual(before);
    const { scores } = await episodeReturn.score([{ meta: { episode: after.episode } }]);
    expect(scores[0]).toBe(10);
  });
  it('names the episode that does not fit', async () => {
    await expect(rewardsOf(withTurnRewards(of(undefined), async () => []))).rejects.toThrow('sample 0 is no episode');
    await expect(rewardsOf(withTurnRewards(of(episode([0, 0])), async () => [1]))).rejects.toThrow(
      'episode 0 has 2 turns and was given 1 rewards',
    );
    await expect(rewardsOf(withTurnRewards(of(episode([0])), async () => [Number.NaN]))).rejects.toThrow(
      'turn 0 of episode 0 was given NaN',
    );
  });
});
