/** Numbers that are a known symptom, and what to look at where they show. */
import type { LoggedStep } from './run.js';

export type Symptom = { name: string /** Last step of the first stretch in which it showed. */; step: number; hint: string };

type Rule = { name: string /** Steps in a row. */; steps: number; shows(x: LoggedStep): boolean; hint(steps: number): string };

const rules: readonly Rule[] = [
  {
    name: 'loss still ln 2',
    steps: 20,
    shows: ({ loss, ...x }) =>
      loss !== undefined && Math.abs(loss - Math.LN2) < 1e-3 && (x['rewards/margin'] !== undefined || x.margin !== undefined),
    hint: (n) =>
      `the loss is still ln 2 after ${n} steps, as it is where both answers score alike: raise the learning rate, and look whether anything is trained and whether chosen and rejected differ`,
  },
  {
    name: 'no gradient',
    steps: 5,
    shows: ({ gradNorm }) => gradNorm === 0,
    hint: (n) => `the gradient was 0 for ${n} steps: nothing that the loss depends on is trained, or nothing is left to learn`,
  },
  {
    name: 'all groups without deviation',
    steps: 3,
    shows: (x) => x['groups/withoutDeviation'] === 1 && !((x['advantages/std'] ?? 0) > 0), // not every advantage compares within groups
    hint: (n) =>
      `in ${n} steps every group's rewards were all equal, so that no completion counts more than another: the task is too hard, too easy, or the reward never tells answers apart or abstains on all; more samples a prompt or a higher temperature help`,
  },
  {
    name: 'all completions truncated',
    steps: 3,
    shows: (x) => x['completions/finished'] === 0,
    hint: (n) =>
      `in ${n} steps no completion came to its end before the limit of tokens: raise the limit, or look whether the model knows its end token`,
  },
  {
    name: 'most tokens clipped',
    steps: 3,
    shows: (x) => (x['policy/clipFraction'] ?? 0) > 0.5,
    hint: (n) =>
      `in ${n} steps more than half of the tokens were clipped: the policy moves too far on one batch; lower the learning rate or the number of updates a batch`,
  },
  {
    name: 'sampler and trainer disagree',
    steps: 3,
    shows: (x) => (x['policy/samplerGap'] ?? 0) > 0.1,
    hint: (n) =>
      `in ${n} steps the sampler's log-probabilities differed from the trainer's by more than 0.1 nats a token: they run other weights, another precision or another temperature, or sampling is cut (topP, topK, minP) or penalised (repetitionPenalty)`,
  },
];

/** All that is watched for: after how many steps in a row it is told, and what then. */
export const knownSymptoms: readonly { name: string; steps: number; hint: string }[] = rules.map(({ name, steps, hint }) => ({
  name,
  steps,
  hint: hint(steps),
}));

/**
 * Watches a run step by step: each call answers the hints that have just become due, each of them once.
 * @param expected names of what is no symptom here, but the run's design
 * @throws RangeError for a name that is none, with those that there are
 */
export function symptomWatch(expected: readonly string[] = []): (step: LoggedStep) => Symptom[] {
  const unknown = expected.find((name) => !rules.some((rule) => rule.name === name));
  if (unknown !== undefined)
    throw new RangeError(`there is no symptom "${unknown}"; there are ${rules.map(({ name }) => name).join(', ')}`);
  const counts = rules.map(() => 0);
  const told = rules.map(() => false);
  return (x) =>
    rules.flatMap((rule, i): Symptom[] => {
      counts[i] = rule.shows(x) ? counts[i] + 1 : 0;
      if (told[i] || counts[i] < rule.steps || expected.includes(rule.name)) return [];
      told[i] = true;
      return [{ name: rule.name, step: x.step, hint: rule.hint(rule.steps) }];
    });
}

/** The symptoms of a run that is over, or of a part of it. */
export function symptomsOf(history: readonly LoggedStep[]): Symptom[] {
  const watch = symptomWatch();
  return history.flatMap(watch);
}
