/** Effects of an experiment's claims by the size of the model: compact rows beside the main result. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError, makeFolder, writeFileAtomic } from '@plumbline/core';
import type { Estimate } from '../metrics/index.js';
import { formatNumber } from '../report/index.js';
import { type ApplyMeasure, type ApplyResult, applyMeasures } from './apply.js';
import { codeHash } from './bundle.js';
import type { ClaimResult, Experiment, ExperimentResult } from './types.js';

/** What was measured with one model. */
export type ScaleRow = {
  /** The model's name, such as words-6m. */
  scale: string;
  parameters: number | null;
  seeds: number[];
  /** By claim; from `plumb apply` by what was measured, where the claim's own metric does not exist. */
  effects: Pick<ClaimResult, 'id' | 'claim' | 'difference' | 'ci95' | 'n' | 'unit' | 'verdict'>[];
  command: string;
  date: string;
  backend: string;
  codeHash: string;
  seconds: number;
};

const fileIn = (dir: string) => join(dir, 'scales.json');

/** Rows stored in an experiment's folder of results, smallest model first. @throws FormatError naming a damaged file */
export function readScales(dir: string): ScaleRow[] {
  const file = fileIn(dir);
  if (!existsSync(file)) return [];
  try {
    const { format, rows } = JSON.parse(readFileSync(file, 'utf8')) as { format: number; rows: ScaleRow[] };
    if (format === 1 && Array.isArray(rows)) return rows;
  } catch (error) {
    throw new FormatError(`${file}: not JSON (${(error as Error).message}); was it cut short?`);
  }
  throw new FormatError(`${file}: not a list of scales of format 1`);
}

/** Adds a row, in place of one of the same model. The main result stays as it is. */
export async function storeScale(dir: string, row: ScaleRow): Promise<void> {
  const rows = [...readScales(dir).filter(({ scale }) => scale !== row.scale), row];
  rows.sort((a, b) => (a.parameters ?? Infinity) - (b.parameters ?? Infinity));
  await makeFolder(dir);
  await writeFileAtomic(fileIn(dir), `${JSON.stringify({ format: 1, rows }, null, 2)}\n`);
}

/** The claims of a result as a row. */
export function scaleRow(scale: string, result: ExperimentResult): ScaleRow {
  const { seeds, command, date, backend, codeHash: hash, seconds, parameters } = result;
  const effects = result.claims
    .filter(({ difference }) => difference !== null)
    .map(({ id, claim, difference, ci95, n, unit, verdict }) => ({ id, claim, difference, ci95, n, unit, verdict }));
  return { scale, parameters: parameters ?? null, seeds, effects, command, date, backend, codeHash: hash, seconds };
}

/** What `plumb apply` measured of a larger model, as a row: method minus baseline on held-out pairs, and by the judge. */
export async function storeApplied(
  experiment: Experiment,
  { arms, plan, differences, judge, seconds }: ApplyResult,
  { dir, command, experimentDir, seed, backend }: { dir: string; command: string; experimentDir?: string; seed: number; backend: string },
): Promise<void> {
  const [baseline, method] = Object.keys(arms);
  const effects = (Object.keys(applyMeasures) as ApplyMeasure[]).flatMap((id) => {
    const estimate = differences[id];
    if (!estimate) return [];
    const what = id === 'judged' && judge ? `${applyMeasures[id]} (${judge.name}; ${judgedBeside(arms, judge.start)})` : applyMeasures[id];
    return [
      {
        id,
        claim: `${method} minus ${baseline}: ${what}`,
        difference: estimate.mean,
        ci95: [finite(estimate.low), finite(estimate.high)] as [number | null, number | null],
        n: estimate.n,
        unit: 'units' as const,
        verdict: 'undecided at this scale' as const, // one training run says nothing of others
      },
    ];
  });
  await storeScale(dir, {
    scale: plan.model,
    parameters: plan.parameters,
    seeds: [seed],
    effects,
    command,
    date: new Date().toISOString().slice(0, 10),
    backend,
    codeHash: await codeHash(experiment.packages, experimentDir),
    seconds,
  });
}

/** The means that a difference lies between. */
const judgedBeside = (arms: ApplyResult['arms'], start: Estimate) =>
  [['start', start] as const, ...Object.entries(arms).map(([name, { judged }]) => [name, judged] as const)]
    .flatMap(([name, estimate]) => (estimate ? [`${name} ${formatNumber(estimate.mean)}`] : []))
    .join(', ');

const finite = (x: number) => (Number.isFinite(x) ? x : null);
