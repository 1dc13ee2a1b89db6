/** From rewards to advantages, by the configured name. */
import { ConfigError } from '@plumbline/core';
import type { PromptRecord } from '@plumbline/data';
import {
  gpgAdvantages,
  opoAdvantages,
  optimalTokenBaseline,
  passKAdvantages,
  reinforceAdvantages,
  remaxAdvantages,
  rlooAdvantages,
} from './advantages/baselines.js';
import { chosenAdvantages } from './advantages/chosen.js';
import { gdpoAdvantages, groupAdvantages } from './advantages/group.js';
import { groupRows, isScored, nanMean } from './advantages/statistics.js';
import { discountedReturns, gae, reinforcePlusPlus, whiten } from './advantages/temporal.js';
import { brpoAdvantages, gigpoAdvantages, rewardToGo, stepRewardsToTokens } from './advantages/turns.js';
import type { Collecting, Experience } from './experience.js';
import { klValue } from './kl.js';
import { distillationWeights, miniLlmAdvantages } from './losses/distillation.js';
import { tokenRewards } from './rewards.js';
import { completionValues, countOf, type RolloutSample } from './rollout/generate.js';

export type Estimating = Collecting & {
  samples: readonly RolloutSample[];
  records: readonly PromptRecord[];
  /** [samples], NaN where there is none. */
  rewards: Float64Array;
  /** Of the greedy completions, [groups]. */
  greedyRewards: Float64Array;
  /** V* of the groups whose reference samples were rewarded at all (A*PO). */
  optimal: ReadonlyMap<number, number>;
  /** Of each reward function, [functions][samples]. */
  columns: readonly Float64Array[];
  weights: readonly number[];
  components: Record<string, Float64Array>;
  old?: { logps: Float32Array[]; squaredSums: Float32Array[] };
  refLogps?: Float32Array[];
};
export type Estimates = Pick<Experience, 'advantages' | 'perToken'> & {
  /** Samples of groups that say nothing (BRPO). */
  lopsided: number[];
};

/** A sample that was not scored gets advantage 0. */
export async function estimate(e: Estimating): Promise<Estimates> {
  const { config, samples, rewards, old, refLogps } = e;
  const groups = samples.map(({ group }) => group);
  const whole = (advantages: Float64Array, lopsided: number[] = []): Estimates => ({ advantages, lopsided });
  const parts = (perToken: NonNullable<Experience['perToken']>): Estimates => ({
    advantages: Float64Array.from(perToken.advantages, (own) => (own.length === 0 ? 0 : nanMean(own))),
    perToken,
    lopsided: [],
  });
  if (e.advantage) return whole(ownAdvantages(e, groups));
  if (config.rewardAggregation === 'normalizeThenSum') return whole(gdpoAdvantages(e.columns, groups, e.weights));

  const { advantage } = config;
  const inReward = config.klIn === 'reward' && refLogps && old;
  const compared = inReward
    ? rewards.map(
        (reward, i) => reward - e.klCoef * sum(old.logps[i], (logp, t) => klValue(logp, refLogps[i][t], config.klEstimator ?? 'k1')),
      )
    : rewards;
  switch (advantage.kind) {
    case 'group':
      return whole(groupAdvantages(compared, groups, advantage));
    case 'rloo':
      return whole(rlooAdvantages(compared, groups, advantage));
    case 'remax':
      return whole(remaxAdvantages(compared, e.greedyRewards, groups));
    case 'reinforce': {
      const { value } = e.baseline;
      if (advantage.baseline !== 'ema') return whole(reinforceAdvantages(compared, { baseline: advantage.baseline }));
      e.baseline.update(compared);
      return whole(reinforceAdvantages(compared, { baseline: value }));
    }
    case 'opo':
      return whole(opoAdvantages(compared, groups, samples.map(countOf)));
    case 'passK':
      return whole(passKAdvantages(compared, groups, advantage));
    case 'gpg':
      return whole(gpgAdvantages(compared, groups));
    case 'chosen':
      return whole(chosenAdvantages(rewards, groups, advantage));
    case 'brpo':
      return verdicts(rewards, groups, advantage.tau);
    case 'otb':
      return parts({ advantages: perGroup(e, (rows) => tokenBaselines(e, rows)) });
    case 'turns':
      return parts({
        advantages: perGroup(e, (rows) =>
          onTokens(
            e,
            rows,
            rewardToGo(
              rows.map((i) => turnRewards(e, i)),
              advantage,
            ),
          ),
        ),
      });
    case 'gigpo':
      return parts({ advantages: perGroup(e, (rows) => onTokens(e, rows, gigpo(e, rows, advantage))) });
    case 'reinforce++':
      return parts({ advantages: plusPlus(e, groups, advantage) });
    case 'a2po': {
      const dead = samples.map((_, i) => i).filter((i) => !e.optimal.has(groups[i]));
      return whole(
        rewards.map((reward, i) => (isScored(reward) && e.optimal.has(groups[i]) ? reward - e.optimal.get(groups[i])! : 0)),
        dead,
      );
    }
    case 'minillm':
      return parts({ advantages: fromTeacher(e, (teacher, student) => miniLlmAdvantages(teacher, student, advantage)) });
    case 'iwOpd':
      return parts({
        advantages: fromTeacher(e, (teacher, student) => {
          const gaps = Float64Array.from(teacher, (logp, t) => logp - student[t]);
          const weights = distillationWeights(gaps, advantage);
          return gaps.map((gap, t) => weights[t] * gap);
        }),
      });
    case 'gae':
      return parts(await generalized(e, advantage));
    default:
      return advantage satisfies never;
  }
}

function ownAdvantages({ advantage, samples, records, rewards, components }: Estimating, groups: number[]): Float64Array {
  const own = Float64Array.from(advantage!({ rewards, groups: Int32Array.from(groups), samples, records, components }));
  if (own.length !== samples.length)
    throw new RangeError(`trainPolicy: the advantage answered ${own.length} numbers for ${samples.length} samples`);
  const bad = own.findIndex((a, i) => !Number.isFinite(a) && isScored(rewards[i]));
  if (bad >= 0) throw new RangeError(`trainPolicy: the advantage of sample ${bad} is ${own[bad]}`);
  return own.map((a, i) => (isScored(rewards[i]) ? a : 0));
}

/** Rewards are verdicts, +1, -1 or 0. A group that leans to one side is left out. */
function verdicts(rewards: Float64Array, groups: number[], tau: number): Estimates {
  const advantages = new Float64Array(rewards.length);
  const lopsided: number[] = [];
  for (const rows of groupRows('brpo', rewards, groups)) {
    const own = rows.map((i) => (isScored(rewards[i]) ? rewards[i] : 0));
    const wrong = own.find((verdict) => ![-1, 0, 1].includes(verdict));
    if (wrong !== undefined)
      throw new ConfigError(
        `trainPolicy: advantage brpo takes verdicts (1, -1, and 0 for the sample that others were compared with), and the reward gave ${wrong}`,
      );
    const given = brpoAdvantages(own, { tau });
    if (!given) lopsided.push(...rows);
    else
      rows.forEach((row, k) => {
        advantages[row] = given[k];
      });
  }
  return { advantages, lopsided };
}

/** Applies `f` to the scored samples of each group; all others get 0 on their tokens. */
function perGroup({ samples, rewards }: Estimating, f: (rows: number[]) => ArrayLike<number>[]): Float64Array[] {
  const advantages: Float64Array[] = samples.map((sample) => new Float64Array(countOf(sample)));
  const groups = samples.map(({ group }) => group);
  for (const rows of groupRows('advantages', rewards, groups)) {
    const given = rows.filter((i) => isScored(rewards[i]) && advantages[i].length > 0);
    if (given.length === 0) continue;
    f(given).forEach((own, k) => void advantages[given[k]].set(Array.from(own)));
  }
  return advantages;
}

function tokenBaselines({ rewards, old }: Estimating, rows: number[]): Float64Array[] {
  return optimalTokenBaseline(
    rows.map((i) => rewards[i]),
    rows.map((i) => old!.logps[i].map(Math.exp)),
    rows.map((i) => old!.squaredSums[i].map(Math.exp)),
  );
}

/** Of each turn: what the world gave, and on the last one whatever else is in the reward, so that they add up to it. A completion is one turn. */
function turnRewards({ samples, rewards }: Estimating, i: number): Float64Array {
  const given = samples[i].episode?.turnRewards ?? [0];
  const rest = rewards[i] - sum(given, (r) => r);
  return Float64Array.from(given, (r, k) => (k === given.length - 1 ? r + rest : r));
}

const turnEnds = (sample: RolloutSample): number[] => sample.episode?.turnEnds ?? [countOf(sample) - 1];

/** On-policy distillation: the reference is the teacher, and the rewards say nothing. */
function fromTeacher(
  { samples, old, refLogps }: Estimating,
  f: (teacher: Float32Array, student: Float32Array) => Float64Array,
): Float64Array[] {
  if (!refLogps) throw new ConfigError('trainPolicy: the teacher of this advantage is the reference, and there is none');
  return samples.map((_, i) => f(refLogps[i], old!.logps[i]));
}

/** A turn's value on each of its tokens. */
function onTokens({ samples }: Estimating, rows: number[], perTurn: readonly ArrayLike<number>[]): Float64Array[] {
  return rows.map((row, k) => {
    const tokens = new Float64Array(countOf(samples[row]));
    let from = 0;
    turnEnds(samples[row]).forEach((end, turn) => {
      tokens.fill(perTurn[k][turn], from, end + 1);
      from = end + 1;
    });
    return tokens;
  });
}

function gigpo(e: Estimating, rows: number[], { gamma, omega, scale }: { gamma: number; omega: number; scale: boolean }): Float64Array[] {
  const anchors = rows.map((i) => e.samples[i].episode?.anchors ?? []);
  const without = rows.find((i, k) => anchors[k].length !== turnEnds(e.samples[i]).length);
  if (without !== undefined)
    throw new ConfigError(
      'trainPolicy: advantage gigpo compares turns that start from the same state, and the environment names no states (anchor)',
    );
  return gigpoAdvantages(
    rows.map((i) => e.rewards[i]),
    rows.map((i) => discountedReturns(turnRewards(e, i), gamma)),
    anchors,
    { omega, scale },
  );
}

/** Per token: the reward's parts where they were given, and the KL where it belongs into the reward. */
function rewardsOnTokens(e: Estimating, i: number, total = e.rewards[i]): Float64Array {
  const { config, klCoef, old, refLogps, samples } = e;
  const n = countOf(samples[i]);
  const turns = turnRewards(e, i);
  const given = stepRewardsToTokens(turns, turnEnds(samples[i]), n);
  given[n - 1] += total - e.rewards[i];
  if (config.klIn !== 'reward' || !refLogps || !old) return given;
  const kl = tokenRewards(0, old.logps[i], refLogps[i], { klCoef, estimator: config.klEstimator ?? 'k1' });
  return given.map((r, t) => r + kl[t]);
}

/** Samples whose tokens are whitened together: scored, and not left out of the loss. */
const scoredRows = ({ samples, rewards, config }: Estimating): number[] =>
  samples
    .map((_, i) => i)
    .filter((i) => isScored(rewards[i]) && countOf(samples[i]) > 0 && !(config.maskTruncated && samples[i].finish !== 'stop'));

function plusPlus(e: Estimating, groups: number[], { gamma, baseline }: { gamma: number; baseline: 'none' | 'group' }): Float64Array[] {
  const advantages: Float64Array[] = e.samples.map((sample) => new Float64Array(countOf(sample)));
  const rows = scoredRows(e);
  if (rows.length === 0) return advantages;
  const centred = baseline === 'group' ? groupAdvantages(e.rewards, groups, { scale: 'none', allowSingletons: true }) : e.rewards;
  const whitened = reinforcePlusPlus(
    rows.map((i) => rewardsOnTokens(e, i, centred[i])),
    { gamma },
  );
  rows.forEach((row, k) => {
    advantages[row] = whitened[k];
  });
  return advantages;
}

/** PPO: generalized advantage estimation against the values of the critic, whitened over the batch. A sample that was not scored keeps its values. */
async function generalized(
  e: Estimating,
  { gamma, lambda, whitenRewards }: { gamma: number; lambda: number; whitenRewards: boolean },
): Promise<NonNullable<Experience['perToken']>> {
  const { critic, samples, config } = e;
  if (!critic) throw new ConfigError('trainPolicy: generalized advantage estimation needs a critic');
  const values = await completionValues(critic, samples, config);
  const rows = scoredRows(e);
  let perToken = rows.map((i) => rewardsOnTokens(e, i));
  if (whitenRewards) {
    const flat = perToken.flatMap((own) => Array.from(own));
    perToken = regroup(whiten(flat, undefined, { shift: false }), perToken);
  }
  const estimates = perToken.map((own, k) => gae(own, values[rows[k]], { gamma, lambda }));
  const flat = estimates.flatMap(({ advantages }) => Array.from(advantages));
  const whitened = regroup(flat.length < 2 ? Float64Array.from(flat) : whiten(flat), perToken);
  const advantages: Float64Array[] = values.map((own) => new Float64Array(own.length));
  const returns: Float64Array[] = values.map((own) => Float64Array.from(own));
  rows.forEach((row, k) => {
    advantages[row] = whitened[k];
    returns[row] = estimates[k].returns;
  });
  return { advantages, returns, values };
}

function regroup(flat: Float64Array, like: readonly ArrayLike<number>[]): Float64Array[] {
  let at = 0;
  return like.map(({ length }) => {
    at += length;
    return flat.slice(at - length, at);
  });
}

function sum(values: ArrayLike<number>, f: (value: number, i: number) => number): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += f(values[i], i);
  return total;
}
