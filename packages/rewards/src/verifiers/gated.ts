import { ConfigError } from '@plumbline/core/light';
import type { RewardFunction, Scores } from '@plumbline/data/light';

export type Stage = {
  reward: RewardFunction;
  weight?: number;
  /** The stages after this one count only where this score is at least `gate`; without it they always do. */
  gate?: number;
};

/**
 * Rewards in stages: `Σ weight · score`, where a stage counts only if every gate before it is open. Later stages are asked only for candidates that reach them. A stage that abstains
 * closes its gate, and the whole abstains where the first stage does.
 */
export function gatedReward(stages: readonly Stage[], name = stages.map(({ reward }) => reward.name).join(' → ')): RewardFunction {
  if (stages.length === 0) throw new ConfigError('gatedReward: there are no stages');
  const names = stages.map(({ reward }) => reward.name);
  if (new Set(names).size < names.length) throw new ConfigError(`gatedReward: two stages have the same name among ${names.join(', ')}`);
  return {
    name,
    async score(batch, ctx) {
      const scores = new Float32Array(batch.length);
      const abstained = new Uint8Array(batch.length);
      const components: NonNullable<Scores['components']> = {};
      let open = batch.map((_, i) => i);
      for (const [s, { reward, weight = 1, gate }] of stages.entries()) {
        const values = new Float32Array(batch.length);
        components[reward.name] = values;
        if (open.length === 0) continue;
        const answer = await reward.score(
          open.map((i) => batch[i]),
          { ...ctx, rng: ctx.rng.fork(reward.name) },
        );
        const reached: number[] = [];
        open.forEach((i, at) => {
          if (answer.abstained?.[at] === 1) {
            if (s === 0) abstained[i] = 1;
            if (gate === undefined) reached.push(i);
            return;
          }
          values[i] = answer.scores[at];
          scores[i] += weight * answer.scores[at];
          if (gate === undefined || answer.scores[at] >= gate) reached.push(i);
        });
        open = reached;
      }
      for (let i = 0; i < batch.length; i++) if (abstained[i] === 1) scores[i] = 0;
      return { scores, components, ...(abstained.includes(1) && { abstained }) };
    },
  };
}
