/** `plumb judge`: which answer of each pair a language model prefers, and how far it agrees with people. */
import { existsSync } from 'node:fs';
import { ConfigError, rng } from '@plumbline/core';
import {
  type Completion,
  type LanguageModel,
  openRecords,
  type PairVerdict,
  type PairwiseJudge,
  type Prompt,
  type Row,
  type Rubric,
  readRows,
  writeRecords,
} from '@plumbline/data';
import { wilsonInterval } from '@plumbline/data/statistics';
import { asLanguageModel, openAiModel } from '@plumbline/models';
import {
  calibrateJudge,
  debiased,
  generativeJudge,
  logitJudge,
  type PairCalibration,
  type PairLabel,
  type ReportingJudge,
  rubricFrom,
  type Share,
} from '@plumbline/rewards/judge';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { modelParts, openDecoder } from '../models.js';
import { wholeNumber } from '../settings.js';
import { stopSignal, unlessStopped } from '../stop.js';
import { readYaml } from '../yaml.js';

export type JudgeFlags = BackendFlags & {
  model?: string;
  url?: string;
  token?: string;
  rubric?: string;
  swap?: boolean;
  votes: string;
  verdict?: 'text' | 'letters';
  maxTokens: string;
  calibrate?: string | true;
  out?: string;
  limit?: string;
  seed: string;
  storage?: 'f32' | 'bf16' | 'int8';
  json?: boolean;
};
type Pair = { prompt: Prompt; a: Completion; b: Completion; label?: 'a' | 'b' | 'tie'; id: string };

export async function judge(file: string, flags: JudgeFlags): Promise<void> {
  if (flags.model === undefined)
    throw new ConfigError('--model names the judge: a local model, or with --url the model on the server (plumb judge --help)');
  const votes = wholeNumber('--votes', flags.votes, 1);
  const most = flags.limit === undefined ? Infinity : wholeNumber('--limit', flags.limit, 1);
  const rubric = flags.rubric === undefined ? undefined : readRubric(flags.rubric);
  const seed = rng(wholeNumber('--seed', flags.seed));
  const pairs = await readPairs(file, most);
  const labels = flags.calibrate === undefined ? undefined : flags.calibrate === true ? pairs : await readPairs(flags.calibrate, most);
  if (labels && !labels.some(({ label }) => label !== undefined))
    throw new ConfigError(
      `${flags.calibrate === true ? file : flags.calibrate}: no row says which answer people prefer (chosen and rejected, or a label a, b or tie)`,
    );
  const signal = stopSignal('stopping; once more to stop at once');
  const model = await judgeModel(flags);
  const verdict = flags.verdict ?? (model.can.score && flags.url === undefined ? 'letters' : 'text');
  if (verdict === 'letters' && votes > 1)
    throw new ConfigError('--votes samples written verdicts; --verdict letters has probabilities instead');
  const plain: ReportingJudge =
    verdict === 'letters'
      ? logitJudge(model, { rubric })
      : generativeJudge(model, { rubric, votes, maxTokens: wholeNumber('--max-tokens', flags.maxTokens, 1) });
  const both = flags.swap ? debiased(plain) : undefined;
  const used: PairwiseJudge = both ?? plain;

  if (labels) {
    const known = labels.filter((pair): pair is Pair & { label: 'a' | 'b' | 'tie' } => pair.label !== undefined);
    const found = await unlessStopped(signal, calibrateJudge(used, known as PairLabel[], { ctx: { rng: seed, signal } }));
    if (flags.json) console.log(JSON.stringify({ judge: used.name, ...found, report: plain.report }, null, 2));
    else console.log(calibrationText(used.name, found));
    return;
  }

  const verdicts: PairVerdict[] = [];
  async function* judged(): AsyncGenerator<object> {
    for (let from = 0; from < pairs.length; from += 32) {
      signal.throwIfAborted();
      const some = pairs.slice(from, from + 32);
      // A file's chosen side always stands first: shown so, a judge that likes the first would look right.
      const turned = some.map((pair) => seed.fork('shown', pair.id).below(2) === 1);
      const found = await used.compare(
        some.map(({ prompt, a, b }, i) => (turned[i] ? { prompt, a: b, b: a } : { prompt, a, b })),
        { rng: seed.fork('judge', from), signal },
      );
      for (const [i, { prompt, a, b, label, id }] of some.entries()) {
        const one = turned[i] ? mirrored(found[i]) : found[i];
        verdicts.push(one);
        yield {
          id,
          prompt,
          a,
          b,
          ...(label && { label }),
          winner: one.winner,
          probA: one.probA,
          parsed: one.parsed,
          ...(turned[i] && { shownSwapped: true }),
          ...(one.rationale && { rationale: one.rationale }),
        };
      }
    }
  }
  const shown = async () => {
    for await (const row of judged()) if (!flags.json) console.log(JSON.stringify(row));
  };
  await unlessStopped<unknown>(signal, flags.out ? writeRecords(flags.out, judged()) : shown());

  const counted = (winner: string) => verdicts.filter((one) => one.parsed && one.winner === winner).length;
  const decided = pairs.flatMap(({ label }, i) => (label && label !== 'tie' && verdicts[i].parsed ? [verdicts[i].winner === label] : []));
  const summary = {
    judge: used.name,
    pairs: pairs.length,
    a: counted('a'),
    b: counted('b'),
    ties: counted('tie'),
    unparsed: verdicts.filter(({ parsed }) => !parsed).length,
    report: plain.report,
    ...(both && Number.isFinite(both.consistency) && { consistency: both.consistency }),
    ...(decided.length > 0 && {
      agreement: { ...pick(wilsonInterval(decided.filter(Boolean).length, decided.length)), pairs: decided.length },
    }),
    ...(flags.out && { out: flags.out }),
  };
  if (summary.unparsed === summary.pairs) process.exitCode = 1; // nothing was judged
  if (flags.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  const percent = (x: number) => `${Math.round(100 * x)}%`;
  console.error(`${summary.pairs} pairs judged by ${summary.judge}: a better in ${summary.a}, b in ${summary.b}, ${summary.ties} ties.`);
  if (summary.unparsed > 0)
    console.error(
      pc.yellow(
        `${summary.unparsed} without a verdict (${plain.report.errors} failed calls), counted as ties; for instance ${JSON.stringify(plain.report.examples[0]?.slice(0, 200))}`,
      ),
    );
  if (summary.consistency !== undefined) console.error(`Both orders name the same winner in ${percent(summary.consistency)}.`);
  if (summary.agreement)
    console.error(
      `Agrees with the preferred side in ${percent(summary.agreement.mean)} of ${summary.agreement.pairs} [${percent(summary.agreement.low)}, ${percent(summary.agreement.high)}].`,
    );
  if (flags.out) console.error(pc.cyan(flags.out));
}

async function judgeModel(flags: JudgeFlags): Promise<LanguageModel> {
  if (flags.url !== undefined)
    return openAiModel({ url: flags.url, model: flags.model!, apiKey: flags.token ?? process.env.OPENAI_API_KEY, plain: 'chat' });
  modelParts(flags.model!); // an error now, not after the start of the backend
  await startBackend(flags);
  return asLanguageModel(await openDecoder(flags.model!, { storage: flags.storage }));
}

function readRubric(path: string): Rubric {
  if (!existsSync(path)) throw new ConfigError(`--rubric ${path}: there is no such file`);
  return rubricFrom(readYaml(path));
}

/** Rows with `prompt`, `a`, `b` and perhaps a `label`, or preference pairs of any of the field's formats (a is the chosen side). */
async function readPairs(file: string, most: number): Promise<Pair[]> {
  const [first] = await readRows(file, { limit: 1 });
  if (first && 'a' in first && 'b' in first)
    return (await readRows(file, { limit: most })).map((row, i) => pairOf(row, `${file}:${i + 1}`));
  const { rows } = await openRecords(file, { kind: 'preference' });
  const pairs: Pair[] = [];
  for await (const row of rows) {
    for (const { prompt, chosen, rejected, id } of row.records ?? [])
      if (pairs.length < most) pairs.push({ prompt, a: chosen, b: rejected, label: 'a', id: id ?? String(pairs.length) });
    if (pairs.length >= most) break;
  }
  if (pairs.length === 0) throw new ConfigError(`${file}: no pairs to judge; rows hold prompt, a and b, or prompt, chosen and rejected`);
  return pairs;
}

function pairOf(row: Row, where: string): Pair {
  const { prompt, a, b, label, id } = row;
  const text = (x: unknown): x is Prompt => typeof x === 'string' || Array.isArray(x);
  if (!text(prompt) || !text(a) || !text(b)) throw new ConfigError(`${where}: prompt, a and b must each be text or messages`);
  if (label !== undefined && label !== null && label !== 'a' && label !== 'b' && label !== 'tie')
    throw new ConfigError(`${where}: the label is ${JSON.stringify(label)}; it must be a, b or tie`);
  return { prompt, a, b, id: typeof id === 'string' ? id : where, ...(label && { label: label as 'a' | 'b' | 'tie' }) };
}

const flip = { a: 'b', b: 'a', tie: 'tie' } as const;
const mirrored = (one: PairVerdict): PairVerdict => ({
  ...one,
  winner: flip[one.winner],
  probA: 1 - one.probA,
  ...(one.logOdds !== undefined && { logOdds: -one.logOdds }),
});
const pick = ({ mean, low, high }: { mean: number; low: number; high: number }) => ({ mean, low, high });

export function calibrationText(
  name: string,
  { labels, unparsed, compared, kappa, accuracy, truePositiveRate, trueNegativeRate, ties, position, length, warnings }: PairCalibration,
): string {
  const share = ({ value, low, high, n }: Share) =>
    n === 0 ? 'none to count' : `${(100 * value).toFixed(0)}% [${(100 * low).toFixed(0)}, ${(100 * high).toFixed(0)}] of ${n}`;
  const rows = [
    ['labels', `${labels}, of which ${compared} were judged and ${unparsed} were not`],
    ["Cohen's kappa", `${kappa.value.toFixed(3)} [${kappa.low.toFixed(3)}, ${kappa.high.toFixed(3)}]`],
    ['agreement', share(accuracy)],
    ['where people prefer the first', share(truePositiveRate)],
    ['where people prefer the second', share(trueNegativeRate)],
    ['ties', `${ties.people} by people, ${ties.judge} by the judge`],
    ['both orders agree', share(position.consistency)],
    ['the first one wins', `${share(position.firstWins)} (50% is no bias)`],
    ['the longer one wins', `${share(length.longerWins.judge)} by the judge, ${share(length.longerWins.people)} by people`],
    ['agreement, longer preferred', share(length.accuracyWhenLonger)],
    ['agreement, shorter preferred', share(length.accuracyWhenShorter)],
  ];
  const width = Math.max(...rows.map(([what]) => what.length));
  return [
    `${name} against people`,
    ...rows.map(([what, value]) => `  ${what.padEnd(width)}  ${value}`),
    ...warnings.map((warning) => pc.yellow(`  ${warning}`)),
  ].join('\n');
}
