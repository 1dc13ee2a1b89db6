import type { TurnRewardFunction } from '@plumbline/data';
import type { Rollout } from './generate.js';

/**
 * Rollouts whose turns are rewarded afterwards, by what is known of the whole episode: progress that a model estimates, process rewards, gates. The function's rewards take the place of the world's, or with
 * `add` come on top of them. What is learned from them is up to the advantage (`turns`, `gigpo`, `gae`); their sum is the episode's return.
 *
 * @throws RangeError from the rollout: for a sample that is no episode, another number of rewards than turns, or one that is not finite, with its episode
 */
export function withTurnRewards(rollout: Rollout, rewards: TurnRewardFunction, { add = false } = {}): Rollout {
  return async (options) => {
    const samples = await rollout(options);
    return Promise.all(
      samples.map(async (sample, i) => {
        const { episode } = sample;
        if (!episode) throw new RangeError(`withTurnRewards: sample ${i} is no episode; give the rollout of episodes`);
        const given = await rewards(episode);
        if (given.length !== episode.turnEnds.length)
          throw new RangeError(`withTurnRewards: episode ${i} has ${episode.turnEnds.length} turns and was given ${given.length} rewards`);
        const bad = given.findIndex((reward) => !Number.isFinite(reward));
        if (bad >= 0) throw new RangeError(`withTurnRewards: turn ${bad} of episode ${i} was given ${given[bad]}`);
        return { ...sample, episode: { ...episode, turnRewards: given.map((reward, k) => reward + (add ? episode.turnRewards[k] : 0)) } };
      }),
    );
  };
}
