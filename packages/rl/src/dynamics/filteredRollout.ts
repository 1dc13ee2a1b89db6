/** Experience from a model of the world, and only as much of it as is plausible. */
import { ConfigError, type Rng } from '@plumbline/core';
import type { Transitions } from '@plumbline/data';
import type { DynamicsEnsemble } from './ensemble.js';
import { ensembleUncertainty, type Uncertainty } from './losses.js';

/** How plausible transitions are, [rows]; higher is more so. Rows as in `Transitions`. */
export type TransitionReward = (rows: {
  states: Float32Array;
  actions: Float32Array;
  nextStates: Float32Array;
  count: number;
}) => ArrayLike<number> | Promise<ArrayLike<number>>;
export type FilteredRolloutOptions = {
  ensemble: DynamicsEnsemble;
  /** Actions [rows · actionWidth] for states [rows · stateWidth]. */
  policy: (states: Float32Array, rows: number, rng: Rng) => Float32Array | Promise<Float32Array>;
  /** Where rollouts begin, [rows · stateWidth]. */
  starts: Float32Array;
  horizon: number;
  rng: Rng;
  /** Chooses among candidates; without it the next state is one elite's, drawn at random (MOPO). */
  plausible?: TransitionReward;
  /** Candidates that each elite draws; 2 unless given. */
  resample?: number;
  /** Of the softmax over candidates' rewards; 0 takes the best. 0.1 unless given. */
  temperature?: number;
  /** A rollout ends where even the chosen candidate's reward is below this; 0.6 unless given. */
  stopBelow?: number;
  /** Whether such an end counts as an end of the process (`done` 1), after which nothing is expected; true as in the released code. */
  terminalOnStop?: boolean;
  /** Subtracted from rewards: `lambda` times the ensemble's uncertainty. */
  penalty?: { kind?: Uncertainty; lambda: number };
  /** Changes of state and rewards are kept within ± this. */
  clip?: number;
  /** Whether the process ends in these states, [rows]; never unless given. */
  terminal?: (states: Float32Array, rows: number) => ArrayLike<number>;
};

/**
 * Rolls a policy out in the model: at each step every elite draws `resample` next states with their rewards, one candidate is chosen by how plausible the transition is, and a rollout ends where none
 * is. Luo et al. 2024 (MOREC), arXiv:2310.05422; without `plausible` it is MOPO's rollout (Yu et al. 2020, arXiv:2005.13239).
 *
 * @returns the transitions of all rollouts, step by step, with the share of rollouts that were stopped and the mean penalty
 * @throws ConfigError for a wrong option; stopBelow above the largest reward of `dynamicsRewardFromLogits` would stop every rollout
 */
export async function filteredRollout(options: FilteredRolloutOptions): Promise<Transitions & { stopped: number; penalty: number }> {
  const {
    ensemble,
    policy,
    starts,
    horizon,
    rng,
    plausible,
    temperature = 0.1,
    stopBelow = 0.6,
    terminalOnStop = true,
    penalty,
    terminal,
  } = options;
  const resample = plausible ? (options.resample ?? 2) : 1;
  const { stateWidth: S, actionWidth: A } = ensemble;
  checkOptions(options, S);
  const parts: Omit<Transitions, 'stateWidth' | 'actionWidth'>[] = [];
  let states = starts.slice();
  let [stopped, penalties] = [0, 0];
  for (let t = 0; t < horizon && states.length > 0; t++) {
    const rows = states.length / S;
    const stream = rng.fork('step', t);
    const actions = await policy(states, rows, stream.fork('policy'));
    if (actions.length !== rows * A || !actions.every(Number.isFinite))
      throw new RangeError(
        `filteredRollout: at step ${t} the policy gave ${actions.length} numbers for ${rows} actions of ${A}, or one that is not finite`,
      );
    const { means, deviations } = await ensemble.predict({ states, actions });
    const candidates = drawCandidates({
      means,
      deviations,
      states,
      rows,
      S,
      elites: ensemble.elites,
      resample,
      clip: options.clip ?? Infinity,
      rng: stream.fork('draws'),
    });
    const scores = plausible
      ? await Promise.all(candidates.map((next) => plausible({ states, actions, nextStates: next.states, count: rows })))
      : undefined;
    const uncertain = penalty ? ensembleUncertainty(penalty.kind ?? 'aleatoric', { means, deviations, width: S + 1 }) : undefined;
    const part = {
      count: rows,
      states,
      actions,
      rewards: new Float32Array(rows),
      nextStates: new Float32Array(rows * S),
      done: new Uint8Array(rows),
    };
    const goOn: number[] = [];
    const pick = stream.fork('pick');
    for (let row = 0; row < rows; row++) {
      const own = scores?.map((values) => values[row]);
      const c = own ? choose(own, temperature, pick) : pick.below(candidates.length);
      part.nextStates.set(candidates[c].states.subarray(row * S, (row + 1) * S), row * S);
      const taken = penalty && uncertain ? penalty.lambda * uncertain[row] : 0;
      penalties += taken;
      part.rewards[row] = candidates[c].rewards[row] - taken;
      const stop = own !== undefined && own[c] < stopBelow;
      stopped += Number(stop);
      if (stop && terminalOnStop) part.done[row] = 1;
      if (!stop) goOn.push(row);
    }
    const ends = terminal?.(part.nextStates, rows);
    for (let row = 0; row < rows; row++) if (ends?.[row]) part.done[row] = 1;
    parts.push(part);
    states = Float32Array.from(goOn.filter((row) => !ends?.[row]).flatMap((row) => [...part.nextStates.subarray(row * S, (row + 1) * S)]));
  }
  const all = joined(parts, S, A);
  return { ...all, stopped: stopped / (starts.length / S), penalty: penalties / all.count };
}

/** An index by softmax(scores / temperature); at 0 the first of the best. */
function choose(scores: readonly number[], temperature: number, rng: Rng): number {
  const best = Math.max(...scores);
  return temperature === 0 ? scores.indexOf(best) : rng.categorical(scores.map((score) => Math.exp((score - best) / temperature)));
}

type Drawn = { states: Float32Array; rewards: Float32Array };
function drawCandidates(x: {
  means: Float32Array[];
  deviations: Float32Array[];
  states: Float32Array;
  rows: number;
  S: number;
  elites: readonly number[];
  resample: number;
  clip: number;
  rng: Rng;
}): Drawn[] {
  const { means, deviations, states, rows, S, elites, resample, clip, rng } = x;
  return elites.flatMap((member) =>
    Array.from({ length: resample }, (_, again): Drawn => {
      const noise = rng.fork(member, again).normal(rows * (S + 1));
      const drawn = means[member].map((mean, i) => Math.min(clip, Math.max(-clip, mean + deviations[member][i] * noise[i])));
      return {
        states: states.map((value, i) => value + drawn[Math.floor(i / S) * (S + 1) + (i % S)]),
        rewards: Float32Array.from({ length: rows }, (_, row) => drawn[row * (S + 1) + S]),
      };
    }),
  );
}

function joined(parts: Omit<Transitions, 'stateWidth' | 'actionWidth'>[], stateWidth: number, actionWidth: number): Transitions {
  const count = parts.reduce((n, part) => n + part.count, 0);
  const flat = <T extends Float32Array | Uint8Array>(whole: T, of: (part: (typeof parts)[number]) => T, width: number): T => {
    let at = 0;
    for (const part of parts) {
      whole.set(of(part), at * width);
      at += part.count;
    }
    return whole;
  };
  return {
    count,
    stateWidth,
    actionWidth,
    states: flat(new Float32Array(count * stateWidth), ({ states }) => states, stateWidth),
    actions: flat(new Float32Array(count * actionWidth), ({ actions }) => actions, actionWidth),
    rewards: flat(new Float32Array(count), ({ rewards }) => rewards, 1),
    nextStates: flat(new Float32Array(count * stateWidth), ({ nextStates }) => nextStates, stateWidth),
    done: flat(new Uint8Array(count), ({ done }) => done, 1),
  };
}

function checkOptions(
  { starts, horizon, resample = 2, temperature = 0.1, stopBelow = 0.6, penalty, plausible }: FilteredRolloutOptions,
  S: number,
): void {
  if (starts.length === 0 || starts.length % S !== 0)
    throw new ConfigError(`filteredRollout: starts hold ${starts.length} numbers; states have ${S}`);
  for (const [name, value] of Object.entries({ horizon, resample }))
    if (!(Number.isInteger(value) && value > 0))
      throw new ConfigError(`filteredRollout: ${name} must be a whole number above 0, got ${value}`);
  if (!(temperature >= 0)) throw new ConfigError(`filteredRollout: temperature must be at least 0, got ${temperature}`);
  if (plausible && !(stopBelow <= 1.3133))
    throw new ConfigError(
      `filteredRollout: stopBelow is ${stopBelow}; rewards of transitions go up to 1.3133, so that every rollout would stop`,
    );
  if (penalty && !(penalty.lambda >= 0)) throw new ConfigError(`filteredRollout: penalty.lambda must be at least 0, got ${penalty.lambda}`);
}
