/** What a server serves: a local model and a reward, in this thread. `worker.ts` has the same in another one. */
import { ConfigError, rng } from '@plumbline/core';
import { type Candidate, encodePrompt, type Generation, type Prompt, type RewardFunction } from '@plumbline/data';
import { asLanguageModel, completionLogpsOf, createEngine, type LocalDecoder, samplingRule, type TokenPiece } from '@plumbline/models';

export type GenerateJob = {
  /** Text, a conversation, or token ids. */
  prompt: Prompt | readonly number[];
  n: number;
  /** As many as the context leaves, if left out. */
  maxTokens?: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  minP?: number;
  repetitionPenalty?: number;
  stop: readonly string[];
  stopIds?: readonly number[];
  /** Sample j of prompt i draws from `rng(seed).fork(i, j)`. */
  seed: number;
  index: number;
  /** How many of the likeliest tokens each piece names. */
  top?: number;
};
export type Started = { type: 'started'; promptTokens: number; prompt: TokenText[] };
export type TokenText = { token: number; text: string; logp?: number; offset: number };
export type Piece = { type: 'piece'; piece: TokenPiece & { tokenText: string; topTexts?: string[] } };
export type ServiceEvent = Started | Piece;

export type ServiceInfo = { model?: string; contextLength?: number; reward?: string };

export interface Service {
  readonly info: ServiceInfo;
  /** Tells `on` of the prompt, then of each token. @throws ConfigError for a request that cannot be met */
  generate(job: GenerateJob, on: (event: ServiceEvent) => void, signal: AbortSignal): Promise<Generation[]>;
  /** The prompt's tokens with their log-probabilities; the first has none. */
  logps(prompt: Prompt | readonly number[]): Promise<TokenText[]>;
  embed(inputs: readonly (string | readonly number[])[]): Promise<{ vectors: Float32Array[]; tokens: number }>;
  /** A score a candidate, null where the reward abstains. */
  score(batch: readonly Candidate[]): Promise<(number | null)[]>;
  close(): Promise<void>;
}

export type ServiceOptions = { maxRows?: number; cacheBytes?: number; name?: string };

export function localService(decoder: LocalDecoder | undefined, reward: RewardFunction | undefined, options: ServiceOptions = {}): Service {
  const engine = decoder && createEngine(decoder, options);
  const model = decoder && asLanguageModel(decoder);
  const needDecoder = () => {
    if (!decoder || !engine || !model) throw new ConfigError('this server has no language model; it was started without --model');
    return { decoder, engine, model };
  };
  const idsOf = (prompt: Prompt | readonly number[]): Int32Array => {
    const { decoder: d } = needDecoder();
    const ids = isIds(prompt) ? Int32Array.from(prompt) : encodePrompt(d.tokenizer, prompt);
    ids.forEach((id, i) => {
      if (!(Number.isInteger(id) && id >= 0 && id < d.spec.vocabSize))
        throw new ConfigError(`the prompt's token ${i} is ${id}; ids go from 0 to ${d.spec.vocabSize - 1}`);
    });
    if (ids.length === 0) throw new ConfigError('the prompt is empty; begin it with at least one token');
    if (ids.length > d.contextLength)
      throw new ConfigError(`the prompt has ${ids.length} tokens, and the context of ${d.name} holds ${d.contextLength}; shorten it`);
    return ids;
  };
  const textOf = (id: number) => decoder!.tokenizer.decode([id]);
  const located = (ids: Int32Array): TokenText[] => {
    const offsets = offsetsOf(decoder!, ids);
    return Array.from(ids, (token, i) => ({ token, text: textOf(token), offset: offsets[i] }));
  };

  return {
    info: {
      ...(decoder && { model: options.name ?? decoder.name, contextLength: decoder.contextLength }),
      ...(reward && { reward: reward.name }),
    },
    async generate(job, on, signal) {
      const { decoder: d, engine: e } = needDecoder();
      const prompt = idsOf(job.prompt);
      const left = d.contextLength - prompt.length;
      const maxTokens = job.maxTokens ?? left;
      if (prompt.length + Math.max(1, maxTokens) > d.contextLength)
        throw new ConfigError(
          `the prompt has ${prompt.length} tokens and ${maxTokens} more were asked for, but the context of ${d.name} holds ${d.contextLength}; shorten one`,
        );
      const rule = samplingRule(job);
      const { repetitionPenalty = 1, stop } = job;
      if (!(repetitionPenalty > 0)) throw new ConfigError(`repetition_penalty must be above 0, got ${repetitionPenalty}`);
      on({ type: 'started', promptTokens: prompt.length, prompt: [] });
      const { eosId } = d.tokenizer;
      const draws = rng(job.seed);
      return e.submit({
        prompt,
        n: job.n,
        maxTokens,
        rule,
        repetitionPenalty,
        stop,
        stopIds: new Set(job.stopIds ?? (eosId === undefined ? [] : [eosId])),
        rngOf: (sample) => draws.fork(job.index, sample),
        signal,
        top: job.top,
        onToken: (piece) =>
          on({
            type: 'piece',
            piece: {
              ...piece,
              tokenText: textOf(piece.token),
              ...(piece.top && { topTexts: piece.top.map(({ token }) => textOf(token)) }),
            },
          }),
      });
    },
    async logps(prompt) {
      const ids = idsOf(prompt);
      const [values] = ids.length > 1 ? await completionLogpsOf(decoder!, [{ tokens: ids, completionStart: 1 }]) : [new Float32Array(0)];
      return located(ids).map((one, i) => (i === 0 ? one : { ...one, logp: values[i - 1] }));
    },
    async embed(inputs) {
      const { decoder: d, model: m } = needDecoder();
      const texts = inputs.map((input) => (typeof input === 'string' ? input : d.tokenizer.decode(input)));
      let tokens = 0;
      for (const [i, text] of texts.entries()) {
        const { length } = d.tokenizer.encode(text, { special: true });
        if (length === 0) throw new ConfigError(`input ${i} is empty; there is nothing to embed`);
        if (length > d.contextLength)
          throw new ConfigError(`input ${i} has ${length} tokens, and the context of ${d.name} holds ${d.contextLength}; shorten it`);
        tokens += length;
      }
      return { vectors: await m.embed(texts), tokens };
    },
    async score(batch) {
      if (!reward) throw new ConfigError('this server has no reward; it was started without --reward');
      const { scores, abstained } = await reward.score(batch, { rng: rng(0) });
      return Array.from(scores, (score, i) => (abstained?.[i] ? null : score));
    },
    async close() {
      await engine?.dispose();
      decoder?.dispose();
    },
  };
}

const isIds = (prompt: Prompt | readonly number[]): prompt is readonly number[] =>
  Array.isArray(prompt) && prompt.every((one) => typeof one === 'number');

/** Where each token begins in the text of all, special tokens left out; tokens inside one character share its place. */
function offsetsOf({ tokenizer }: LocalDecoder, ids: Int32Array): number[] {
  const decode = (from: number, to: number) => tokenizer.decode(ids.subarray(from, to), { skipSpecial: true });
  const offsets: number[] = [];
  let context = 0;
  let settled = 0;
  let length = 0;
  for (let i = 0; i < ids.length; i++) {
    offsets.push(length);
    const now = decode(context, i + 1);
    if (now.endsWith('\ufffd')) continue;
    length += now.length - decode(context, settled).length;
    context = settled;
    settled = i + 1;
  }
  return offsets;
}
