/** Processes whose optimum is known, and random ones. */
import type { Rng } from '@plumbline/core';
import type { TabularMdp } from '@plumbline/data/tabular';

type Draft = { states: number; actions: number; gamma: number; start: number | Float64Array; terminal?: (s: number) => boolean };

/** Fills in a process from what each state and action lead to: a list of probability, next state and reward. */
export function mdpOf(
  { states: S, actions: A, gamma, start, terminal = () => false }: Draft,
  outcomes: (s: number, a: number) => readonly (readonly [number, number, number?])[],
): TabularMdp {
  const transition = new Float64Array(S * A * S);
  const reward = new Float64Array(S * A * S);
  const ends = Uint8Array.from({ length: S }, (_, s) => (terminal(s) ? 1 : 0));
  for (let s = 0; s < S; s++)
    for (let a = 0; a < A; a++) {
      const at = (s * A + a) * S;
      if (ends[s]) {
        transition[at + s] = 1;
        continue;
      }
      for (const [p, next, r = 0] of outcomes(s, a)) {
        const before = transition[at + next];
        transition[at + next] += p;
        if (p > 0) reward[at + next] = (reward[at + next] * before + r * p) / (before + p); // several ways to one state: their mean
      }
    }
  const initial = typeof start === 'number' ? Float64Array.from({ length: S }, (_, s) => (s === start ? 1 : 0)) : start;
  return { states: S, actions: A, gamma, transition, reward, initial, terminal: ends };
}

/** One state, one step: arm `a` pays `rewards[a]`. The optimum is the largest. */
export function bandit(rewards: ArrayLike<number>): TabularMdp {
  return mdpOf({ states: 2, actions: rewards.length, gamma: 1, start: 0, terminal: (s) => s === 1 }, (_, a) => [[1, 1, rewards[a]]]);
}

export type GridworldOptions = {
  width: number;
  height: number;
  /** Cells `y · width + x` that cannot be entered. */
  walls?: readonly number[];
  /** Cells that end an episode, with what entering them pays on top. */
  goals: readonly { cell: number; reward?: number }[];
  /** The chance that a move goes to either side instead, half of it to each. */
  slip?: number;
  /** Paid for every move. */
  stepReward?: number;
  gamma?: number;
  start?: number;
};

/** Left, down, right, up. A move into a wall or over the edge stays where it is. */
export const gridMoves = [
  [-1, 0],
  [0, 1],
  [1, 0],
  [0, -1],
] as const;

/** A grid in which one walks to a goal. */
export function gridworld({
  width,
  height,
  walls = [],
  goals,
  slip = 0,
  stepReward = -1,
  gamma = 0.95,
  start = 0,
}: GridworldOptions): TabularMdp {
  const blocked = new Set(walls);
  const ends = new Map(goals.map(({ cell, reward = 0 }) => [cell, reward]));
  const to = (cell: number, a: number) => {
    const [x, y] = [(cell % width) + gridMoves[a][0], Math.floor(cell / width) + gridMoves[a][1]];
    const next = y * width + x;
    return x < 0 || y < 0 || x >= width || y >= height || blocked.has(next) ? cell : next;
  };
  return mdpOf({ states: width * height, actions: 4, gamma, start, terminal: (s) => ends.has(s) }, (s, a) =>
    (
      [
        [1 - slip, a],
        [slip / 2, (a + 1) % 4],
        [slip / 2, (a + 3) % 4],
      ] as const
    ).map(([p, way]) => {
      const next = to(s, way);
      return [p, next, stepReward + (ends.get(next) ?? 0)] as const;
    }),
  );
}

/** Gymnasium's 4x4 frozen lake: 1 for reaching the goal; each move goes where it should, or to either side, with a third each. */
export function frozenLake({ slippery = true, gamma = 0.99 } = {}): TabularMdp {
  const map = 'SFFFFHFHFFFHHFFG';
  return gridworld({
    width: 4,
    height: 4,
    goals: [...map].flatMap((letter, cell) => (letter === 'H' ? [{ cell }] : letter === 'G' ? [{ cell, reward: 1 }] : [])),
    slip: slippery ? 2 / 3 : 0,
    stepReward: 0,
    gamma,
  });
}

/** Sutton & Barto's cliff, 4x12, example 6.6: -1 a move, -100 and back to the start for stepping off. The best return is -13 at gamma 1. */
export function cliff({ gamma = 0.99 } = {}): TabularMdp {
  const walk = gridworld({ width: 12, height: 4, goals: [{ cell: 47 }], gamma, start: 36 });
  const isCliff = (cell: number) => cell > 36 && cell < 47;
  return mdpOf({ states: 48, actions: 4, gamma, start: 36, terminal: (s) => s === 47 }, (s, a) => {
    const next = walk.transition.subarray((s * 4 + a) * 48, (s * 4 + a + 1) * 48).indexOf(1);
    return isCliff(next) ? [[1, 36, -100]] : [[1, next, -1]];
  });
}

/**
 * Swimming up a river of `n` states (Strehl & Littman 2008): left always succeeds and pays .005 at the first; right moves on with .3, stays with .6 and falls back with .1,
 * and pays 1 at the last, where it stays with .3.
 */
export function riverSwim(n: number, { gamma = 0.95 } = {}): TabularMdp {
  return mdpOf({ states: n, actions: 2, gamma, start: 0 }, (s, a) => {
    if (a === 0) return [[1, Math.max(0, s - 1), s === 0 ? 0.005 : 0]];
    if (s === 0)
      return [
        [0.7, 0],
        [0.3, 1],
      ];
    if (s === n - 1)
      return [
        [0.7, s - 1, 1],
        [0.3, s, 1],
      ];
    return [
      [0.1, s - 1],
      [0.6, s],
      [0.3, s + 1],
    ];
  });
}

/** `n` states in a row: action 1 goes on, action 0 back to the first; going on from the last but one ends and pays 1. */
export function chain(n: number, { gamma = 0.95 } = {}): TabularMdp {
  return mdpOf({ states: n, actions: 2, gamma, start: 0, terminal: (s) => s === n - 1 }, (s, a) =>
    a === 0 ? [[1, 0]] : [[1, s + 1, s + 1 === n - 1 ? 1 : 0]],
  );
}

export type RandomMdpOptions = {
  states: number;
  actions: number;
  gamma?: number;
  /**
   * `garnet`: `branching` next states with uniform spacings as probabilities (Bhatnagar et al. 2009). `logits`: normal logits of which those below 1 become -20, softmax (the
   * processes of Skalse et al. 2024, arXiv:2309.15257).
   */
  kind?: 'garnet' | 'logits';
  branching?: number;
};

/** A process without end whose transitions, rewards (normal, [S·A·S]) and start are drawn at random; it starts anywhere alike. */
export function randomMdp(rng: Rng, { states: S, actions: A, gamma = 0.95, kind = 'garnet', branching = 3 }: RandomMdpOptions): TabularMdp {
  if (!(branching >= 1 && branching <= S)) throw new RangeError(`randomMdp: branching must be 1 to ${S}, got ${branching}`);
  const transition = new Float64Array(S * A * S);
  for (let at = 0; at < S * A; at++) {
    const row = transition.subarray(at * S, (at + 1) * S);
    const own = rng.fork('transition', at);
    if (kind === 'garnet') {
      const next = own.permutation(S).subarray(0, branching);
      const cuts = [0, ...Array.from(own.uniform(branching - 1)).sort((a, b) => a - b), 1];
      next.forEach((s, i) => {
        row[s] = cuts[i + 1] - cuts[i];
      });
    } else {
      const weights = Array.from(own.normal(S), (z) => Math.exp(z < 1 ? -20 : z));
      const total = weights.reduce((a, b) => a + b, 0);
      weights.forEach((w, s) => {
        row[s] = w / total;
      });
    }
  }
  return {
    states: S,
    actions: A,
    gamma,
    transition,
    reward: Float64Array.from(rng.fork('reward').normal(S * A * S)),
    initial: new Float64Array(S).fill(1 / S),
    terminal: new Uint8Array(S),
  };
}
