/** Model-predictive control by sampling: plans are splines, tried in the simulator, and the best is kept. */
import { type Checkpointable, CheckpointError, ConfigError, type Rng } from '@plumbline/core';

/** A simulator that can be put into a state and stepped: an `Env` is one. */
export interface MpcModel {
  getState(): ArrayLike<number>;
  setState(state: ArrayLike<number>): unknown;
  /** @throws where the simulation diverges; the candidate then counts as infinitely bad */
  step(action: Float64Array): unknown;
}
export type PredictiveSamplerOptions = {
  model: MpcModel;
  /** The cost of the state that the model is in, after `action`; lower is better. The mean over the horizon is minimised. */
  cost: (model: MpcModel, action: Float64Array) => number;
  controls: { low: readonly number[]; high: readonly number[] };
  /** Seconds of a model's step, and how far ahead is planned. */
  stepSeconds: number;
  horizonSeconds: number;
  rng: Rng;
  /** Points of the spline; 3 unless given. */
  knots?: number;
  /** Plans that are tried, the current one among them; 60 unless given. */
  candidates?: number;
  /** Standard deviation of a knot, in halves of the control's range; 0.04 unless given. */
  sigma?: number;
  /** Between knots: `linear`, or the knot before (`zero`). */
  interpolation?: 'linear' | 'zero';
};

export interface PredictiveSampler extends Checkpointable {
  /**
   * Replans at `now` seconds from a state. The model is left in the state that it was in. `costs` are the candidates' mean costs, the current plan first; the chosen one is the lowest, the first of equals.
   *
   * @throws Error where every candidate diverges
   */
  plan(state: ArrayLike<number>, now: number): { cost: number; chosen: number; costs: Float64Array };
  /** The plan's controls at `now` seconds, within their range. Before and after the plan's time its first and its last knot. */
  action(now: number): Float64Array;
}

/**
 * Predictive sampling (Howell et al. 2022, arXiv:2212.00541; as Yu et al. 2023, arXiv:2306.08647, use it): candidate 0 is the current plan from now on, the others are that plan with
 * Gaussian noise on its knots, clipped to the range. All are simulated from the current state, and the one of lowest mean cost becomes the plan, so that a plan is never given up for a worse one.
 *
 * Its checkpoint holds the plan. Replanning draws from a stream of its own each time: equal seeds and states give equal controls.
 *
 * @throws ConfigError for fewer than 2 knots or candidates, a horizon shorter than two steps, an empty or reversed range, or a sigma below 0
 */
export function predictiveSampler({
  model,
  cost,
  controls: { low, high },
  stepSeconds,
  horizonSeconds,
  rng,
  knots = 3,
  candidates = 60,
  sigma = 0.04,
  interpolation = 'linear',
}: PredictiveSamplerOptions): PredictiveSampler {
  const width = low.length;
  for (const [name, value] of Object.entries({ knots, candidates }))
    if (!(Number.isInteger(value) && value >= 2))
      throw new ConfigError(`predictiveSampler: ${name} must be a whole number from 2 on, got ${value}`);
  if (!(stepSeconds > 0)) throw new ConfigError(`predictiveSampler: stepSeconds must be > 0, got ${stepSeconds}`);
  const steps = Math.round(horizonSeconds / stepSeconds);
  if (!(steps >= 2))
    throw new ConfigError(`predictiveSampler: a horizon of ${horizonSeconds} s is shorter than two steps of ${stepSeconds} s`);
  if (!(sigma >= 0)) throw new ConfigError(`predictiveSampler: sigma must be at least 0, got ${sigma}`);
  if (width === 0 || high.length !== width || !low.every((value, k) => value < high[k]))
    throw new ConfigError(`predictiveSampler: controls go from [${low}] to [${high}]; each must be below its upper bound`);
  const clip = (value: number, k: number) => Math.min(high[k], Math.max(low[k], value));
  const between = horizonSeconds / (knots - 1);
  type Plan = { start: number; values: Float64Array }; // [knots, width]
  let plan: Plan = { start: 0, values: Float64Array.from({ length: knots * width }, (_, i) => clip(0, i % width)) };
  let plans = 0;

  const at = ({ start, values }: Plan, time: number): Float64Array => {
    const place = Math.min(knots - 1, Math.max(0, (time - start) / between));
    const left = Math.min(knots - 2, Math.floor(place + 1e-9));
    const share = interpolation === 'zero' ? Math.floor(place - left + 1e-9) : place - left;
    return Float64Array.from({ length: width }, (_, k) => (1 - share) * values[left * width + k] + share * values[(left + 1) * width + k]);
  };
  const shifted = (now: number): Plan => {
    const values = new Float64Array(knots * width);
    for (let i = 0; i < knots; i++) values.set(at(plan, now + i * between), i * width);
    return { start: now, values };
  };
  const costOfPlan = (candidate: Plan, state: ArrayLike<number>): number => {
    model.setState(state);
    let total = 0;
    try {
      for (let t = 0; t < steps; t++) {
        const action = at(candidate, candidate.start + t * stepSeconds);
        model.step(action);
        total += cost(model, action);
      }
    } catch {
      return Infinity; // it diverged
    }
    return Number.isFinite(total) ? total / steps : Infinity;
  };
  return {
    plan(state, now) {
      const from = Float64Array.from(state);
      const before = Float64Array.from(model.getState());
      const current = shifted(now);
      const noise = rng.fork('plan', plans++);
      const tried = Array.from({ length: candidates }, (_, c): Plan => {
        if (c === 0) return current;
        const draws = noise.fork(c).normal(knots * width);
        return {
          start: now,
          values: current.values.map((value, i) => clip(value + (draws[i] * sigma * (high[i % width] - low[i % width])) / 2, i % width)),
        };
      });
      try {
        const costs = Float64Array.from(tried, (candidate) => costOfPlan(candidate, from));
        const chosen = costs.indexOf(Math.min(...costs));
        if (costs[chosen] === Infinity)
          throw new Error(`predictiveSampler: every one of ${candidates} plans diverges from the state [${from.join(', ')}]`);
        plan = tried[chosen];
        return { cost: costs[chosen], chosen, costs };
      } finally {
        model.setState(before);
      }
    },
    action: (now) => at(plan, now),
    save: async () => ({ tensors: {}, json: { start: plan.start, values: [...plan.values], plans } }),
    async load({ json }) {
      const saved = json as { start: number; values: number[]; plans: number };
      if (saved?.values?.length !== knots * width)
        throw new CheckpointError(
          `predictiveSampler: the plan holds ${saved?.values?.length ?? 'no'} numbers; ${knots} knots of ${width} controls have ${knots * width}`,
        );
      plan = { start: saved.start, values: Float64Array.from(saved.values) };
      plans = saved.plans;
    },
  };
}
