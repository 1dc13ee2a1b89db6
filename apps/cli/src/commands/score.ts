/** `plumb score`: what a reward gives the completions of a file, written beside them. */
import { ConfigError, rng } from '@plumbline/core';
import { type Candidate, type Completion, openRecords, type Prompt, type Records, writeRecords } from '@plumbline/data';
import { standardDeviation, wilsonInterval } from '@plumbline/data/statistics';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { loadReward } from '../serve/load.js';
import { wholeNumber } from '../settings.js';
import { stopSignal, unlessStopped } from '../stop.js';

export type ScoreFlags = BackendFlags & {
  reward: string;
  out: string;
  format?: 'openrlhf' | 'vllm-classify' | 'vllm-score';
  token?: string;
  batch: string;
  limit?: string;
  json?: boolean;
};
export type ScoreSummary = {
  reward: string;
  rows: number;
  skipped: number;
  scored: number;
  abstained: number;
  mean: number | null;
  sd: number | null;
  /** Of preference pairs: share whose chosen side scores higher, a tie counting as wrong. */
  accuracy?: { mean: number; low: number; high: number; pairs: number };
  out: string;
};
type Item = { row: Record<string, unknown>; candidates: Candidate[]; columns: string[] };

export async function score(file: string, options: ScoreFlags): Promise<void> {
  const size = wholeNumber('--batch', options.batch, 1);
  const most = options.limit === undefined ? Infinity : wholeNumber('--limit', options.limit, 1);
  if (/^https?:/.test(options.reward) === false && options.format !== undefined)
    throw new ConfigError('--format says how to ask a server; --reward is none');
  const needsBackend = !/^https?:|\.(ya?ml|json)$/i.test(options.reward);
  if (needsBackend) await startBackend(options);
  const signal = stopSignal('stopping; once more to stop at once');
  const reward = await loadReward(options.reward, {
    ...(options.format && { format: options.format }),
    ...(options.token && { token: options.token }),
  });
  const { rows } = await openRecords(file);
  const values: number[] = [];
  const margins: number[] = [];
  let [count, skipped, abstentions, why] = [0, 0, 0, undefined as string | undefined];

  async function* scored(): AsyncGenerator<object> {
    let waiting: Item[] = [];
    for await (const row of rows) {
      signal.throwIfAborted();
      if (row.records === undefined) {
        skipped++;
        why ??= `line ${row.line}: ${row.problem}`;
        continue;
      }
      for (const record of row.records) waiting.push(itemOf(record as Records[keyof Records], row.row));
      count++;
      if (waiting.length >= size) {
        yield* await scoreItems(waiting);
        waiting = [];
      }
      if (count >= most) break;
    }
    if (waiting.length > 0) yield* await scoreItems(waiting);
  }

  async function scoreItems(items: Item[]): Promise<object[]> {
    const { scores, abstained } = await reward.score(
      items.flatMap(({ candidates }) => candidates),
      { rng: rng(0), signal },
    );
    let at = 0;
    return items.map(({ row, candidates, columns }) => {
      const own = candidates.map((): number | null => {
        const value = abstained?.[at] === 1 ? null : scores[at];
        at++;
        if (value === null) abstentions++;
        else values.push(value);
        return value;
      });
      if (columns[0] === 'chosen_score' && own[0] !== null && own[1] !== null) margins.push(own[0] - own[1]);
      return { ...row, ...(columns[0] === 'scores' ? { scores: own } : Object.fromEntries(columns.map((column, i) => [column, own[i]]))) };
    });
  }

  await unlessStopped(signal, writeRecords(options.out, scored()));
  if (count === 0) throw new ConfigError(`${file}: nothing to score${why ? ` (${why})` : ''}`);
  const right = margins.filter((margin) => margin > 0).length;
  const summary: ScoreSummary = {
    reward: reward.name,
    rows: count,
    skipped,
    scored: values.length,
    abstained: abstentions,
    mean: values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : null,
    sd: values.length > 1 ? standardDeviation(values) : null,
    ...(margins.length > 0 && { accuracy: { ...pick(wilsonInterval(right, margins.length)), pairs: margins.length } }),
    out: options.out,
  };
  if (options.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  console.log(
    `${summary.scored} completions of ${count} rows scored by ${summary.reward}${summary.mean === null ? '' : `: mean ${summary.mean.toFixed(3)}${summary.sd === null ? '' : `, sd ${summary.sd.toFixed(3)}`}`}.`,
  );
  if (abstentions > 0) console.log(`It abstained on ${abstentions} (null in the file).`);
  if (skipped > 0) console.log(`${skipped} rows could not be read (${why}).`);
  if (summary.accuracy) {
    const percent = (x: number) => `${Math.round(100 * x)}%`;
    const { mean, low, high, pairs } = summary.accuracy;
    console.log(`The chosen side scores higher in ${percent(mean)} of ${pairs} pairs [${percent(low)}, ${percent(high)}].`);
  }
  console.log(pc.cyan(options.out));
}

const pick = ({ mean, low, high }: { mean: number; low: number; high: number }) => ({ mean, low, high });

/** What of a record is scored, and under which columns the scores go. The record's other columns are the candidate's `meta`. */
function itemOf(record: Records[keyof Records], row: Record<string, unknown> = {}): Item {
  const { prompt, completion, chosen, rejected, completions, messages } = record as {
    prompt?: Prompt;
    completion?: Completion;
    chosen?: Completion;
    rejected?: Completion;
    completions?: readonly Completion[];
    messages?: readonly { role: string; content: string }[];
  };
  const meta = { ...row, ...((record as { meta?: Record<string, unknown> }).meta ?? {}) };
  const one = (of: Prompt, text: Completion): Candidate => ({ prompt: of, completion: text, meta });
  if (prompt !== undefined && chosen !== undefined && rejected !== undefined)
    return { row, candidates: [one(prompt, chosen), one(prompt, rejected)], columns: ['chosen_score', 'rejected_score'] };
  if (prompt !== undefined && completion !== undefined) return { row, candidates: [one(prompt, completion)], columns: ['score'] };
  if (prompt !== undefined && completions !== undefined) {
    const steps = 'labels' in record; // a solution in steps is one completion
    if (steps) return { row, candidates: [one(prompt, completions.join('\n'))], columns: ['score'] };
    return { row, candidates: completions.map((text) => one(prompt, text)), columns: ['scores'] };
  }
  if (messages && messages.at(-1)?.role === 'assistant')
    return { row, candidates: [one(messages.slice(0, -1), messages.slice(-1))], columns: ['score'] };
  throw new ConfigError(`a row has no completion to score; it holds ${Object.keys(row).join(', ')}`);
}
