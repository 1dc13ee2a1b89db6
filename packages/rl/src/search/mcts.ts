import type { Rng } from '@plumbline/core';
import { checkCount, proposals, type StepGenerator } from './types.js';

/** A state with what was found below it: `correct` is the sum of the values that came back, `visits` their number; no `children` before it was expanded. */
export interface MctsNode<S> {
  state: S;
  depth: number;
  visits: number;
  correct: number;
  children: MctsNode<S>[] | null;
  parent: MctsNode<S> | null;
}
export type MctsOptions = {
  iterations?: number;
  /** Steps that are proposed at a state. */
  children?: number;
  /** Steps from the root at most. */
  depthLimit?: number;
  /** Weight of what was seldom visited. */
  exploration?: number;
  /** Keep one of the proposals with equal keys. */
  dedupe?: boolean;
};

/**
 * Monte-Carlo tree search over steps: `iterations` times select by `c/N + w·sqrt(ln N(parent) / N)`, expand, roll out, and add the value along the path.
 *
 * Kocsis and Szepesvari 2006 (UCT), as Ma et al. 2024 (arXiv:2412.15904) use it to label steps. An unvisited child comes first, the lowest index among equals. A state
 * without proposals counts as an end with value 0. The same seed gives the same tree; `visits` of the root is `iterations`.
 *
 * @param rollout the value of a state in [0, 1]: whether it verifies where it is terminal, else whether a completion of it does
 * @returns the root
 * @throws RangeError for counts below 1, a value outside of [0, 1], or a proposal that is its own state
 */
export async function mcts<S>(
  root: S,
  gen: StepGenerator<S>,
  rollout: (state: S, rng: Rng) => Promise<number>,
  { iterations = 500, children = 6, depthLimit = 8, exploration = 1, dedupe = false }: MctsOptions,
  rng: Rng,
): Promise<MctsNode<S>> {
  for (const [name, value] of Object.entries({ iterations, children, depthLimit })) checkCount('mcts', name, value);
  if (!(exploration >= 0)) throw new RangeError(`mcts: exploration must be >= 0, got ${exploration}`);
  if (dedupe && !gen.key) throw new RangeError('mcts: dedupe knows equal states by their keys; give the generator a key');
  const node = (state: S, parent: MctsNode<S> | null): MctsNode<S> => ({
    state,
    depth: parent ? parent.depth + 1 : 0,
    visits: 0,
    correct: 0,
    children: null,
    parent,
  });
  const top = node(root, null);
  for (let i = 0; i < iterations; i++) {
    let at = top;
    while (at.children && at.children.length > 0) {
      const fresh = at.children.find(({ visits }) => visits === 0);
      at = fresh ?? select(at, exploration);
      if (fresh) break;
    }
    const ended = gen.isTerminal(at.state);
    if (!ended && at.children === null && at.depth < depthLimit) {
      const next = await proposals('mcts', gen, at.state, children, rng);
      const parent = at;
      at.children = (dedupe ? distinct(next, gen.key!.bind(gen)) : next).map((state) => node(state, parent));
      at = at.children[0] ?? at;
    }
    const stuck = !ended && at.children?.length === 0;
    const value = stuck ? 0 : await rollout(at.state, rng);
    if (!(value >= 0 && value <= 1)) throw new RangeError(`mcts: the rollout of iteration ${i} gave ${value}; a value is in [0, 1]`);
    for (let up: MctsNode<S> | null = at; up; up = up.parent) {
      up.visits++;
      up.correct += value;
    }
  }
  return top;
}

/** Upper confidence bound of a visited node under its parent. */
export function upperConfidence(
  { correct, visits }: Pick<MctsNode<unknown>, 'correct' | 'visits'>,
  parentVisits: number,
  exploration: number,
): number {
  return correct / visits + exploration * Math.sqrt(Math.log(parentVisits) / visits);
}

function select<S>({ children, visits }: MctsNode<S>, exploration: number): MctsNode<S> {
  return children!.reduce((best, child) =>
    upperConfidence(child, visits, exploration) > upperConfidence(best, visits, exploration) ? child : best,
  );
}

function distinct<S>(states: S[], key: (state: S) => string): S[] {
  const seen = new Set<string>();
  return states.filter((state) => !seen.has(key(state)) && seen.add(key(state)));
}

/**
 * Siblings whose values `c/N` differ by more than `minGap` (0.7), as preferences between next steps; the larger value is chosen. Of a node with more than
 * `maxPairsPerNode` the widest gaps are kept. Only nodes with at least `minVisits` count.
 */
export function stepPreferencePairs<S>(
  root: MctsNode<S>,
  { minGap = 0.7, minVisits = 1, maxPairsPerNode = Infinity }: { minGap?: number; minVisits?: number; maxPairsPerNode?: number } = {},
): { parent: S; chosen: S; rejected: S; gap: number }[] {
  if (!(minGap >= 0)) throw new RangeError(`stepPreferencePairs: minGap must be >= 0, got ${minGap}`);
  return [...nodesOf(root)].flatMap((parent) => {
    const known = (parent.children ?? []).filter(({ visits }) => visits >= Math.max(1, minVisits));
    const pairs = known.flatMap((a, i) =>
      known.slice(i + 1).flatMap((b) => {
        const gap = a.correct / a.visits - b.correct / b.visits;
        const [chosen, rejected] = gap > 0 ? [a, b] : [b, a];
        return Math.abs(gap) > minGap ? [{ parent: parent.state, chosen: chosen.state, rejected: rejected.state, gap: Math.abs(gap) }] : [];
      }),
    );
    return pairs.sort((a, b) => b.gap - a.gap).slice(0, maxPairsPerNode);
  });
}

/** Every visited state below the root with its value: the labels of a process reward model. */
export function stepValues<S>(root: MctsNode<S>): { state: S; value: number; visits: number }[] {
  return [...nodesOf(root)]
    .filter(({ visits, parent }) => visits > 0 && parent !== null)
    .map(({ state, correct, visits }) => ({ state, value: correct / visits, visits }));
}

/** From the root down, each node before its children. */
function* nodesOf<S>(node: MctsNode<S>): Generator<MctsNode<S>> {
  yield node;
  for (const child of node.children ?? []) yield* nodesOf(child);
}
