/** `plumb eval`: a reward model, a judge, a step scorer or a language model on the official files of benchmarks. */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  type Benchmark,
  benchmarkRows,
  benchmarks,
  type EvalResult,
  evaluate,
  likelihoodReward,
  prefixSteps,
  readItems,
  type Spent,
  type Subject,
  sharedModel,
  similarityReward,
} from '@plumbline/bench/benchmarks';
import { ConfigError, onInterrupt, rng } from '@plumbline/core';
import type { LanguageModel, PairwiseJudge, RewardFunction } from '@plumbline/data';
import { asEmbeddingModel, asLanguageModel, diskCache, loadEncoder, modelPath, type OpenAiModel, openAiModel } from '@plumbline/models';
import { generativeJudge, logitJudge, ratingJudge, stepJudge, stepwiseToOutcome, yesNoJudge } from '@plumbline/rewards/judge';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { openDecoder } from '../models.js';
import { duration, progress } from '../progress.js';
import { loadReward } from '../serve/load.js';
import { wholeNumber } from '../settings.js';

export type EvalFlags = BackendFlags & {
  data?: string[];
  reward?: string;
  model?: string;
  encoder?: string;
  url?: string;
  endpoints?: string;
  token?: string;
  as?: 'letters' | 'text' | 'rating' | 'likelihood' | 'steps';
  judge?: string;
  judgeUrl?: string;
  storage?: 'f32' | 'bf16' | 'int8';
  limit?: string;
  batch?: string;
  concurrency?: string;
  maxTokens?: string;
  threshold?: string;
  command?: string;
  split?: string;
  seed: string;
  out: string;
  json?: boolean;
  list?: boolean;
};

export async function evalBenchmarks(ids: readonly string[], flags: EvalFlags): Promise<void> {
  if (flags.list || ids.length === 0) {
    for (const { id, title, kind, files } of Object.values(benchmarks))
      console.log(`${pc.bold(id.padEnd(18))} ${title} (${kind})\n${' '.repeat(19)}${pc.dim(files)}`);
    return;
  }
  const chosen = ids.map((id) => {
    const found = Object.hasOwn(benchmarks, id) ? benchmarks[id] : undefined;
    if (!found) throw new ConfigError(`there is no benchmark "${id}"; there are ${Object.keys(benchmarks).join(', ')}`);
    return found;
  });
  if (!flags.data || flags.data.length === 0)
    throw new ConfigError(`--data names the official files of ${chosen[0].title}: ${chosen[0].files}`);
  if (chosen.length > 1 && flags.data.length !== chosen.length)
    throw new ConfigError(
      `--data names one file or folder for each of the ${chosen.length} benchmarks, in their order; there are ${flags.data.length}`,
    );
  const limit = flags.limit === undefined ? undefined : wholeNumber('--limit', flags.limit, 1);
  const items = await Promise.all(
    chosen.map((benchmark, i) => {
      const source = { ...(flags.split && { split: flags.split }), ...(benchmark.header && { header: benchmark.header }) };
      const paths = chosen.length > 1 ? [flags.data![i]] : flags.data!;
      return readItems(benchmark, benchmark.rows?.(paths) ?? benchmarkRows(paths, source));
    }),
  );
  const seed = wholeNumber('--seed', flags.seed);
  const threshold = flags.threshold === undefined ? undefined : Number(flags.threshold);
  if (threshold !== undefined && !Number.isFinite(threshold))
    throw new ConfigError(`--threshold must be a number, got "${flags.threshold}"`);
  if (limit !== undefined)
    for (const [i, all] of items.entries())
      items[i] = Array.from(rng(seed).fork('limit').permutation(all.length).subarray(0, limit))
        .sort((a, b) => a - b)
        .map((at) => all[at]);
  const counts = tokenCounts();
  const subjectOf = await loadSubject(flags, counts);
  const judge = await loadJudge(flags, counts);
  const signal = onInterrupt();
  const results: EvalResult[] = [];
  for (const [i, benchmark] of chosen.entries()) {
    const subject = subjectOf(benchmark);
    const name = nameOf(subject);
    const dir = join(flags.out, `${benchmark.id}-${name.replaceAll(/[^\p{L}\p{N}.-]+/gu, '_').slice(0, 60)}`);
    const bar = progress(benchmark.title, items[i].length, 'items');
    try {
      const { result, reportPath } = await evaluate(benchmark, {
        items: items[i],
        subject,
        dir,
        seed,
        signal,
        batch: flags.batch ? wholeNumber('--batch', flags.batch, 1) : Math.max(16, 2 * requestsAtOnce(flags)),
        spent: counts.read,
        identity: identityOf(flags),
        ...(judge && { judge }),
        ...(threshold !== undefined && { threshold }),
        ...(flags.command && { command: flags.command }),
        onProgress: (done, _total, note) => bar.update(done, [note, counts.note()].filter(Boolean).join(', ')),
      });
      bar.stop();
      results.push(result);
      if (!flags.json) print(result, reportPath);
    } finally {
      bar.stop();
    }
  }
  if (flags.json) console.log(JSON.stringify(results.length === 1 ? results[0] : results, null, 2));
}

/** The servers of `--endpoints`, or of `--url`. */
function serversOf({ url, endpoints }: EvalFlags): string[] {
  const named = (endpoints ?? url)?.split(',').map((one) => one.trim());
  if (named?.includes('')) throw new ConfigError(`--endpoints ${endpoints ?? url}: expected URLs with commas between`);
  return named ?? [];
}
const requestsAtOnce = (flags: EvalFlags): number => serversOf(flags).length * wholeNumber('--concurrency', flags.concurrency ?? '8', 1);

type Counts = ReturnType<typeof tokenCounts>;
/** Tokens and requests of all models of this command. */
function tokenCounts() {
  const servers: OpenAiModel[] = [];
  let written = 0;
  const read = (): Omit<Spent, 'seconds'> => {
    const sum = (what: keyof OpenAiModel['counts']) => servers.reduce((total, { counts }) => total + counts[what], 0);
    if (servers.length === 0) return written > 0 ? { completionTokens: written } : {};
    return {
      promptTokens: sum('promptTokens'),
      completionTokens: sum('completionTokens') + written,
      requests: sum('requests'),
      retries: sum('retries'),
      cached: sum('cached'),
    };
  };
  return {
    read,
    note(): string {
      const { promptTokens = 0, completionTokens = 0 } = read();
      return promptTokens + completionTokens > 0 ? `${(promptTokens + completionTokens).toLocaleString('en-US')} tokens` : '';
    },
    server<T extends OpenAiModel>(model: T): T {
      servers.push(model);
      return model;
    },
    local(model: LanguageModel): LanguageModel {
      const generate: LanguageModel['generate'] = async (...asked) => {
        const answers = await model.generate(...asked);
        for (const samples of answers) for (const { tokens } of samples) written += tokens.length;
        return answers;
      };
      return { ...model, generate };
    },
  };
}

/** A model on this machine, or on servers. */
async function loadModel(name: string, urls: readonly string[], flags: EvalFlags, counts: Counts): Promise<LanguageModel> {
  if (urls.length === 0) {
    const model = asLanguageModel(await openDecoder(name, { storage: flags.storage }));
    return counts.local({ ...model, name: tellingName(name, model.name) });
  }
  const servers = urls.map((url) =>
    counts.server(
      openAiModel({
        url,
        model: name,
        apiKey: flags.token ?? process.env.OPENAI_API_KEY,
        plain: 'chat',
        cache: diskCache(join(flags.out, 'cache')),
        ...(flags.concurrency && { concurrency: wholeNumber('--concurrency', flags.concurrency, 1) }),
      }),
    ),
  );
  return servers.length === 1 ? servers[0] : sharedModel(servers);
}

/** Who compares critiques with references. */
async function loadJudge(flags: EvalFlags, counts: Counts): Promise<PairwiseJudge | undefined> {
  if (flags.judge === undefined) {
    if (flags.judgeUrl !== undefined) throw new ConfigError('--judge-url needs the name of the model there: --judge');
    return undefined;
  }
  const model = await loadModel(flags.judge, flags.judgeUrl ? [flags.judgeUrl] : [], flags, counts);
  return model.can.score ? logitJudge(model) : generativeJudge(model);
}

/** What is judged, from the flags: loaded once, fitted to each benchmark. */
async function loadSubject(flags: EvalFlags, counts: Counts): Promise<(benchmark: Benchmark) => Subject> {
  const given = (['reward', 'encoder', 'model'] as const).filter((name) => flags[name] !== undefined);
  if (given.length !== 1)
    throw new ConfigError(
      `name what is judged by one of --reward, --model (with --url or --endpoints: the model on those servers) and --encoder${given.length > 1 ? `, not ${given.map((name) => `--${name}`).join(' and ')}` : ''}`,
    );
  const urls = serversOf(flags);
  if (urls.length > 0 && flags.model === undefined)
    throw new ConfigError('--url and --endpoints need the name of the model there: --model');
  if (urls.length === 0 || (flags.judge !== undefined && flags.judgeUrl === undefined)) await startBackend(flags);
  if (flags.reward !== undefined || flags.encoder !== undefined) {
    const loaded =
      flags.reward !== undefined ? await loadReward(flags.reward) : similarityReward(asEmbeddingModel(await loadEncoder(flags.encoder!)));
    const reward: RewardFunction = {
      name: tellingName(flags.reward ?? flags.encoder!, loaded.name),
      score: (...asked) => loaded.score(...asked),
    };
    return (benchmark) => {
      if (benchmark.kind === 'preference') return { kind: 'reward', reward };
      if (benchmark.kind === 'steps') return { kind: 'steps', steps: prefixSteps(reward) };
      throw new ConfigError(`${benchmark.title} asks for answers: name a language model by --model`);
    };
  }
  const model = await loadModel(flags.model!, urls, flags, counts);
  const how = flags.as ?? (model.can.score && urls.length === 0 ? 'letters' : 'text');
  const written = { maxTokens: wholeNumber('--max-tokens', flags.maxTokens ?? '512', 1) };
  return (benchmark) => {
    if (benchmark.kind === 'answers')
      return { kind: 'model', model, sampling: { ...(flags.maxTokens && { maxTokens: wholeNumber('--max-tokens', flags.maxTokens, 1) }) } };
    if (how === 'likelihood') {
      const reward = likelihoodReward(model);
      return benchmark.kind === 'preference' ? { kind: 'reward', reward } : { kind: 'steps', steps: prefixSteps(reward) };
    }
    const steps = () => stepJudge(model, { byProbability: model.can.score && how !== 'text' });
    if (benchmark.kind === 'steps') return { kind: 'steps', steps: steps() };
    if (how === 'steps') {
      const judge = steps();
      const reward = { ...stepwiseToOutcome(judge, 'mean'), report: judge.report };
      return { kind: 'reward', reward };
    }
    if (how === 'rating' || (benchmark.scoresOnly && how === 'text')) return { kind: 'reward', reward: ratingJudge(model, written) };
    if (benchmark.scoresOnly) return { kind: 'reward', reward: yesNoJudge(model) };
    return { kind: 'judge', judge: how === 'letters' ? logitJudge(model) : generativeJudge(model, written) };
  };
}

/** A run's model lies in a folder called `model` or `final`: the run says which. */
function tellingName(path: string, name: string): string {
  const folder = resolve(path);
  return /^(model|final|best|policy|adapter)$/.test(basename(folder)) && existsSync(folder)
    ? name.replace(basename(folder), basename(dirname(folder)))
    : name;
}

/** A hash of the weights' beginnings, ends and sizes, and the settings that change what is answered and how it is checked. */
function identityOf({ reward, encoder, model, url, endpoints, as, storage, maxTokens, command, judge, judgeUrl }: EvalFlags): string {
  const hash = createHash('sha256').update(JSON.stringify({ as, storage, maxTokens, command, judge, judgeUrl }));
  const name = reward ?? encoder ?? (url === undefined && endpoints === undefined ? model : undefined);
  const path = name?.startsWith('zoo:') ? modelPath(name) : name;
  if (path !== undefined && existsSync(path)) {
    const files = statSync(path).isDirectory()
      ? readdirSync(path)
          .filter((file) => /\.(json|ya?ml|safetensors|gguf)$/.test(file))
          .sort()
      : [''];
    for (const file of files) {
      const from = join(path, file);
      const { size } = statSync(from);
      hash.update(`${file}:${size};`);
      const open = openSync(from, 'r');
      try {
        const bytes = Buffer.alloc(Math.min(size, 1 << 16));
        for (const at of [0, size - bytes.length]) hash.update(bytes.subarray(0, readSync(open, bytes, 0, bytes.length, at)));
      } finally {
        closeSync(open);
      }
    }
  }
  return hash.digest('hex').slice(0, 16);
}

const nameOf = (subject: Subject): string =>
  subject.kind === 'reward'
    ? subject.reward.name
    : subject.kind === 'judge'
      ? subject.judge.name
      : subject.kind === 'steps'
        ? subject.steps.name
        : subject.model.name;

function print(result: EvalResult, reportPath: string): void {
  console.log(`\n${pc.bold(result.title)}: ${result.subject}\n`);
  const width = Math.max(...result.numbers.map(({ name }) => name.length)) + 2;
  for (const { name, level, value, n, ci95 } of result.numbers) {
    const shown = `${level === 'subset' ? '  ' : ''}${name}`.padEnd(width);
    const interval = ci95 ? ` [${ci95[0].toFixed(3)}, ${ci95[1].toFixed(3)}]` : '';
    console.log(
      `  ${level === 'overall' ? pc.bold(shown) : shown} ${Number.isFinite(value) ? value.toFixed(3) : '–'}${interval}  ${pc.dim(String(n))}`,
    );
  }
  if (result.orders)
    console.log(
      `\n  both orders agree in ${(100 * result.orders.agreement).toFixed(0)}%, the first shown is taken in ${(100 * result.orders.firstShown).toFixed(0)}% of ${result.orders.pairs} pairs`,
    );
  if (result.missing > 0)
    console.log(pc.yellow(`\n  ${result.missing} items without an outcome are left out; the first: ${result.firstError}`));
  const { seconds, promptTokens, completionTokens, requests, retries, cached, verdicts = 0, unparsed = 0 } = result.spent;
  if (unparsed > 0)
    console.log(
      pc.yellow(`\n  ${unparsed} of ${verdicts} answers of the judge could not be read: a pair is undecided then, a step stands at 0.5`),
    );
  const count = (n: number, what: string) => `${n.toLocaleString('en-US')} ${what}`;
  const took = [
    `${result.items} items in ${duration(seconds)}`,
    requests !== undefined && count(requests, requests === 1 ? 'request' : 'requests'),
    retries && count(retries, 'asked again'),
    cached && count(cached, 'kept from before'),
    promptTokens && count(promptTokens, 'tokens read'),
    completionTokens && count(completionTokens, 'tokens written'),
  ].filter(Boolean);
  console.log(`\n${took.join(', ')}. Report: ${pc.cyan(resolve(reportPath))}`);
}
