/** docs/REPRODUCTIONS.md and the matrix: every paper, what was claimed, what was measured here, and whether the code has changed since. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { FormatError } from '@plumbline/core';
import { type Paper, papers } from '../papers.js';
import { formatNumber } from '../report/index.js';
import { codeHash } from './bundle.js';
import { protocol, sourceWords } from './report.js';
import { readScales, type ScaleRow, scaleRow } from './scales.js';
import type { ClaimResult, ExperimentResult } from './types.js';

export type MatrixRow = {
  paper: Paper;
  implemented: boolean;
  /** What is stored; absent where the experiment has not been run and stored. */
  result?: ExperimentResult;
  /** Whether the code that the result depends on is still the same. */
  fresh?: boolean;
  /** Whether one of its seeds has given the same numbers on the code as it is now. */
  confirmed?: boolean;
  /** With other models, and whether their code is still the same. */
  scales?: (ScaleRow & { fresh: boolean })[];
};

/**
 * One row a paper. `implemented` are the ids that have an experiment, with its folder; results are read from `resultsDir/<id>/result.json`.
 *
 * @throws FormatError naming a result file that is damaged
 */
export async function reproductionMatrix({
  implemented,
  resultsDir,
}: {
  implemented: ReadonlyMap<string, string | undefined>;
  resultsDir: string;
}): Promise<MatrixRow[]> {
  const row = async (paper: Paper): Promise<MatrixRow> => {
    const file = join(resultsDir, paper.id, 'result.json');
    if (!implemented.has(paper.id)) return { paper, implemented: false };
    if (!existsSync(file)) return { paper, implemented: true };
    const result = readResult(file);
    const hash = await codeHash(result.packages, implemented.get(paper.id));
    const scales = readScales(join(resultsDir, paper.id)).map((one) => ({ ...one, fresh: one.codeHash === hash }));
    const current = { fresh: result.codeHash === hash, confirmed: result.confirmed?.codeHash === hash };
    return { paper, implemented: true, result, ...current, ...(scales.length > 0 && { scales }) };
  };
  return Promise.all(papers.map(row));
}

export function readResult(file: string): ExperimentResult {
  let parsed: Partial<ExperimentResult>;
  try {
    parsed = JSON.parse(readFileSync(file, 'utf8')) as Partial<ExperimentResult>;
  } catch (error) {
    throw new FormatError(`${file}: not JSON (${error instanceof Error ? error.message : error}); was it cut short?`);
  }
  if (parsed.format !== 1 || !Array.isArray(parsed.claims))
    throw new FormatError(`${file}: not a stored experiment result of format 1 (format: ${String(parsed.format)})`);
  return parsed as ExperimentResult;
}

/** The page, generated from the matrix. */
export function reproductionsMarkdown(rows: readonly MatrixRow[]): string {
  const done = rows.filter((row) => row.result);
  const waiting = rows.filter((row) => row.implemented && !row.result);
  const missing = rows.filter((row) => !row.implemented);
  return [
    '# Reproductions',
    '',
    'Generated from `docs/reproductions/` by `plumb reproduce ID --store`; do not edit. A verdict is statistics at laptop scale, over at least five seeds: a claim that fails here is reported as failing,',
    'and says nothing about the scale of the paper. "Undecided" means that the interval contains no effect as well as one, that it lies above none by no more than chance among the paper\'s claims allows (Holm), or that there are fewer than five seeds. Minutes are by the clock, beside whatever else the machine did.',
    '',
    `${rows.length} papers: ${done.length} with stored results, ${waiting.length} with an experiment but no stored result, ${missing.length} not yet implemented.`,
    '',
    ...(done.length > 0 ? ['## Measured', '', ...done.flatMap(section)] : []),
    ...(waiting.length > 0
      ? [
          '## Implemented, no stored result',
          '',
          '| paper | id | command |',
          '|---|---|---|',
          ...waiting.map(({ paper }) => `| ${link(paper)} | ${paper.id} | \`pnpm plumb reproduce ${paper.id}\` |`),
          '',
        ]
      : []),
    ...(missing.length > 0
      ? [
          '## Not yet implemented',
          '',
          '| paper | id | package | our account rests on |',
          '|---|---|---|---|',
          ...missing.map(({ paper }) => `| ${link(paper)} | ${paper.id} | ${paper.package} | ${sourceWords[paper.source]} |`),
          '',
        ]
      : []),
  ].join('\n');
}

/** Whether the numbers are still those of the code as it is now. */
export function freshness({ result, fresh, confirmed }: MatrixRow): string {
  if (fresh) return 'code unchanged since';
  if (!confirmed) return 'the code has changed since';
  const { seed, date } = result!.confirmed!;
  return `code changed since; seed ${seed}, repeated on ${date} on the code as it is, gives the same numbers`;
}

function section(row: MatrixRow): string[] {
  const { paper, scales = [] } = row;
  const r = row.result!;
  return [
    `### ${cellText(paper.title)}`,
    '',
    `\`${paper.id}\` · ${r.paper} · from ${sourceWords[paper.source]} · ${r.seeds.length} seeds, ${(r.seconds / r.seeds.length / 60).toFixed(1)} minutes each · ${r.backend} · ${r.date} · ${
      row.fresh || row.confirmed ? freshness(row) : `**${freshness(row)}**`
    }`,
    '',
    '| what the paper claims | verdict here | difference [95% interval] | n | smallest effect | power | seeds for 0.8 |',
    '|---|---|---|---|---|---|---|',
    ...r.claims.map(
      (c) =>
        `| ${cellText(c.claim)} | ${c.verdict} | ${effect(c)} | ${c.n > 0 ? `${c.n} ${c.unit}` : ''} | ${c.smallestEffect ?? (c.margin === null ? '' : `margin ${c.margin}`)} | ${c.power === null ? '' : formatNumber(c.power, { percent: true })} | ${c.seedsForPower ?? ''} |`,
    ),
    '',
    ...(r.pilotSeeds.length > 0 ? [protocol(r), ''] : []),
    `Run it: \`${r.command}\``,
    '',
    ...scaleTable(r, scales),
  ];
}

/** The same claims with larger models, and what `plumb apply` measured of one; of one training run or two no verdict follows, so none is shown. */
function scaleTable(result: ExperimentResult, scales: NonNullable<MatrixRow['scales']>): string[] {
  if (scales.length === 0) return [];
  const claims = result.claims.filter(({ difference }) => difference !== null);
  const size = (parameters: number | null) => (parameters === null ? '' : ` (${(parameters / 1e6).toFixed(parameters < 1e7 ? 1 : 0)}M)`);
  const own = scaleRow(basename(String(result.config.model ?? 'its own').replace(/^zoo:/, '')), result);
  const isClaim = ({ id }: ScaleRow['effects'][number]) => claims.some((claim) => claim.id === id);
  const called = ({ scale, parameters, fresh }: ScaleRow & { fresh: boolean }) =>
    `${scale}${size(parameters)}${fresh ? '' : ', the code has changed since'}`;
  const bed = [{ ...own, fresh: true }, ...scales.filter(({ effects }) => effects.some(isClaim))];
  const applied = scales.filter(({ effects }) => !effects.some(isClaim));
  return [
    'Effects by scale:',
    '',
    `| model | seeds | ${claims.map(({ id }) => id).join(' | ')} |`,
    `|---|---|${claims.map(() => '---|').join('')}`,
    ...bed.map((row) => {
      const of = (id: string) => row.effects.find((one) => one.id === id);
      return `| ${called(row)} | ${row.seeds.length} | ${claims.map(({ id }) => (of(id) ? effect(of(id)!) : '')).join(' | ')} |`;
    }),
    '',
    ...(applied.length > 0
      ? [
          '| on real answers | measured after one run of each arm | difference [95% interval] | n |',
          '|---|---|---|---|',
          ...applied.flatMap((row) =>
            row.effects.map((one, i) => `| ${i === 0 ? called(row) : ''} | ${cellText(one.claim)} | ${effect(one)} | ${one.n} |`),
          ),
          '',
        ]
      : []),
    ...scales.map(
      ({ scale, command, seconds, seeds }) => `- ${scale}: \`${command}\`, ${(seconds / seeds.length / 60).toFixed(1)} minutes a seed`,
    ),
    '',
  ];
}

const link = (paper: Paper) => (paper.arxiv ? `[${cellText(paper.title)}](https://arxiv.org/abs/${paper.arxiv})` : cellText(paper.title));
const cellText = (text: string) => text.replaceAll('|', '\\|');
/** A single seed has no interval. Two places, and more where an effect and its interval would vanish in them. */
const effect = ({ difference, ci95 }: Pick<ClaimResult, 'difference' | 'ci95'>) => {
  if (difference === null) return '';
  const largest = Math.max(...[difference, ...ci95!].map((x) => Math.abs(x ?? 0)));
  const digits = largest > 0 && largest < 0.01 ? Math.min(8, 1 - Math.floor(Math.log10(largest))) : 2;
  const shown = (x: number) => formatNumber(x, { signed: true, digits });
  const [low, high] = ci95!.map((end) => (end === null ? undefined : shown(end)));
  const interval = low === undefined && high === undefined ? '' : ` [${low ?? '−∞'}, ${high ?? '∞'}]`;
  return shown(difference) + interval;
};
