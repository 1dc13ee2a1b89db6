/** `plumb matrix`: every paper beside what was measured here. */
import { join } from 'node:path';
import { freshness, type MatrixRow } from '@plumbline/bench';
import { matrix as readMatrix } from '@plumbline/experiments';
import pc from 'picocolors';
import type { BackendFlags } from '../backend.js';
import { docsFolder, reproduce } from './reproduce.js';

type MatrixOptions = BackendFlags & {
  run?: boolean;
  stale?: boolean;
  confirm?: boolean;
  seeds?: string;
  jobs?: string;
  all?: boolean;
  json?: boolean;
  out: string;
};

export async function matrix({ run, stale, confirm, all, json, ...options }: MatrixOptions): Promise<void> {
  let rows = await readMatrix(join(docsFolder(), 'reproductions'));
  if (confirm) {
    const wanted = rows.filter((row) => row.result && !row.fresh && !row.confirmed).map(({ paper }) => paper.id);
    if (wanted.length > 0) await reproduce(wanted, { ...options, confirm: true, quiet: true });
    rows = await readMatrix(join(docsFolder(), 'reproductions'));
  }
  if (run) {
    const wanted = rows
      .filter((row) => row.implemented && (!row.result || (stale && !row.fresh && !row.confirmed)))
      .map(({ paper }) => paper.id);
    if (wanted.length > 0) await reproduce(wanted, { ...options, store: true, quiet: true });
    rows = await readMatrix(join(docsFolder(), 'reproductions'));
  }
  if (json) {
    console.log(JSON.stringify(rows.map(jsonRow), null, 2));
    return;
  }
  const shown = rows.filter((row) => all || row.implemented);
  for (const row of shown) {
    const { paper, result } = row;
    const state = result
      ? `${result.seeds.length} seeds, ${(result.seconds / result.seeds.length).toFixed(0)} s each${row.fresh ? '' : pc.yellow(`, ${freshness(row)}`)}`
      : row.implemented
        ? 'not measured yet'
        : 'not yet implemented';
    console.log(`${pc.bold(paper.id.padEnd(26))} ${paper.package.padEnd(10)} ${state}`);
    for (const claim of result?.claims ?? []) console.log(`    ${claim.verdict.padEnd(28)} ${claim.claim}`);
  }
  const measured = rows.filter((row) => row.result).length;
  const implemented = rows.filter((row) => row.implemented).length;
  console.log(
    `\n${rows.length} papers: ${measured} measured, ${implemented - measured} implemented and not measured, ${rows.length - implemented} not yet implemented.`,
  );
}

const jsonRow = ({ paper, implemented, result, fresh, confirmed, scales }: MatrixRow) => ({
  ...paper,
  implemented,
  ...(result && { fresh, confirmed, seeds: result.seeds, seconds: result.seconds, backend: result.backend, claims: result.claims }),
  ...(scales && { scales }),
});
