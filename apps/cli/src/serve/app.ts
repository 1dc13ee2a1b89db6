/** The HTTP face: OpenAI's API over a service, and the reward endpoints of OpenRLHF and vLLM. */
import { timingSafeEqual } from 'node:crypto';
import { PlumblineError } from '@plumbline/core';
import type { Generation, Message, Prompt } from '@plumbline/data';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import { streamSSE } from 'hono/streaming';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { z } from 'zod';
import type { GenerateJob, Piece, Service, TokenText } from './service.js';

export type AppOptions = {
  /** What a request must carry as `Authorization: Bearer`. */
  token?: string;
  /** Samples of one request at most. */
  mostSamples?: number;
};

const stop = z.union([z.string(), z.array(z.string()).max(16)]).nullish();
const unsupported = (what: string) => z.literal(0, { error: `${what} is not supported here; leave it out` }).nullish();
const sampling = {
  model: z.string().optional(),
  n: z.int().min(1).default(1),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).lt(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  presence_penalty: unsupported('presence_penalty'),
  frequency_penalty: unsupported('frequency_penalty'),
  stop,
  stop_token_ids: z.array(z.int().min(0)).nullish(),
  ignore_eos: z.boolean().nullish(),
  seed: z.int().min(0).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  return_tokens_as_token_ids: z.boolean().nullish(),
};
const Completion = z.object({
  ...sampling,
  prompt: z.union([z.string(), z.array(z.string()).min(1), z.array(z.int()).min(1), z.array(z.array(z.int()).min(1)).min(1)]),
  max_tokens: z.int().min(0).nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
  echo: z.boolean().nullish(),
  best_of: z.literal(1, { error: 'best_of is not supported here; ask for n samples' }).nullish(),
  suffix: z.literal('', { error: 'suffix is not supported here' }).nullish(),
});
const Chat = z.object({
  ...sampling,
  messages: z
    .array(
      z.looseObject({
        role: z.string(),
        content: z.union([z.string(), z.array(z.looseObject({ type: z.string() })), z.null()]).optional(),
      }),
    )
    .min(1),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: z.array(z.unknown()).max(0, { error: 'tools are not supported here' }).nullish(),
  response_format: z.object({ type: z.literal('text', { error: 'only text is supported here' }) }).nullish(),
});
const Embeddings = z.object({
  model: z.string().optional(),
  input: z.union([z.string(), z.array(z.string()).min(1), z.array(z.int()).min(1), z.array(z.array(z.int()).min(1)).min(1)]),
  encoding_format: z.enum(['float', 'base64']).default('float'),
  dimensions: z.null({ error: 'dimensions cannot be chosen here' }).optional(),
});
/** OpenRLHF's remote reward model: whole texts, with prompts and labels beside them where the caller has them. */
const GetReward = z.object({ query: z.array(z.string()), prompts: z.array(z.string()).nullish(), labels: z.array(z.unknown()).nullish() });
const texts = z.union([z.string(), z.array(z.string()).min(1)]);
/** vLLM's. */
const Classify = z.object({ model: z.string().optional(), input: texts });
/** Newer versions say `queries` and `documents`. */
const Score = z.preprocess(
  (body) => {
    const { queries, documents, ...rest } = (body ?? {}) as Record<string, unknown>;
    return { ...(queries !== undefined && { text_1: queries }), ...(documents !== undefined && { text_2: documents }), ...rest };
  },
  z.object({ model: z.string().optional(), text_1: texts, text_2: texts }),
);

export function createApp(service: Service, { token, mostSamples = 128 }: AppOptions = {}): Hono {
  const app = new Hono();
  const { info } = service;
  const created = Math.floor(Date.now() / 1000);
  let requests = 0;
  const newId = (kind: string) => `${kind}-${created.toString(36)}${(requests++).toString(36)}`;

  app.onError((error, c) => {
    if (error instanceof HTTPException) return failure(c, error.status, error.message);
    if (error instanceof PlumblineError || error instanceof RangeError) return failure(c, 400, error.message);
    console.error(error);
    return failure(c, 500, 'the server failed; its log says why');
  });
  app.notFound((c) => failure(c, 404, `there is no ${c.req.method} ${c.req.path} here`));
  app.get('/health', (c) => c.json({ status: 'ok' }));
  app.use('*', async (c, next) => {
    if (token !== undefined && !same(c.req.header('authorization') ?? '', `Bearer ${token}`)) {
      c.header('www-authenticate', 'Bearer');
      return failure(c, 401, 'the token is missing or wrong; send it as "Authorization: Bearer TOKEN"');
    }
    return next();
  });
  app.use('*', bodyLimit({ maxSize: 16 * 2 ** 20, onError: (c) => failure(c, 413, 'the request is larger than 16 MiB') }));

  app.get('/v1/models', (c) =>
    c.json({
      object: 'list',
      data: [info.model, info.reward]
        .filter((id) => id !== undefined)
        .map((id) => ({
          id,
          object: 'model',
          created,
          owned_by: 'plumbline',
          ...(id === info.model && { max_model_len: info.contextLength }),
        })),
    }),
  );

  const checkModel = (asked: string | undefined) => {
    if (asked !== undefined && asked !== info.model && info.model !== undefined)
      throw new HTTPException(404, { message: `there is no model "${asked}" here; there is "${info.model}"` });
  };
  type Common = Omit<z.infer<typeof Completion>, 'prompt' | 'logprobs'>;
  const jobOf = (
    body: Common,
    prompt: GenerateJob['prompt'],
    index: number,
    seed: number,
    maxTokens?: number,
    top?: number,
  ): GenerateJob => {
    if (body.n > mostSamples) throw new HTTPException(400, { message: `n is ${body.n}; at most ${mostSamples} samples a request` });
    return {
      prompt,
      n: body.n,
      maxTokens,
      temperature: body.temperature ?? 1,
      topP: body.top_p ?? 1,
      topK: Math.max(0, body.top_k ?? 0),
      minP: body.min_p ?? 0,
      repetitionPenalty: body.repetition_penalty ?? 1,
      stop: typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []),
      ...((body.stop_token_ids || body.ignore_eos) && { stopIds: body.stop_token_ids ?? [] }),
      seed,
      index,
      ...(top && { top }),
    };
  };
  const seedOf = (body: Common) => body.seed ?? Math.floor(Math.random() * 2 ** 31);

  app.post('/v1/completions', async (c) => {
    const body = await read(c, Completion);
    checkModel(body.model);
    const prompts = promptsIn(body.prompt);
    const seed = seedOf(body);
    const maxTokens = body.max_tokens ?? 16;
    const logprobs = body.logprobs ?? undefined;
    const head = { id: newId('cmpl'), object: 'text_completion', created, model: info.model };
    const named = (one: { token: number; text: string }) => (body.return_tokens_as_token_ids ? `token_id:${one.token}` : one.text);
    const jobs = maxTokens === 0 ? [] : prompts.map((prompt, i) => jobOf(body, prompt, i, seed, maxTokens, logprobs));
    const listed = (tokens: readonly TokenText[], tops: (Record<string, number> | null)[]) => ({
      tokens: tokens.map(named),
      token_logprobs: tokens.map(({ logp }) => logp ?? null),
      top_logprobs: logprobs ? tops : null,
      text_offset: tokens.map(({ offset }) => offset),
    });
    const topOf = ({ piece }: Piece) =>
      piece.top
        ? Object.fromEntries(piece.top.map(({ token: id, logp }, i) => [named({ token: id, text: piece.topTexts![i] }), logp]))
        : null;

    if (body.stream) {
      if (maxTokens === 0 || body.echo) throw new HTTPException(400, { message: 'a stream has neither echo nor max_tokens 0' });
      return stream(c, jobs, Boolean(body.stream_options?.include_usage), head, (event, prompt) => {
        const { piece } = event;
        return {
          index: prompt * body.n + piece.sample,
          text: piece.text,
          finish_reason: reasonOf(piece.finish),
          logprobs:
            logprobs === undefined
              ? null
              : listed([{ token: piece.token, text: piece.tokenText, logp: piece.logp, offset: 0 }], [topOf(event)]),
        };
      });
    }
    // With echo the prompt stands before the answer, with its log-probabilities if any are asked for.
    const before = body.echo
      ? await Promise.all(
          prompts.map(async (prompt) => ({ tokens: await service.logps(prompt), text: typeof prompt === 'string' ? prompt : undefined })),
        )
      : [];
    const answers = maxTokens === 0 ? prompts.map(() => undefined) : await Promise.all(jobs.map((job) => collect(c, job)));
    let promptTokens = 0;
    let completionTokens = 0;
    const choices = answers.flatMap((answer, p) => {
      const echoed = before[p];
      const prefix = echoed ? (echoed.text ?? echoed.tokens.map(({ text }) => text).join('')) : '';
      promptTokens += answer?.promptTokens ?? echoed?.tokens.length ?? 0;
      return Array.from({ length: answer ? body.n : 1 }, (_, j) => {
        const sample = answer?.samples[j];
        const pieces = answer?.pieces[j] ?? [];
        completionTokens += pieces.length;
        let offset = prefix.length;
        const tokens: TokenText[] = pieces.map(({ piece }) => {
          const one = { token: piece.token, text: piece.tokenText, logp: piece.logp, offset };
          offset += piece.text.length;
          return one;
        });
        return {
          index: p * body.n + j,
          text: prefix + (sample?.text ?? ''),
          finish_reason: sample ? reasonOf(sample.finish) : 'length',
          logprobs:
            logprobs === undefined
              ? null
              : listed([...(echoed?.tokens ?? []), ...tokens], [...(echoed?.tokens ?? []).map(() => null), ...pieces.map(topOf)]),
        };
      });
    });
    return c.json({ ...head, choices, usage: usage(promptTokens, completionTokens) });
  });

  app.post('/v1/chat/completions', async (c) => {
    const body = await read(c, Chat);
    checkModel(body.model);
    const messages = body.messages.map((message) => ({ ...message, content: contentOf(message.content) })) as Message[];
    const { logprobs } = body;
    const top = logprobs ? (body.top_logprobs ?? 0) : 0;
    const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? undefined;
    const job = jobOf(body, messages as Prompt, 0, seedOf(body), maxTokens, top);
    const described = (token: number, text: string, logp: number) => ({
      token: body.return_tokens_as_token_ids ? `token_id:${token}` : text,
      logprob: logp,
      bytes: text.includes('\ufffd') ? null : [...new TextEncoder().encode(text)],
    });
    const logprobOf = ({ piece }: Piece) => ({
      ...described(piece.token, piece.tokenText, piece.logp),
      top_logprobs: (piece.top ?? []).map(({ token: id, logp }, i) => described(id, piece.topTexts![i], logp)),
    });
    const id = newId('chatcmpl');
    if (body.stream) {
      const begun = new Set<number>();
      return stream(
        c,
        [job],
        Boolean(body.stream_options?.include_usage),
        { id, object: 'chat.completion.chunk', created, model: info.model },
        (event) => {
          const { piece } = event;
          const first = !begun.has(piece.sample);
          begun.add(piece.sample);
          return {
            index: piece.sample,
            delta: { ...(first && { role: 'assistant' }), content: piece.text },
            finish_reason: reasonOf(piece.finish),
            logprobs: logprobs ? { content: [logprobOf(event)] } : null,
          };
        },
      );
    }
    const { samples, pieces, promptTokens } = await collect(c, job);
    return c.json({
      id,
      object: 'chat.completion',
      created,
      model: info.model,
      choices: samples.map((sample, index) => ({
        index,
        message: { role: 'assistant', content: sample.text, refusal: null },
        finish_reason: reasonOf(sample.finish),
        logprobs: logprobs ? { content: pieces[index].map(logprobOf), refusal: null } : null,
      })),
      usage: usage(
        promptTokens,
        pieces.reduce((sum, one) => sum + one.length, 0),
      ),
    });
  });

  app.post('/v1/embeddings', async (c) => {
    const body = await read(c, Embeddings);
    checkModel(body.model);
    const { vectors, tokens } = await service.embed(promptsIn(body.input));
    const encode = (vector: Float32Array) =>
      body.encoding_format === 'base64'
        ? Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')
        : Array.from(vector);
    return c.json({
      object: 'list',
      model: info.model,
      data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: encode(vector) })),
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    });
  });

  app.post('/get_reward', async (c) => {
    const { query, prompts, labels } = await read(c, GetReward);
    for (const [name, list] of Object.entries({ prompts, labels }))
      if (list && list.length > 0 && list.length !== query.length)
        throw new HTTPException(400, { message: `${name} has ${list.length} entries for ${query.length} queries` });
    // A query is prompt and answer in one text; where the prompt is sent too, what follows it is the answer, in `httpReward`'s conversations after its speaker.
    const rewards = await service.score(
      query.map((text, i) => {
        const prompt = prompts?.[i] ?? '';
        const meta = labels?.[i] === undefined ? undefined : { answer: labels[i] };
        return text.startsWith(prompt)
          ? { prompt, completion: text.slice(prompt.length).replace(/^\n\nassistant: /, ''), meta }
          : { prompt: '', completion: text, meta };
      }),
    );
    return c.json({ rewards, scores: rewards, extra_logs: {} });
  });
  const classify = async (c: Context) => {
    const body = await read(c, Classify);
    const input = [body.input].flat();
    const scores = await service.score(input.map((completion) => ({ prompt: '', completion })));
    return c.json({
      id: newId('classify'),
      object: 'list',
      created,
      model: info.reward,
      data: scores.map((score, index) => ({ index, label: 'LABEL_0', probs: [score], num_classes: 1 })),
      usage: usage(0, 0),
    });
  };
  const score = async (c: Context) => {
    const body = await read(c, Score);
    const [first, second] = [[body.text_1].flat(), [body.text_2].flat()];
    if (first.length !== 1 && first.length !== second.length)
      throw new HTTPException(400, { message: `text_1 has ${first.length} texts and text_2 ${second.length}; text_1 has one, or as many` });
    const scores = await service.score(second.map((completion, i) => ({ prompt: first[first.length === 1 ? 0 : i], completion })));
    return c.json({
      id: newId('score'),
      object: 'list',
      created,
      model: info.reward,
      data: scores.map((value, index) => ({ index, object: 'score', score: value })),
      usage: usage(0, 0),
    });
  };
  for (const prefix of ['', '/v1']) {
    app.post(`${prefix}/classify`, classify);
    app.post(`${prefix}/score`, score);
  }
  return app;

  async function collect(c: Context, job: GenerateJob): Promise<{ samples: Generation[]; pieces: Piece[][]; promptTokens: number }> {
    const pieces: Piece[][] = Array.from({ length: job.n }, () => []);
    let promptTokens = 0;
    const samples = await service.generate(
      job,
      (event) => {
        if (event.type === 'started') promptTokens = event.promptTokens;
        else pieces[event.piece.sample].push(event);
      },
      c.req.raw.signal,
    );
    return { samples, pieces, promptTokens };
  }

  /** Server-sent events, one a token that has something to say. A client that goes away ends the generation. */
  async function stream(
    c: Context,
    jobs: readonly GenerateJob[],
    withUsage: boolean,
    head: object,
    choiceOf: (event: Piece, prompt: number) => { logprobs: unknown },
  ) {
    const controller = new AbortController();
    c.req.raw.signal.addEventListener('abort', () => controller.abort(), { once: true });
    const queue: (Piece & { prompt: number })[] = [];
    let wake = () => {};
    let promptTokens = 0;
    let completionTokens = 0;
    let started = 0;
    let ended: { error?: unknown } | undefined;
    const begun = new Promise<void>((resolve, reject) => {
      Promise.all(
        jobs.map((job, prompt) =>
          service.generate(
            job,
            (event) => {
              if (event.type === 'started') {
                promptTokens += event.promptTokens;
                if (++started === jobs.length) resolve();
              } else {
                completionTokens++;
                queue.push({ ...event, prompt });
                wake();
              }
            },
            controller.signal,
          ),
        ),
      ).then(
        () => {
          ended = {};
          wake();
        },
        (error: unknown) => {
          ended = { error };
          controller.abort();
          reject(error);
          wake();
        },
      );
    });
    await begun; // what is wrong with a request is answered with a status
    return streamSSE(c, async (out) => {
      out.onAbort(() => controller.abort());
      for (;;) {
        for (const event of queue.splice(0)) {
          const choice = choiceOf(event, event.prompt);
          if (event.piece.text !== '' || event.piece.finish || choice.logprobs !== null)
            await out.writeSSE({ data: JSON.stringify({ ...head, choices: [choice] }) });
        }
        if (queue.length > 0) continue;
        if (ended) break;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (ended.error !== undefined) {
        await out.writeSSE({ data: JSON.stringify({ error: { message: (ended.error as Error).message, type: 'server_error' } }) });
        return;
      }
      if (withUsage) await out.writeSSE({ data: JSON.stringify({ ...head, choices: [], usage: usage(promptTokens, completionTokens) }) });
      await out.writeSSE({ data: '[DONE]' });
    });
  }
}

async function read<S extends z.ZodType>(c: Context, schema: S): Promise<z.infer<S>> {
  let body: unknown;
  try {
    body = await c.req.json();
  } catch {
    throw new HTTPException(400, { message: 'the body is not JSON' });
  }
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new HTTPException(400, { message: `${issue.path.map(String).join('.') || 'the body'}: ${issue.message}` });
}

function promptsIn(input: string | string[] | number[] | number[][]): (string | number[])[] {
  if (typeof input === 'string') return [input];
  return typeof input[0] === 'number' ? [input as number[]] : (input as (string | number[])[]);
}

/** A message's text; parts that are no text are refused. */
function contentOf(content: unknown): string {
  if (!Array.isArray(content)) return (content as string | null | undefined) ?? '';
  return content
    .map((part: { type: string; text?: string }) => {
      if (part.type !== 'text')
        throw new HTTPException(400, { message: `messages with parts of type ${part.type} are not supported here` });
      return part.text ?? '';
    })
    .join('');
}

const reasonOf = (finish: Generation['finish'] | undefined): 'stop' | 'length' | null =>
  finish === undefined ? null : finish === 'stop' ? 'stop' : 'length';
const usage = (prompt: number, completion: number) => ({
  prompt_tokens: prompt,
  completion_tokens: completion,
  total_tokens: prompt + completion,
});

function failure(c: Context, status: ContentfulStatusCode, message: string): Response {
  const type =
    status === 401 ? 'authentication_error' : status === 404 ? 'not_found_error' : status < 500 ? 'invalid_request_error' : 'server_error';
  return c.json({ error: { message, type, param: null, code: null } }, status);
}

function same(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}
