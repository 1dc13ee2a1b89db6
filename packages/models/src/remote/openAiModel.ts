import { ConfigError } from '@plumbline/core';
import { type Generation, isMessages, type LanguageModel, type Prompt, type Sampling, textOf } from '@plumbline/data';
import { createRequester, type RequestCounts, type RequestOptions, ServerError } from './request.js';

export type OpenAiOptions = RequestOptions & {
  /** The model's name on the server. */
  model: string;
  /** For embeddings, where it is another model. */
  embeddingModel?: string;
  /** Ask for log-probabilities with every generation. Token ids come with them where the server can tell them (vLLM, `plumb serve`), else they are -1. */
  logps?: boolean;
  /** The server's completions can echo the prompt with log-probabilities (vLLM, `plumb serve`), so that completions of plain prompts can be scored. */
  score?: boolean;
  /** The server has embeddings. */
  embed?: boolean;
  /** What a plain prompt is: a text to go on with, or the user's message in a chat. Conversations always go to the chat. */
  plain?: 'completions' | 'chat';
  /** More fields of every generation request, such as `{ reasoning_effort: 'low' }`. */
  extra?: Record<string, unknown>;
};

/** Tokens as the server counted them. */
export type TokenCounts = { promptTokens: number; completionTokens: number };

export interface OpenAiModel extends LanguageModel {
  /** What was asked so far. */
  readonly counts: RequestCounts & TokenCounts;
  /** One answer, piece by piece. @throws ServerError where the stream is cut */
  stream(prompt: Prompt, sampling: Sampling): AsyncIterable<string>;
}

/**
 * A model behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, `plumb serve`, hosted ones.
 *
 * Each sample is a request of its own with a seed from `rng.fork(prompt, sample)`, so that it does not depend on the others where the server honours
 * seeds. An aborted `generate` answers what had come, and empty samples with `finish: 'aborted'` for the rest. `topK`, `minP` and `repetitionPenalty` are sent as vLLM names them.
 *
 * @throws ServerError where the server cannot be reached, refuses or answers nonsense; ConfigError for a token mask, which a server cannot apply
 */
export function openAiModel(options: OpenAiOptions): OpenAiModel {
  const { model, embeddingModel = model, logps = false, score = false, embed = false, plain = 'completions', extra } = options;
  const requester = createRequester(options);
  const tokens: TokenCounts = { promptTokens: 0, completionTokens: 0 };

  const request = (prompt: Prompt, sampling: Sampling, path: number[]): { path: string; body: object } => {
    const { maxTokens, temperature = 1, topP, topK, minP, repetitionPenalty = 1, stop, rng, mask } = sampling;
    if (mask) throw new ConfigError(`${model}: a token mask needs a local model; a server has none`);
    const chat = isMessages(prompt) || plain === 'chat';
    const ask = logps
      ? chat
        ? { logprobs: true, return_tokens_as_token_ids: true }
        : { logprobs: 1, return_tokens_as_token_ids: true }
      : {};
    return {
      path: chat ? '/chat/completions' : '/completions',
      body: {
        model,
        ...(chat ? { messages: isMessages(prompt) ? prompt : [{ role: 'user', content: prompt }] } : { prompt }),
        max_tokens: maxTokens,
        temperature,
        seed: rng.fork(...path).seed32 & 0x7fffffff,
        ...(topP !== undefined && { top_p: topP }),
        ...(topK !== undefined && topK > 0 && { top_k: topK }),
        ...(minP !== undefined && minP > 0 && { min_p: minP }),
        ...(repetitionPenalty !== 1 && { repetition_penalty: repetitionPenalty }),
        ...(stop && stop.length > 0 && { stop }),
        ...ask,
        ...extra,
      },
    };
  };
  const count = (usage: Answer['usage']) => {
    tokens.promptTokens += usage?.prompt_tokens ?? 0;
    tokens.completionTokens += usage?.completion_tokens ?? 0;
  };

  return {
    name: model,
    can: { score, embed, logps },
    get counts() {
      return { ...requester.counts, ...tokens };
    },
    generate: (prompts, sampling) =>
      Promise.all(
        prompts.map((prompt, i) =>
          Promise.all(
            Array.from({ length: sampling.n ?? 1 }, async (_, j): Promise<Generation> => {
              const { path, body } = request(prompt, sampling, [i, j]);
              try {
                const answer = (await requester.post(path, body, sampling.signal)) as Answer;
                count(answer.usage);
                return generationOf(answer, model, logps);
              } catch (error) {
                if (!sampling.signal?.aborted) throw error;
                return { text: '', tokens: new Int32Array(0), samplingLogps: new Float32Array(0), finish: 'aborted' };
              }
            }),
          ),
        ),
      ),
    async *stream(prompt, sampling) {
      const { path, body } = request(prompt, sampling, [0, 0]);
      for await (const event of requester.stream(
        path,
        { ...body, stream: true, stream_options: { include_usage: true } },
        sampling.signal,
      )) {
        const { choices, usage } = event as Answer;
        count(usage);
        const piece = choices?.[0]?.delta?.content ?? choices?.[0]?.text;
        if (piece) yield piece;
      }
    },
    ...(score && {
      score: (batch) =>
        Promise.all(
          batch.map(async ({ prompt, completion }) => {
            if (isMessages(prompt) || isMessages(completion))
              throw new ConfigError(
                `${model}: a server scores plain text alone, since only it knows its chat template; score conversations with a local model`,
              );
            const body = {
              model,
              prompt: `${prompt}${completion}`,
              max_tokens: 0,
              echo: true,
              logprobs: 1,
              temperature: 1,
              return_tokens_as_token_ids: true,
            };
            const answer = (await requester.post('/completions', body)) as Answer;
            count(answer.usage);
            return scoredTail(answer, prompt, textOf(completion), model);
          }),
        ),
    }),
    ...(embed && {
      async embed(texts: readonly string[]) {
        const answer = (await requester.post('/embeddings', { model: embeddingModel, input: texts, encoding_format: 'float' })) as {
          data?: { index?: number; embedding?: number[] }[];
        };
        const vectors = [...(answer.data ?? [])].sort((a, b) => (a.index ?? 0) - (b.index ?? 0)).map(({ embedding }) => embedding);
        if (vectors.length !== texts.length || vectors.some((vector) => !Array.isArray(vector) || vector.length === 0))
          throw new ServerError(`${embeddingModel}: ${vectors.length} embeddings came back for ${texts.length} texts`);
        return vectors.map((vector) => Float32Array.from(vector!));
      },
    }),
  };
}

type Answer = {
  choices?: {
    text?: string;
    message?: { content?: string | null };
    delta?: { content?: string | null };
    finish_reason?: string | null;
    logprobs?: {
      content?: { token: string; logprob: number }[];
      tokens?: string[];
      token_logprobs?: (number | null)[];
      text_offset?: number[];
    } | null;
  }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
};

function generationOf(answer: Answer, model: string, logps: boolean): Generation {
  const choice = answer.choices?.[0];
  const text = choice?.message ? (choice.message.content ?? '') : choice?.text;
  if (choice === undefined || typeof text !== 'string')
    throw new ServerError(`${model}: the answer has no text: ${JSON.stringify(answer).slice(0, 200)}`);
  const { content, tokens, token_logprobs: values } = choice.logprobs ?? {};
  const pairs =
    content?.map(({ token, logprob }) => [token, logprob] as const) ?? tokens?.map((token, i) => [token, values?.[i] ?? 0] as const) ?? [];
  if (logps && pairs.length === 0 && text !== '')
    throw new ServerError(`${model}: the answer has no log-probabilities; does the server give them? (logps: false goes without)`);
  return {
    text,
    tokens: Int32Array.from(pairs, ([token]) => idIn(token)),
    samplingLogps: Float32Array.from(pairs, ([, logp]) => logp),
    finish: choice.finish_reason === 'length' ? 'length' : 'stop',
  };
}

function scoredTail(answer: Answer, prompt: string, completion: string, model: string): { tokens: Int32Array; logps: Float32Array } {
  const { tokens, token_logprobs: values, text_offset: offsets } = answer.choices?.[0]?.logprobs ?? {};
  if (!tokens || !values || !offsets || tokens.length !== values.length)
    throw new ServerError(`${model}: the server does not echo the prompt with log-probabilities (score: false goes without)`);
  const tail = tokens
    .map((_, i) => i)
    .filter((i) => offsets[i] >= prompt.length && offsets[i] < prompt.length + completion.length && values[i] !== null);
  return { tokens: Int32Array.from(tail, (i) => idIn(tokens[i])), logps: Float32Array.from(tail, (i) => values[i]!) };
}

/** Servers that are asked to write tokens as `token_id:17`. */
function idIn(token: string): number {
  const found = /^token_id:(\d+)$/.exec(token);
  return found ? Number(found[1]) : -1;
}
