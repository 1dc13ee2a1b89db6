import { rng } from '@plumbline/core';
import type { Candidate, GroupRewardFunction, PairwiseJudge, Prompt, RewardFunction, Scores, StepRewardFunction } from '../interfaces.js';
import { type ContractCase, ensure, ensureClose } from './case.js';

const context = () => ({ rng: rng(7), step: 3 });

function ensureScores(scores: Scores, n: number, name: string): void {
  ensure(scores.scores instanceof Float32Array && scores.scores.length === n, `${name}: scores must be a Float32Array of ${n}`);
  ensure(scores.abstained === undefined || scores.abstained.length === n, `${name}: abstained must have one entry for each of ${n}`);
  for (let i = 0; i < n; i++) {
    ensure(
      scores.abstained?.[i] === 1 || Number.isFinite(scores.scores[i]),
      `${name}: score ${i} is ${scores.scores[i]} and does not abstain`,
    );
  }
  for (const [component, values] of Object.entries(scores.components ?? {})) {
    ensure(values.length === n, `${name}: component ${component} has ${values.length} values for ${n} candidates`);
  }
}

/** Scores where it does not abstain, NaN elsewhere. */
const decided = ({ scores, abstained }: Scores): number[] => Array.from(scores, (score, i) => (abstained?.[i] === 1 ? NaN : score));

function ensureSame(actual: number[], expected: number[], tolerance: number, what: string): void {
  actual.forEach((value, i) => {
    ensure(Number.isNaN(value) === Number.isNaN(expected[i]), `${what}: it abstains on ${i} in one call and not in the other`);
  });
  ensureClose(
    actual.filter((x) => !Number.isNaN(x)),
    expected.filter((x) => !Number.isNaN(x)),
    tolerance,
    what,
  );
}

/**
 * What every `RewardFunction` keeps: one finite score or an abstention for each candidate, the same for the same candidate and context, whatever
 * stands beside it in the batch, and candidates that stay as they were. `candidates` needs at least two that differ.
 */
export function rewardFunctionContract(
  make: () => RewardFunction | Promise<RewardFunction>,
  { candidates, tolerance = 1e-5 }: { candidates: readonly Candidate[]; tolerance?: number },
): ContractCase[] {
  const n = candidates.length;
  return [
    {
      name: 'gives one finite score or an abstention for each candidate',
      run: async () => {
        const reward = await make();
        ensure(reward.name.length > 0, 'a reward function has a name');
        ensureScores(await reward.score(candidates, context()), n, reward.name);
      },
    },
    {
      name: 'scores the same candidates alike under equal contexts',
      run: async () => {
        const reward = await make();
        const [first, again] = [await reward.score(candidates, context()), await reward.score(candidates, context())];
        ensureSame(decided(again), decided(first), 0, `${reward.name}, called twice`);
      },
    },
    {
      name: 'scores a candidate whatever stands beside it in the batch',
      run: async () => {
        const reward = await make();
        const together = decided(await reward.score(candidates, context()));
        const reversed = decided(await reward.score([...candidates].reverse(), context())).reverse();
        ensureSame(reversed, together, tolerance, `${reward.name}, in reverse order`);
        for (let i = 0; i < n; i++) {
          ensureSame(
            decided(await reward.score([candidates[i]], context())),
            [together[i]],
            tolerance,
            `${reward.name}, candidate ${i} alone`,
          );
        }
      },
    },
    {
      name: 'leaves the candidates as they were',
      run: async () => {
        const before = JSON.stringify(candidates);
        await (await make()).score(candidates, context());
        ensure(JSON.stringify(candidates) === before, 'the candidates were changed');
      },
    },
  ];
}

/** What every `GroupRewardFunction` keeps: a score for each sample of the group, the same under equal contexts, that moves with its sample. */
export function groupRewardFunctionContract(
  make: () => GroupRewardFunction | Promise<GroupRewardFunction>,
  { group, tolerance = 1e-5 }: { group: readonly Candidate[]; tolerance?: number },
): ContractCase[] {
  return [
    {
      name: 'gives one finite score or an abstention for each sample of the group',
      run: async () => {
        const reward = await make();
        ensure(reward.name.length > 0, 'a reward function has a name');
        ensureScores(await reward.scoreGroup(group, context()), group.length, reward.name);
      },
    },
    {
      name: 'scores the same group alike under equal contexts',
      run: async () => {
        const reward = await make();
        const first = decided(await reward.scoreGroup(group, context()));
        ensureSame(decided(await reward.scoreGroup(group, context())), first, 0, `${reward.name}, called twice`);
      },
    },
    {
      name: 'gives a sample its score wherever it stands in the group',
      run: async () => {
        const reward = await make();
        const scores = decided(await reward.scoreGroup(group, context()));
        const reversed = decided(await reward.scoreGroup([...group].reverse(), context())).reverse();
        ensureSame(reversed, scores, tolerance, `${reward.name}, in reverse order`);
      },
    },
  ];
}

/** What every `StepRewardFunction` keeps: a probability for each step, whatever stands beside the solution; later steps do not matter if it is `causal`. */
export function stepRewardFunctionContract(
  make: () => StepRewardFunction | Promise<StepRewardFunction>,
  {
    solutions,
    causal = true,
    tolerance = 1e-5,
  }: { solutions: readonly { prompt: Prompt; steps: string[] }[]; causal?: boolean; tolerance?: number },
): ContractCase[] {
  const cases: ContractCase[] = [
    {
      name: 'gives a number in [0, 1] for each step of each solution',
      run: async () => {
        const reward = await make();
        const scores = await reward.scoreSteps(solutions, context());
        ensure(scores.length === solutions.length, `${reward.name}: ${scores.length} answers for ${solutions.length} solutions`);
        solutions.forEach(({ steps }, i) => {
          ensure(
            scores[i].length === steps.length,
            `${reward.name}: solution ${i} has ${steps.length} steps and ${scores[i].length} scores`,
          );
          ensure(
            scores[i].every((p) => p >= 0 && p <= 1),
            `${reward.name}: solution ${i} has scores outside of [0, 1]: ${scores[i].join(', ')}`,
          );
        });
      },
    },
    {
      name: 'scores a solution whatever stands beside it in the batch',
      run: async () => {
        const reward = await make();
        const together = await reward.scoreSteps(solutions, context());
        for (const [i, solution] of solutions.entries()) {
          ensureClose((await reward.scoreSteps([solution], context()))[0], together[i], tolerance, `${reward.name}, solution ${i} alone`);
        }
      },
    },
  ];
  if (!causal) return cases;
  return [
    ...cases,
    {
      name: 'scores a step by what came before it',
      run: async () => {
        const reward = await make();
        const whole = await reward.scoreSteps(solutions, context());
        const first = await reward.scoreSteps(
          solutions.map(({ prompt, steps }) => ({ prompt, steps: steps.slice(0, 1) })),
          context(),
        );
        for (const [i, scores] of first.entries()) {
          ensureClose(scores, whole[i].subarray(0, 1), tolerance, `${reward.name}, first step of solution ${i}`);
        }
      },
    },
  ];
}

/** What every `PairwiseJudge` keeps. `symmetric`: probA of (a, b) and of (b, a) add up to 1, as after `debiased`. */
export function pairwiseJudgeContract(
  make: () => PairwiseJudge | Promise<PairwiseJudge>,
  {
    pairs,
    symmetric = false,
    tolerance = 1e-5,
  }: { pairs: Parameters<PairwiseJudge['compare']>[0]; symmetric?: boolean; tolerance?: number },
): ContractCase[] {
  const cases: ContractCase[] = [
    {
      name: 'gives a verdict for each pair, whose winner has the larger probability',
      run: async () => {
        const judge = await make();
        const verdicts = await judge.compare(pairs, context());
        ensure(verdicts.length === pairs.length, `${judge.name}: ${verdicts.length} verdicts for ${pairs.length} pairs`);
        verdicts.forEach(({ winner, probA, parsed }, i) => {
          ensure(probA >= 0 && probA <= 1, `${judge.name}: probA of pair ${i} is ${probA}`);
          ensure(
            winner === 'tie' || (winner === 'a' ? probA >= 0.5 : probA <= 0.5),
            `${judge.name}: pair ${i} is won by ${winner} at probA ${probA}`,
          );
          ensure(
            parsed || (winner === 'tie' && probA === 0.5),
            `${judge.name}: pair ${i} was not parsed, yet ${winner} wins at probA ${probA}`,
          );
        });
      },
    },
    {
      name: 'judges a pair alike under equal contexts, whatever stands beside it',
      run: async () => {
        const judge = await make();
        const together = (await judge.compare(pairs, context())).map(({ probA }) => probA);
        ensureClose(
          (await judge.compare(pairs, context())).map(({ probA }) => probA),
          together,
          0,
          `${judge.name}, called twice`,
        );
        for (const [i, pair] of pairs.entries()) {
          ensureClose([(await judge.compare([pair], context()))[0].probA], [together[i]], tolerance, `${judge.name}, pair ${i} alone`);
        }
      },
    },
  ];
  if (!symmetric) return cases;
  return [
    ...cases,
    {
      name: 'gives both orders probabilities that add up to 1',
      run: async () => {
        const judge = await make();
        const forwards = await judge.compare(pairs, context());
        const backwards = await judge.compare(
          pairs.map((pair) => ({ ...pair, a: pair.b, b: pair.a })),
          context(),
        );
        ensureClose(
          backwards.map(({ probA }) => 1 - probA),
          forwards.map(({ probA }) => probA),
          tolerance,
          `${judge.name}, order swapped`,
        );
      },
    },
  ];
}
