/** `plumb data`: looks at a data set, and makes another of it, record by record in bounded memory. */
import { existsSync } from 'node:fs';
import { basename, extname, join, resolve } from 'node:path';
import { ConfigError, FormatError } from '@plumbline/core';
import {
  conversionPath,
  convertRecord,
  type DataSummary,
  type DataWarning,
  dataSummary,
  exactDeduplicator,
  groupByPrompt,
  hashSplit,
  type MultiScoreRecord,
  nearDeduplicator,
  openRecords,
  type RecordKind,
  type RecordOptions,
  type Records,
  type RowFormat,
  recordKinds,
  type ScoredGroup,
  type UnpairedRecord,
  writeRecords,
} from '@plumbline/data';
import pc from 'picocolors';
import { wholeNumber } from '../settings.js';

export type SourceFlags = { kind?: string; columns?: string[]; header?: string; split?: string; format?: string; limit?: string };

/** Prints what the records are, and names the rows that cannot be read and those that look wrong. Exit code 1 where some cannot be read. */
export async function check(
  file: string,
  options: SourceFlags & { tokenizer?: string; maxLength?: string; json?: boolean },
): Promise<void> {
  const started = Date.now();
  const { summary, bad, skipped, rows, columns } = await gather(file, options, { words: false });
  if (options.json)
    console.log(JSON.stringify({ file, columns, rows, ...summary, bad, skipped, seconds: (Date.now() - started) / 1000 }, null, 2));
  else {
    console.log(`${file}: ${summary ? `${number(summary.records)} ${summary.kind} records in ${number(rows)} rows` : 'no records'}`);
    console.log(pc.dim(`columns: ${columns.join(', ')}`));
    if (bad.count > 0) {
      console.log(pc.red(`${number(bad.count)} ${bad.count === 1 ? 'row' : 'rows'} could not be read:`));
      for (const { place, reason } of bad.first) console.log(`  ${place}: ${reason}`);
      if (bad.count > bad.first.length) console.log(`  and ${number(bad.count - bad.first.length)} more`);
    }
    for (const [reason, { count, first }] of Object.entries(skipped))
      console.log(pc.yellow(`${number(count)} left out: ${reason} (${listed(first, count)})`));
    for (const [name, { count, first }] of Object.entries(summary?.warnings ?? {}))
      if (count > 0) console.log(pc.yellow(`${number(count)} ${warningNames[name as DataWarning]} (${listed(first, count)})`));
    if (
      bad.count === 0 &&
      summary &&
      Object.values(summary.warnings).every(({ count }) => count === 0) &&
      Object.keys(skipped).length === 0
    )
      console.log(pc.green('nothing looks wrong'));
  }
  if (bad.count > 0 || !summary) process.exitCode = 1;
}

const warningNames: Record<DataWarning, string> = {
  emptyCompletion: 'have an empty answer',
  identicalPair: 'have the same answer on both sides',
  duplicate: 'say the same as an earlier record',
  tooLong: 'are longer than --max-length',
  garbled: 'have characters that were lost, or read in the wrong encoding',
};

/** Prints lengths, words, label balance, duplicates, and which side of pairs is longer. */
export async function stats(file: string, options: SourceFlags & { tokenizer?: string; json?: boolean }): Promise<void> {
  const { summary, bad, skipped, rows } = await gather(file, options, { words: true });
  if (!summary) throw new FormatError(`${file}: no records${bad.first[0] ? `; ${bad.first[0].place}: ${bad.first[0].reason}` : ''}`);
  if (options.json) {
    console.log(JSON.stringify({ file, rows, ...summary, bad, skipped }, null, 2));
    return;
  }
  const { kind, records, unit, lengths, words, vocabulary, labels, lengthBias, turns, warnings } = summary;
  console.log(`${file}: ${number(records)} ${kind} records`);
  const table = [['', 'mean', 'min', '5%', 'median', '95%', 'max']];
  for (const [part, l] of Object.entries(lengths))
    table.push([part, l.mean.toFixed(1), ...[l.min, l.p5, l.median, l.p95, l.max].map(number)]);
  console.log(`\n${unit} (quantiles within 3%)`);
  for (const row of table)
    console.log(
      `  ${row[0].padEnd(12)}${row
        .slice(1)
        .map((cell) => cell.padStart(9))
        .join('')}`,
    );
  console.log(`\ndifferent words     about ${number(words)}`);
  if (vocabulary) console.log(`vocabulary          ${number(vocabulary.used)} of ${number(vocabulary.size)} tokens are there`);
  if (turns) console.log(`messages            ${turns.mean.toFixed(1)} on average, at most ${turns.max}`);
  if (labels)
    console.log(
      `labels              ${number(labels.true)} true, ${number(labels.false)} false (${share(labels.true, labels.true + labels.false)} true)`,
    );
  if (lengthBias) {
    const { low, high, meanDifference, equal } = lengthBias;
    console.log(
      `chosen is longer    in ${(100 * lengthBias.share).toFixed(1)}% of the pairs that differ (95% interval ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}), by ${meanDifference.toFixed(1)} ${unit} on average; ${number(equal)} are as long`,
    );
  }
  console.log(`duplicates          ${number(warnings.duplicate.count)} (${share(warnings.duplicate.count, records)})`);
  if (bad.count > 0) console.log(pc.yellow(`${number(bad.count)} rows could not be read; plumb data check names them`));
}

/** Writes the records as another kind, another format, or both. */
export async function convert(
  from: string,
  to: string,
  options: SourceFlags & { to?: string; weights?: string[]; threshold?: string; minGap?: string; group?: boolean; skipBad?: boolean },
): Promise<void> {
  refuseItself(from, to);
  const [wanted, format] = target(options.to);
  const settings = {
    ...(options.weights && {
      weights: Object.fromEntries(pairs('--weights', options.weights).map(([name, text]) => [name, real('--weights', text)])),
    }),
    ...(options.threshold !== undefined && { threshold: real('--threshold', options.threshold) }),
    ...(options.minGap !== undefined && { minGap: real('--min-gap', options.minGap) }),
  };
  const { kind, stream, told } = await readable(from, options, options.skipBad ?? false);
  const become = wanted ?? kind;
  const grouped = options.group ?? (become === 'preference' && (kind === 'multiscore' || kind === 'unpaired'));
  const start: RecordKind = grouped ? 'ranked' : kind;
  if (grouped && !['multiscore', 'unpaired', 'ranked'].includes(kind))
    throw new ConfigError(`${kind} records have no scores to group them by; those of kind multiscore, unpaired and ranked have`);
  if (!conversionPath(start, become)) convertRecord({} as Records[RecordKind], start, become); // throws, and says what could be
  const records = grouped ? groups(stream as AsyncIterable<MultiScoreRecord | ScoredGroup | UnpairedRecord>) : stream;
  const converted = async function* (): AsyncGenerator<object> {
    for await (const record of records) yield* convertRecord(record, start, become, settings);
  };
  const written = await writeRecords(to, converted(), format ? { format } : {});
  console.log(`${to}: ${number(written)} ${become} records of ${number(told.records)} ${kind} records${told.text()}`);

  async function* groups(all: AsyncIterable<MultiScoreRecord | ScoredGroup | UnpairedRecord>): AsyncGenerator<ScoredGroup> {
    const kept: (MultiScoreRecord | ScoredGroup | UnpairedRecord)[] = []; // records of one prompt may stand anywhere
    for await (const one of all) kept.push(one);
    yield* groupByPrompt(kept, settings);
  }
}

/** Writes each record to one of several files, records with the same prompt to the same one. */
export async function split(
  file: string,
  out: string,
  options: SourceFlags & { shares: string; seed: string; skipBad?: boolean },
): Promise<void> {
  const shares = Object.fromEntries(pairs('--shares', options.shares.split(',')).map(([name, text]) => [name, real('--shares', text)]));
  const sum = Object.values(shares).reduce((a, b) => a + b, 0);
  if (Object.values(shares).some((one) => one < 0) || Math.abs(sum - 1) > 1e-6)
    throw new ConfigError(
      `--shares ${options.shares}: shares are 0 or more and add up to 1; these add up to ${Number(sum.toPrecision(6))}`,
    );
  const sideOf = hashSplit(shares, { seed: wholeNumber('--seed', options.seed) });
  const extension = /\.(jsonl|ndjson|json|parquet)(\.gz)?$/i.exec(out)?.[0] ?? '.jsonl';
  const stem = out.endsWith(extension) ? out.slice(0, -extension.length) : join(out, basename(file, extname(file)));
  for (const name of Object.keys(shares)) {
    const { stream, told } = await readable(file, options, options.skipBad ?? false);
    const side = async function* (): AsyncGenerator<object> {
      for await (const record of stream) if (sideOf(record) === name) yield record;
    };
    const path = `${stem}-${name}${extension}`;
    const written = await writeRecords(path, side());
    console.log(`${path}: ${number(written)} of ${number(told.records)} records${told.text()}`);
  }
}

/** Writes the records that say nothing that an earlier one said. */
export async function dedup(
  file: string,
  out: string,
  options: SourceFlags & { near?: string | boolean; ngram: string; skipBad?: boolean },
): Promise<void> {
  refuseItself(file, out);
  const near =
    options.near === undefined || options.near === false ? undefined : options.near === true ? 0.8 : real('--near', options.near);
  if (near !== undefined && !(near > 0 && near <= 1))
    throw new ConfigError(`--near ${options.near}: a share of runs of words, above 0 and at most 1`);
  const seen =
    near === undefined
      ? exactDeduplicator<object>()
      : nearDeduplicator<object>({ threshold: near, ngram: wholeNumber('--ngram', options.ngram, 1) });
  const { stream, told } = await readable(file, options, options.skipBad ?? false);
  const kept = async function* (): AsyncGenerator<object> {
    for await (const record of stream) if (seen.seen(record) < 0) yield record;
  };
  const written = await writeRecords(out, kept());
  console.log(
    `${out}: ${number(written)} of ${number(told.records)} records; ${number(told.records - written)} were there before${told.text()}`,
  );
}

/** A source is read while the result is written. */
function refuseItself(from: string, to: string): void {
  if (existsSync(from) && resolve(from) === resolve(to)) throw new ConfigError(`${to} is the source itself; write to another file`);
}

// Reading.

type Told = { records: number; bad: number; skipped: number; text(): string };

/** Records in the order of their rows. A row that cannot be read stops it, unless `skipBad`; counts are complete once the stream has ended. */
async function readable(
  file: string,
  flags: SourceFlags,
  skipBad: boolean,
): Promise<{ kind: RecordKind; stream: AsyncGenerator<Records[RecordKind]>; told: Told }> {
  const { limit = Infinity, ...options } = sourceOptions(flags);
  const { kind, rows } = await openRecords(file, { ...options, ids: 'own' });
  const told: Told = {
    records: 0,
    bad: 0,
    skipped: 0,
    text: () =>
      [
        told.skipped > 0 && `; ${number(told.skipped)} rows without one were left out`,
        told.bad > 0 && `; ${number(told.bad)} could not be read`,
      ]
        .filter(Boolean)
        .join(''),
  };
  const stream = async function* (): AsyncGenerator<Records[RecordKind]> {
    for await (const row of rows) {
      if (row.problem !== undefined) {
        if (row.bad && !skipBad)
          throw new FormatError(`${row.file}:${row.line}: ${row.problem} (--skip-bad leaves such rows out, plumb data check lists them)`);
        told[row.bad ? 'bad' : 'skipped']++;
        continue;
      }
      for (const record of row.records) {
        if (told.records >= limit) return;
        told.records++;
        yield record;
      }
    }
  };
  return { kind, stream: stream(), told };
}

type Gathered = {
  summary?: DataSummary;
  rows: number;
  columns: string[];
  bad: { count: number; first: { place: string; reason: string }[] };
  skipped: Record<string, { count: number; first: string[] }>;
};

async function gather(
  file: string,
  flags: SourceFlags & { tokenizer?: string; maxLength?: string },
  { words }: { words: boolean },
): Promise<Gathered> {
  const { limit = Infinity, ...options } = sourceOptions(flags);
  const tokenizer = flags.tokenizer ? (await import('@plumbline/models')).loadTokenizer(flags.tokenizer) : undefined;
  const maxLength = flags.maxLength === undefined ? undefined : wholeNumber('--max-length', flags.maxLength, 1);
  const { kind, columns, rows } = await openRecords(file, options);
  const summary = kind && dataSummary(kind, { tokenizer, maxLength, words });
  const gathered: Gathered = { rows: 0, columns, bad: { count: 0, first: [] }, skipped: {} };
  const several = new Set<string>();
  let records = 0;
  for await (const row of rows) {
    gathered.rows++;
    several.add(row.file);
    const place = `${several.size > 1 ? `${basename(row.file)}:` : 'line '}${row.line}`;
    if (row.problem !== undefined) {
      if (row.bad) {
        gathered.bad.count++;
        if (gathered.bad.first.length < 10) gathered.bad.first.push({ place, reason: row.problem });
      } else {
        const reason = row.problem.replace(/step .*/, 'a step that is not there'); // one line for all such rows
        gathered.skipped[reason] ??= { count: 0, first: [] };
        const same = gathered.skipped[reason];
        same.count++;
        if (same.first.length < 5) same.first.push(place);
      }
      continue;
    }
    for (const record of row.records) summary?.add(record, place);
    records += row.records.length;
    if (records >= limit) break;
  }
  if (records > 0) gathered.summary = summary?.read();
  return gathered;
}

function sourceOptions({ kind, columns = [], header, split: part, format, limit }: SourceFlags): RecordOptions {
  if (kind !== undefined && !(recordKinds as readonly string[]).includes(kind))
    throw new ConfigError(`--kind ${kind}: the kinds of record are ${recordKinds.join(', ')}`);
  if (format !== undefined && !inputFormats.includes(format))
    throw new ConfigError(`--format ${format}: there are ${inputFormats.join(', ')}`);
  return {
    ...(kind && { kind: kind as RecordKind }),
    ...(columns.length > 0 && { columns: Object.fromEntries(pairs('--columns', columns)) }),
    ...(header !== undefined && { header: header.split(',') }),
    ...(part !== undefined && { split: part }),
    ...(format !== undefined && { format: format as RowFormat }),
    ...(limit !== undefined && { limit: wholeNumber('--limit', limit, 1) }),
  };
}

const inputFormats = ['jsonl', 'json', 'csv', 'tsv', 'txt', 'parquet'];
const outputFormats = ['jsonl', 'json', 'parquet'] as const;

/** `--to` names a kind, a format, or both with a comma between. */
function target(to: string | undefined): [kind?: RecordKind, format?: (typeof outputFormats)[number]] {
  const words = to?.split(',') ?? [];
  const kind = recordKinds.find((one) => words.includes(one));
  const format = outputFormats.find((one) => words.includes(one));
  const unknown = words.find((one) => one !== kind && one !== format);
  if (unknown !== undefined)
    throw new ConfigError(`--to ${unknown}: there are the kinds ${recordKinds.join(', ')} and the formats ${outputFormats.join(', ')}`);
  return [kind, format];
}

function pairs(flag: string, texts: readonly string[]): [string, string][] {
  return texts.map((text) => {
    const [, name, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined || value === undefined) throw new ConfigError(`${flag} ${text}: expected name=value`);
    return [name, value];
  });
}

function real(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new ConfigError(`${flag} must hold numbers, got "${text}"`);
  return value;
}

const number = (n: number): string => n.toLocaleString('en-US');
const share = (part: number, whole: number): string => `${whole === 0 ? 0 : ((100 * part) / whole).toFixed(1)}%`;
const listed = (first: readonly string[], count: number): string => `${first.join(', ')}${count > first.length ? ', …' : ''}`;
