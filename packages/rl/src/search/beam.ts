import type { Rng } from '@plumbline/core';
import { checkCount, proposals, type StepGenerator } from './types.js';

/**
 * Beam search over steps: in each round every state that goes on proposes `candidates` steps, all are scored together, and the best `beam` of these and of the finished
 * states survive. Ends where all of them are finished, or after `maxSteps`. A beam of 1 is greedy search by steps.
 *
 * Equal scores keep the order of beams, then of candidates. A state without proposals drops out, unless none is left.
 *
 * @param score of states, finite: a process reward of their last step, or an aggregate of all
 * @returns the best of the last beams, and those, best first
 * @throws RangeError for counts below 1, as many scores as there are not states, a score that is not finite, or a proposal that is its own state
 */
export async function beamSearch<S>(
  root: S,
  gen: StepGenerator<S>,
  score: (states: S[]) => Promise<ArrayLike<number>>,
  { beam, candidates, maxSteps }: { beam: number; candidates: number; maxSteps: number },
  rng: Rng,
): Promise<{ best: S; score: number; beams: S[] }> {
  for (const [name, value] of Object.entries({ beam, candidates, maxSteps })) checkCount('beamSearch', name, value);
  let beams: { state: S; score: number }[] = [{ state: root, score: Number.NaN }];
  for (let step = 0; step < maxSteps && !beams.every(({ state }) => gen.isTerminal(state)); step++) {
    const pool: { state: S; score: number }[] = [];
    const fresh: { state: S; score: number }[] = [];
    for (const kept of beams) {
      if (gen.isTerminal(kept.state)) {
        pool.push(kept);
        continue;
      }
      for (const state of await proposals('beamSearch', gen, kept.state, candidates, rng)) {
        const entry = { state, score: 0 };
        pool.push(entry);
        fresh.push(entry);
      }
    }
    if (pool.length === 0) break;
    const scores = await scored(
      score,
      fresh.map(({ state }) => state),
    );
    fresh.forEach((entry, i) => {
      entry.score = scores[i];
    });
    beams = pool.sort((a, b) => b.score - a.score).slice(0, beam);
  }
  if (Number.isNaN(beams[0].score)) beams[0].score = (await scored(score, [root]))[0]; // it never left the root
  return { best: beams[0].state, score: beams[0].score, beams: beams.map(({ state }) => state) };
}

async function scored<S>(score: (states: S[]) => Promise<ArrayLike<number>>, states: S[]): Promise<number[]> {
  if (states.length === 0) return [];
  const scores = Array.from(await score(states));
  if (scores.length !== states.length) throw new RangeError(`beamSearch: ${scores.length} scores for ${states.length} states`);
  const bad = scores.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new RangeError(`beamSearch: the score of state ${bad} is ${scores[bad]}`);
  return scores;
}
