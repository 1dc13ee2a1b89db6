/** Continuous batching: requests come and go, and each step of the model serves all of them that it can. */
import { ConfigError, type Rng, sampleTokens } from '@plumbline/core';
import type { Generation, KvCache, TokenMask } from '@plumbline/data';
import type { LocalDecoder } from '../decoder/decoder.js';
import { createSampler, type SamplingRule } from './sampling.js';
import { cutAtStop, type TextStream, textStream } from './text.js';

/** A token as it comes. `text` is what it makes certain of the text, often nothing, since a character may need several tokens. */
export type TokenPiece = {
  sample: number;
  index: number;
  token: number;
  logp: number;
  text: string;
  /** The likeliest tokens instead, where they were asked for. */
  top?: { token: number; logp: number }[];
  finish?: Generation['finish'];
};

export type EngineRequest = {
  prompt: Int32Array;
  /** Samples of this prompt, which is computed once for all of them. */
  n: number;
  maxTokens: number;
  rule: SamplingRule;
  /** Divides what is positive, multiplies what is negative among the logits of tokens that were there already, the prompt's too; 1 is off. */
  repetitionPenalty: number;
  stopIds: ReadonlySet<number>;
  stop: readonly string[];
  mask?: TokenMask;
  /** The random stream of a sample, one number a token. */
  rngOf(sample: number): Rng;
  signal?: AbortSignal;
  /** Told of each token at once; what it throws ends the request. */
  onToken?(piece: TokenPiece): void;
  /** How many of the likeliest tokens `onToken` is told of. */
  top?: number;
};

export type EngineOptions = {
  /** Sequences decoded at once; 64 unless said otherwise. */
  maxRows?: number;
  /** Memory of the key-value cache; a GiB unless said otherwise, and never less than one sequence as long as the context needs. */
  cacheBytes?: number;
  /** The longest sequence that will come, prompt and continuation; the context unless said otherwise. */
  maxTokens?: number;
  /** Tokens in a block of the cache, a multiple of 16. */
  blockTokens?: number;
  /** Tokens of prompts that one step computes at most, beside the sequences under way; longer prompts take several steps. */
  stepTokens?: number;
  /** Told after each step of the tokens that it ran, and of those generated and the sequences ended so far. */
  onStep?(step: { tokens: number; generated: number; ended: number }): void;
};

export interface Engine {
  /** The samples, once all have ended. A request that is aborted keeps what it has, with `finish: 'aborted'`. */
  submit(request: EngineRequest): Promise<Generation[]>;
  /** How many requests have not ended. */
  readonly pending: number;
  /** Ends all requests with an error and frees the cache, once the step under way is done. */
  dispose(): Promise<void>;
}

type Sequence = {
  sample: number;
  row: number;
  uniforms: Float32Array;
  tokens: number[];
  logps: number[];
  finish?: Generation['finish'];
  stream?: TextStream;
};
type Job = EngineRequest & {
  room: number;
  /** The cache row of the prompt, until all samples have begun. */
  promptRow: number;
  computed: number;
  first?: Float32Array; // logits after the prompt
  begun: number;
  sequences: Sequence[];
  seen?: Uint8Array; // tokens of the prompt, for the penalty
  resolve(samples: Generation[]): void;
  reject(error: unknown): void;
};

/**
 * Runs requests over one decoder, whose weights must not change while there are any.
 *
 * Every step runs the newest token of each sequence and, up to `stepTokens`, prompts that wait, oldest first. A sequence that ends leaves its row
 * and its blocks of the cache to the next. A prompt is computed once; its samples share its blocks. What a sequence becomes depends on the model,
 * its prompt and its random stream alone: to the bit on `native`, `wasm` and `cpu`, to rounding elsewhere.
 */
export function createEngine(decoder: LocalDecoder, options: EngineOptions = {}): Engine {
  const { spec } = decoder;
  const { maxRows = 64, blockTokens = 32, stepTokens = 512, onStep } = options;
  const longest = Math.min(options.maxTokens ?? decoder.contextLength, decoder.contextLength);
  const blockBytes = 2 * 4 * spec.layers * spec.kvHeads * spec.headDim * blockTokens;
  const blocksOf = (tokens: number) => Math.ceil(tokens / blockTokens);
  const blocks = Math.max(
    blocksOf(longest) + 1,
    // A prompt that shares no block with its samples takes one more than they do.
    Math.min(maxRows * (blocksOf(longest) + 1), Math.floor((options.cacheBytes ?? 2 ** 30) / blockBytes)),
  );
  const { vocabSize } = spec;
  const sample = createSampler(vocabSize);
  const waiting: Job[] = []; // oldest first
  let prompts: Job[] = []; // have a row for their prompt, oldest first
  let active: { job: Job; sequence: Sequence }[] = [];
  let cache: KvCache | undefined;
  const rows = new Set(Array.from({ length: 2 * maxRows }, (_, row) => row)); // half for prompts, half for sequences
  let promptRows = maxRows;
  let sequenceRows = maxRows;
  let freeBlocks = blocks;
  let running: Promise<void> | undefined;
  let disposed = false;
  let generated = 0;
  let ended = 0;
  const failed = new WeakSet<Job>();

  const takeRow = (): number => {
    const [row] = rows;
    rows.delete(row);
    return row;
  };
  const giveRow = (row: number) => {
    cache!.free(Int32Array.of(row));
    rows.add(row);
  };
  // Blocks are reserved at the worst case, so that the cache never runs out in the middle of a sequence.
  const promptBlocks = (job: Job) => blocksOf(job.prompt.length);
  const ownBlocks = (job: Job) => blocksOf(job.prompt.length + job.room) - Math.floor(job.prompt.length / blockTokens);

  const leavePrompt = (job: Job) => {
    if (job.promptRow < 0) return;
    giveRow(job.promptRow);
    job.promptRow = -1;
    promptRows++;
    // Full blocks stay with the sequences that share them until the last one ends.
    freeBlocks += job.sequences.some((s) => s.row >= 0) ? promptBlocks(job) - fullBlocks(job) : promptBlocks(job);
    prompts = prompts.filter((other) => other !== job);
  };
  const fullBlocks = (job: Job) => Math.floor(job.prompt.length / blockTokens);
  const leaveRow = (job: Job, sequence: Sequence) => {
    if (sequence.row < 0) return;
    giveRow(sequence.row);
    sequence.row = -1;
    sequenceRows++;
    freeBlocks += ownBlocks(job);
    if (job.promptRow < 0 && !job.sequences.some((s) => s.row >= 0)) freeBlocks += fullBlocks(job);
  };
  /** Takes a job off everything. */
  const drop = (job: Job) => {
    for (const sequence of job.sequences) leaveRow(job, sequence);
    leavePrompt(job);
    active = active.filter((other) => other.job !== job);
    const at = waiting.indexOf(job);
    if (at >= 0) waiting.splice(at, 1);
  };
  const fail = (job: Job, error: unknown) => {
    drop(job);
    job.reject(error);
  };
  const finish = (job: Job) => {
    drop(job);
    job.resolve(
      Array.from({ length: job.n }, (_, i) => {
        const { tokens = [], logps = [], finish: why = 'aborted' as const } = job.sequences[i] ?? {};
        return { text: textOf(job, tokens), tokens: Int32Array.from(tokens), samplingLogps: Float32Array.from(logps), finish: why };
      }),
    );
  };
  const textOf = (job: Job, tokens: readonly number[]) => cutAtStop(decoder.tokenizer.decode(tokens, { skipSpecial: true }), job.stop);

  /** Gives each of the sequences its next token, from its row of `logits`. */
  const advance = (batch: readonly { job: Job; sequence: Sequence }[], logits: Float32Array, shared: boolean) => {
    for (let from = 0; from < batch.length; ) {
      // Neighbours with the same rule are drawn at once, where the backend draws by itself.
      const { job } = batch[from];
      let to = from + 1;
      while (to < batch.length && sameRule(batch[to].job.rule, job.rule)) to++;
      const part = batch.slice(from, to);
      const changed = part.some(({ job: j }) => j.mask || j.repetitionPenalty !== 1);
      const at = (i: number) => (shared ? 0 : from + i) * vocabSize;
      // Samples of one prompt begin from the same logits, which each may change for itself.
      const own = shared && (changed || part.length > 1);
      const values = own ? new Float32Array(part.length * vocabSize) : logits.subarray(at(0), at(0) + part.length * vocabSize);
      if (own) for (let i = 0; i < part.length; i++) values.set(logits.subarray(0, vocabSize), i * vocabSize);
      const ready = part.map(({ job: j, sequence }, i) =>
        attempt(j, () => prepare(j, sequence, values.subarray(i * vocabSize, (i + 1) * vocabSize))),
      );
      const drawn = sampleTokens({
        ...job.rule,
        logits: values,
        uniforms: Float32Array.from(part, ({ sequence }) => sequence.uniforms[sequence.tokens.length]),
      });
      part.forEach(({ job: j, sequence }, i) => {
        const row = values.subarray(i * vocabSize, (i + 1) * vocabSize);
        if (!ready[i] || sequence.finish) return;
        attempt(j, () => {
          const { token, logp } =
            drawn && drawn.tokens[i] >= 0
              ? { token: drawn.tokens[i], logp: drawn.logps[i] }
              : sample(row, j.rule, sequence.uniforms[sequence.tokens.length]); // which also says what is wrong with a row that cannot be drawn from
          take(j, sequence, token, logp, row);
        });
      });
      from = to;
    }
  };
  const attempt = (job: Job, f: () => void): boolean => {
    if (failed.has(job)) return false;
    try {
      f();
      return true;
    } catch (error) {
      failed.add(job);
      fail(job, error);
      return false;
    }
  };
  const prepare = (job: Job, { tokens }: Sequence, logits: Float32Array) => {
    const { repetitionPenalty: penalty, mask } = job;
    if (penalty !== 1) {
      job.seen ??= marked(job.prompt, vocabSize);
      const done = new Set<number>();
      const penalise = (token: number) => {
        logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
      };
      for (let token = 0; token < vocabSize; token++) if (job.seen[token]) penalise(token);
      for (const token of tokens)
        if (!job.seen[token] && !done.has(token)) {
          done.add(token);
          penalise(token);
        }
    }
    mask?.(logits, tokens);
  };

  const take = (job: Job, sequence: Sequence, token: number, logp: number, logits: Float32Array) => {
    const { tokens, logps } = sequence;
    const top = job.top ? likeliest(logits, job.rule.temperature, job.top) : undefined;
    tokens.push(token);
    logps.push(logp);
    if (job.stopIds.has(token)) sequence.finish = 'stop';
    else if (job.stop.length > 0 && holdsStop(decoder, tokens, job.stop)) sequence.finish = 'stop';
    else if (tokens.length === job.room) sequence.finish = 'length';
    generated++;
    if (sequence.finish) ended++;
    if (job.onToken) {
      sequence.stream ??= textStream(decoder.tokenizer, job.stop);
      let text = sequence.stream.push(tokens);
      if (sequence.finish) text += sequence.stream.end(textOf(job, tokens));
      job.onToken({
        sample: sequence.sample,
        index: tokens.length - 1,
        token,
        logp,
        text,
        ...(top && { top }),
        ...(sequence.finish && { finish: sequence.finish }),
      });
    }
  };

  /** Rows for prompts that wait, and for samples of prompts that are computed. */
  const admit = () => {
    while (waiting.length > 0 && promptRows > 0 && sequenceRows > 0) {
      const job = waiting[0];
      // One sequence's blocks stay free for each prompt that has none yet, so that it can always begin.
      const promised = prompts.reduce((sum, other) => sum + (other.begun === 0 ? ownBlocks(other) : 0), 0);
      if (freeBlocks - promised < promptBlocks(job) + ownBlocks(job)) break;
      waiting.shift();
      job.promptRow = takeRow();
      promptRows--;
      freeBlocks -= promptBlocks(job);
      prompts.push(job);
    }
  };
  const begin = () => {
    for (const job of [...prompts]) {
      if (!job.first) continue;
      const fresh: { job: Job; sequence: Sequence }[] = [];
      while (job.begun < job.n && sequenceRows > 0 && freeBlocks >= ownBlocks(job)) {
        const sequence: Sequence = {
          sample: job.begun,
          row: takeRow(),
          uniforms: job.rngOf(job.begun).uniform(job.room),
          tokens: [],
          logps: [],
        };
        job.begun++;
        sequenceRows--;
        freeBlocks -= ownBlocks(job);
        job.sequences.push(sequence);
        cache!.share(job.promptRow, Int32Array.of(sequence.row));
        fresh.push({ job, sequence });
      }
      if (job.begun === job.n) leavePrompt(job);
      active.push(...fresh);
      if (fresh.length > 0) advance(fresh, job.first, true);
      settle();
    }
  };
  /** Lets go of what has ended. */
  const settle = () => {
    const jobs = new Set<Job>();
    active = active.filter(({ job, sequence }) => {
      if (sequence.finish) {
        leaveRow(job, sequence);
        jobs.add(job);
      }
      return !sequence.finish;
    });
    for (const job of jobs) if (job.begun === job.n && job.sequences.every((s) => s.finish)) finish(job);
  };
  const dropAborted = () => {
    for (const job of new Set([...waiting, ...prompts, ...active.map((a) => a.job)]))
      if (job.signal?.aborted) {
        for (const sequence of job.sequences) sequence.finish ??= 'aborted';
        finish(job);
      }
  };

  const step = async () => {
    dropAborted();
    admit();
    const todo = prompts.filter((job) => !job.first);
    let left = stepTokens;
    const tokens: number[] = [];
    const positions: number[] = [];
    const rowOf: number[] = [];
    const wanted: number[] = [];
    for (const { job, sequence } of active) {
      wanted.push(tokens.length);
      tokens.push(sequence.tokens[sequence.tokens.length - 1]);
      positions.push(job.prompt.length + sequence.tokens.length - 1);
      rowOf.push(sequence.row);
    }
    const decoding = active.slice();
    const complete: Job[] = [];
    for (const job of todo) {
      const count = Math.min(job.prompt.length - job.computed, left);
      if (count === 0) break;
      left -= count;
      for (let i = 0; i < count; i++) {
        tokens.push(job.prompt[job.computed + i]);
        positions.push(job.computed + i);
        rowOf.push(job.promptRow);
      }
      job.computed += count;
      if (job.computed === job.prompt.length) {
        wanted.push(tokens.length - 1);
        complete.push(job);
      }
    }
    if (tokens.length > 0) {
      const logits = await decoder.next(
        {
          tokens: Int32Array.from(tokens),
          positions: Int32Array.from(positions),
          rows: Int32Array.from(rowOf),
          wanted: Int32Array.from(wanted),
        },
        cache!,
      );
      complete.forEach((job, i) => {
        const at = (decoding.length + i) * vocabSize;
        job.first = logits.slice(at, at + vocabSize);
      });
      advance(decoding, logits, false);
      settle();
    }
    begin();
    if (tokens.length === 0 && active.length === 0 && prompts.length > 1) {
      // Computed prompts hold blocks that the oldest needs for its next sample: the youngest is computed again later.
      const youngest = prompts[prompts.length - 1];
      leavePrompt(youngest);
      youngest.computed = 0;
      youngest.first = undefined;
      waiting.unshift(youngest);
    }
    onStep?.({ tokens: tokens.length, generated, ended });
  };
  const busy = () => waiting.length > 0 || prompts.length > 0 || active.length > 0;

  const loop = async () => {
    await pause(); // what is submitted together begins together
    cache ??= decoder.cache({ rows: 2 * maxRows, maxTokens: longest, blockTokens, blocks });
    while (busy() && !disposed) {
      try {
        await step();
      } catch (error) {
        for (const job of new Set([...waiting, ...prompts, ...active.map((a) => a.job)])) fail(job, error);
      }
      await pause();
    }
  };
  const start = () => {
    running ??= loop().finally(() => {
      running = undefined;
      if (busy() && !disposed) start();
    });
  };

  return {
    get pending() {
      return new Set([...waiting, ...prompts, ...active.map((a) => a.job)]).size;
    },
    submit(request) {
      return new Promise<Generation[]>((resolve, reject) => {
        const room = Math.min(request.maxTokens, longest - request.prompt.length);
        if (disposed) return reject(new ConfigError('the engine was disposed'));
        if (room < 1)
          return reject(
            new ConfigError(`a prompt of ${request.prompt.length} tokens leaves no room to continue among ${longest}; shorten it`),
          );
        const job: Job = { ...request, room, promptRow: -1, computed: 0, begun: 0, sequences: [], resolve, reject };
        if (promptBlocks(job) + ownBlocks(job) > blocks)
          return reject(
            new ConfigError(
              `a prompt of ${request.prompt.length} tokens and ${room} more do not fit into a cache of ${blocks * blockTokens} tokens; raise cacheBytes`,
            ),
          );
        waiting.push(job);
        start();
      });
    },
    async dispose() {
      disposed = true;
      await running?.catch(() => {});
      for (const job of new Set([...waiting, ...prompts, ...active.map((a) => a.job)]))
        fail(job, new ConfigError('the engine was disposed'));
      cache?.dispose();
      cache = undefined;
    },
  };
}

/** A turn of the event loop, so that aborts and other work get through between two steps. */
const pause = (): Promise<void> =>
  new Promise((resolve) => (typeof setImmediate === 'function' ? void setImmediate(resolve) : void setTimeout(resolve, 0)));

const sameRule = (a: SamplingRule, b: SamplingRule): boolean =>
  a === b || (a.temperature === b.temperature && a.topK === b.topK && a.topP === b.topP && a.minP === b.minP);

function marked(tokens: Int32Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  for (const token of tokens) out[token] = 1;
  return out;
}

/** Looks at the last tokens alone: as many as the longest stop string has bytes, and the newest. */
function holdsStop({ tokenizer }: LocalDecoder, tokens: readonly number[], stop: readonly string[]): boolean {
  const longest = Math.max(...stop.map((s) => s.length));
  const tail = tokenizer.decode(tokens.slice(-4 * longest - 4));
  return stop.some((s) => tail.includes(s));
}

/** The `count` likeliest tokens and their log-probabilities at the temperature, before truncation; at 1 where decoding is greedy. */
function likeliest(logits: Float32Array, temperature: number, count: number): { token: number; logp: number }[] {
  const inverse = 1 / (temperature || 1);
  let largest = -Infinity;
  for (const x of logits) if (x > largest) largest = x;
  let total = 0;
  const best: number[] = [];
  for (let i = 0; i < logits.length; i++) {
    total += Math.exp((logits[i] - largest) * inverse);
    if (best.length < count || logits[i] > logits[best[best.length - 1]]) {
      let at = best.length;
      while (at > 0 && logits[best[at - 1]] < logits[i]) at--;
      best.splice(at, 0, i);
      if (best.length > count) best.pop();
    }
  }
  const logZ = Math.log(total);
  return best.map((token) => ({ token, logp: (logits[token] - largest) * inverse - logZ }));
}
