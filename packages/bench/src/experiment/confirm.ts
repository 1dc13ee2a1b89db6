/** A stored result held against the code as it is now: one of its seeds is measured again. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, writeFileAtomic } from '@plumbline/core';
import { judgeClaims } from './judge.js';
import { readResult } from './reproductions.js';
import { backendName, type RunOptions, runExperiment } from './run.js';
import type { ArmSummary, ClaimResult, Experiment, ExperimentResult, StoredSeed } from './types.js';

/** A number or a verdict that is another now; undefined where it is not there. */
export type Difference = { where: string; stored: number | string | undefined; now: number | string | undefined };
export type Confirmation = { id: string; seed: number; codeHash: string; compared: number; differences: Difference[] };

/**
 * Measures the first counted seed of the result in `storeDir` again, with the settings that are stored there, and compares every metric of every arm and every statistic exactly;
 * verdicts on claims over seeds, whose numbers are all stored, are judged again as well. Where all are equal the stored result is `confirmed` for this code, and nothing else in it changes; where one is not, nothing is written. Goes on where it was interrupted, as `runExperiment` does.
 *
 * @throws ConfigError where nothing is stored, or was measured on another backend; InterruptedError where `signal` stopped it
 */
export async function confirmResult(
  experiment: Experiment,
  { storeDir, ...options }: Pick<RunOptions, 'outDir' | 'experimentDir' | 'onProgress' | 'signal' | 'beds'> & { storeDir: string },
): Promise<Confirmation> {
  const file = join(storeDir, 'result.json');
  if (!existsSync(file))
    throw new ConfigError(
      `"${experiment.id}" has no stored result to confirm; \`plumb reproduce ${experiment.id} --store\` measures one (${file})`,
    );
  const stored = readResult(file);
  if (stored.backend !== backendName())
    throw new ConfigError(`"${experiment.id}" was measured on ${stored.backend}; on ${backendName()} its numbers cannot be the same`);
  const [seed] = stored.seeds;
  const { result } = await runExperiment(experiment, { ...options, config: stored.config, seeds: [seed] });
  const before = new Map([...valuesOfFirst(stored), ...verdictsOf(stored.claims)]);
  const judgedAgain = verdictsOf(stored.claims).length > 0 ? judgeClaims(experiment, seedsOf(stored)) : [];
  const now = new Map([...valuesOfFirst(result), ...verdictsOf(judgedAgain)]);
  const names = [...new Set([...before.keys(), ...now.keys()])];
  const differences = names
    .map((where): Difference => ({ where, stored: before.get(where), now: now.get(where) }))
    .filter((one) => JSON.stringify(one.stored) !== JSON.stringify(one.now)); // as stored: NaN is null
  const { codeHash, date } = result;
  if (differences.length === 0)
    await writeFileAtomic(file, `${JSON.stringify({ ...stored, confirmed: { codeHash, seed, date } }, null, 2)}\n`);
  return { id: experiment.id, seed, codeHash, compared: names.length, differences };
}

/** Verdicts by name; none where a claim is judged over units, of which a stored result keeps means alone. */
const verdictsOf = (claims: readonly ClaimResult[]): [string, string][] =>
  claims.every(({ unit }) => unit === 'seeds') ? claims.map(({ id, verdict }) => [`verdict on ${id}`, verdict]) : [];

/** The counted seeds with the mean of every metric. */
function seedsOf({ seeds, arms, statistics, backend, codeHash, seconds }: ExperimentResult): StoredSeed[] {
  return seeds.map((seed, i) => {
    const values = (some: Record<string, ArmSummary>) =>
      Object.fromEntries(Object.entries(some).map(([name, { perSeed }]) => [name, perSeed[i] ?? Number.NaN])); // NaN is null in JSON
    const ofArms = Object.fromEntries(Object.entries(arms).map(([arm, metrics]) => [arm, values(metrics)]));
    return { seed, seconds, backend, codeHash, arms: ofArms, statistics: values(statistics), samples: [] };
  });
}

/** The numbers of the first seed by name: `arm metric`, or that of a statistic. */
function valuesOfFirst({ arms, statistics }: ExperimentResult): Map<string, number | string> {
  const listed = (values: Record<string, ArmSummary>, prefix = '') =>
    Object.entries(values).map(([name, { perSeed }]) => [`${prefix}${name}`, perSeed[0]] as const);
  return new Map([...Object.entries(arms).flatMap(([arm, metrics]) => listed(metrics, `${arm} `)), ...listed(statistics)]);
}
