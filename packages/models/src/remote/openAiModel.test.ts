import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rng } from '@plumbline/core';
import { languageModelContract } from '@plumbline/data/contract';
import { afterEach, describe, expect, it } from 'vitest';
import { diskCache } from './diskCache.node.js';
import { type OpenAiOptions, openAiModel } from './openAiModel.js';

type Body = {
  prompt?: string;
  messages?: { content: string }[];
  seed: number;
  temperature: number;
  max_tokens: number;
  echo?: boolean;
  stream?: boolean;
  input?: string[];
};
type Handler = (body: Body, response: ServerResponse, request: IncomingMessage) => void;

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** A server that answers what `handle` says; `asked` are the bodies that it was sent. */
async function stub(handle: Handler): Promise<{ url: string; asked: Body[] }> {
  const asked: Body[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (part: Buffer) => {
      text += part.toString();
    });
    request.on('end', () => {
      const body = JSON.parse(text) as Body;
      asked.push(body);
      handle(body, response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, asked };
}
const json = (response: ServerResponse, value: unknown, status = 200, headers: Record<string, string> = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(value));
};

/** Letters that depend on prompt and seed, a token each. */
const answer: Handler = (body, response) => {
  if (body.input)
    return json(response, {
      data: body.input.map((text, index) => ({ index, embedding: [text.length, 1] })).reverse(),
      usage: { prompt_tokens: 2 },
    });
  const prompt = body.prompt ?? body.messages!.map(({ content }) => content).join();
  if (body.echo) {
    const tokens = [...prompt];
    const logprobs = {
      tokens: tokens.map((c) => `token_id:${c.charCodeAt(0)}`),
      token_logprobs: tokens.map((c, i) => (i === 0 ? null : -c.charCodeAt(0) / 100)),
      text_offset: tokens.map((_, i) => i),
    };
    return json(response, { choices: [{ text: prompt, finish_reason: 'length', logprobs }] });
  }
  const draws = rng(body.temperature === 0 ? 1 : body.seed)
    .fork(prompt)
    .uniform(body.max_tokens);
  const letters = Array.from(draws, (u) => String.fromCharCode(97 + Math.floor(u * 26)));
  const usage = { prompt_tokens: prompt.length, completion_tokens: letters.length };
  const content = letters.map((c, i) => ({ token: `token_id:${c.charCodeAt(0)}`, logprob: -draws[i] }));
  const choice = body.messages
    ? { message: { content: letters.join('') }, finish_reason: 'length', logprobs: { content } }
    : {
        text: letters.join(''),
        finish_reason: 'length',
        logprobs: { tokens: content.map(({ token }) => token), token_logprobs: content.map(({ logprob }) => logprob) },
      };
  json(response, { choices: [choice], usage });
};

const quick = { model: 'stub', retrySeconds: 0.001 } satisfies Partial<OpenAiOptions>;
const ask = { maxTokens: 4, rng: rng(1) };

describe('a model behind a server keeps the LanguageModel contract', () => {
  const prompts = ['Once', 'a longer prompt than the first', [{ role: 'user', content: 'hello' }]];
  const make = async () => openAiModel({ ...quick, url: (await stub(answer)).url, logps: true, embed: true });
  it.each(languageModelContract(make, { prompts }))('$name', ({ run }) => run());
  const scoring = async () => openAiModel({ ...quick, url: (await stub(answer)).url, logps: true, embed: true, score: true });
  it.each(languageModelContract(scoring, { prompts: prompts.slice(0, 2) }))('$name, with scores', ({ run }) => run());
});

describe('openAiModel', () => {
  it('gives each sample a seed of its own, reads ids and log-probabilities, and counts tokens', async () => {
    const { url, asked } = await stub(answer);
    const model = openAiModel({ ...quick, url, logps: true, extra: { reasoning_effort: 'low' } });
    const [samples] = await model.generate(['Once'], { ...ask, n: 3, topP: 0.9, repetitionPenalty: 1.2, stop: ['.'] });
    expect(new Set(asked.map(({ seed }) => seed)).size).toBe(3);
    expect(asked[0]).toMatchObject({ model: 'stub', prompt: 'Once', max_tokens: 4, stop: ['.'], reasoning_effort: 'low' });
    expect(asked[0]).toMatchObject({ top_p: 0.9, repetition_penalty: 1.2 });
    for (const { text, tokens, samplingLogps } of samples) {
      expect(String.fromCharCode(...tokens)).toBe(text);
      expect(samplingLogps.length).toBe(4);
    }
    expect(model.counts).toMatchObject({ requests: 3, retries: 0, promptTokens: 12, completionTokens: 12 });
  });

  it('scores the completion alone', async () => {
    const model = openAiModel({ ...quick, url: (await stub(answer)).url, score: true });
    const [{ tokens, logps }] = await model.score!([{ prompt: 'ab', completion: 'cd' }]);
    expect([...tokens]).toEqual([99, 100]);
    expect([...logps]).toEqual([Math.fround(-0.99), -1]);
    await expect(model.score!([{ prompt: [{ role: 'user', content: 'x' }], completion: 'y' }])).rejects.toThrow(/plain text alone/);
  });

  it('tries again after 429, 500, a broken answer and a cut one, and heeds Retry-After', async () => {
    let tries = 0;
    const { url } = await stub((body, response, request) => {
      tries++;
      if (tries === 1) return json(response, { error: { message: 'slow down' } }, 429, { 'retry-after': '0.05' });
      if (tries === 2) return json(response, { error: 'oh' }, 500);
      if (tries === 3) return void response.end('{"choices": [');
      if (tries === 4) {
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{"choices');
        return void setTimeout(() => request.socket.destroy(), 5);
      }
      answer(body, response, request);
    });
    const model = openAiModel({ ...quick, url });
    const start = performance.now();
    const [[{ text }]] = await model.generate(['Once'], ask);
    expect(text.length).toBe(4);
    expect(performance.now() - start).toBeGreaterThanOrEqual(45);
    expect(model.counts).toMatchObject({ requests: 5, retries: 4 });
  });

  it('gives up with the last reason, and at once on what will not pass', async () => {
    const busy = await stub((_, response) => json(response, { error: { message: 'overloaded' } }, 503));
    await expect(openAiModel({ ...quick, url: busy.url, retries: 2 }).generate(['x'], ask)).rejects.toThrow(
      /after 3 attempts; the last: 503.*overloaded/,
    );
    const locked = await stub((_, response) => json(response, { error: { message: 'no' } }, 401));
    await expect(openAiModel({ ...quick, url: locked.url }).generate(['x'], ask)).rejects.toThrow(/401.*it wants a key/);
    expect(locked.asked.length).toBe(1);
    const long = await stub((_, response) => json(response, {}, 429, { 'retry-after': '3600' }));
    await expect(openAiModel({ ...quick, url: long.url }).generate(['x'], ask)).rejects.toThrow(/left alone for 3600 s/);
    const nonsense = await stub((_, response) => json(response, { hello: 1 }));
    await expect(openAiModel({ ...quick, url: nonsense.url }).generate(['x'], ask)).rejects.toThrow(/the answer has no text/);
    await expect(openAiModel({ ...quick, url: 'http://127.0.0.1:9/v1', retries: 0 }).generate(['x'], ask)).rejects.toThrow(
      /gave no answer after 1 attempt/,
    );
    expect(() => openAiModel({ ...quick, url: 'here' })).toThrow(/no URL/);
  });

  it('times out where a server is too slow, and stops when it is asked to', async () => {
    const { url } = await stub(() => {});
    await expect(openAiModel({ ...quick, url, timeoutSeconds: 0.05, retries: 1 }).generate(['x'], ask)).rejects.toThrow(
      /no answer within 0.05 s/,
    );
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 20);
    const [[{ finish, text }]] = await openAiModel({ ...quick, url }).generate(['x'], { ...ask, signal: controller.signal });
    expect([finish, text]).toEqual(['aborted', '']);
  });

  it('has no more requests under way than it may', async () => {
    let most = 0;
    const held: (() => void)[] = [];
    const { url } = await stub((body, response, request) => {
      held.push(() => answer(body, response, request));
      most = Math.max(most, held.length);
      // Three wait for each other; a fourth would come meanwhile.
      if (held.length === 3) setTimeout(() => held.splice(0).forEach((go) => void go()), 20);
    });
    await openAiModel({ ...quick, url, concurrency: 3 }).generate(['a', 'b', 'c'], { ...ask, n: 4 });
    expect(most).toBe(3);
  });

  it('finds answers again on disk, by content', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plumb-cache-'));
    try {
      const { url, asked } = await stub(answer);
      const sampled = async (seed: number) =>
        (await openAiModel({ ...quick, url, cache: diskCache(folder) }).generate(['a', 'b'], { ...ask, rng: rng(seed) })).flat();
      const first = await sampled(1);
      expect(await sampled(1)).toEqual(first);
      expect(asked.length).toBe(2);
      await sampled(2);
      expect(asked.length).toBe(4);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('streams pieces, and says where a stream was cut', async () => {
    const events = (response: ServerResponse, pieces: string[], end: string) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const text of pieces) response.write(`data: ${JSON.stringify({ choices: [{ text }] })}\n\n`);
      response.end(end);
    };
    const whole = await stub((_, response) =>
      events(response, ['On', 'ce ', 'é'], 'data: {"choices":[],"usage":{"completion_tokens":3}}\n\ndata: [DONE]\n\n'),
    );
    const model = openAiModel({ ...quick, url: whole.url });
    const pieces: string[] = [];
    for await (const piece of model.stream('x', ask)) pieces.push(piece);
    expect(pieces.join('')).toBe('Once é');
    expect(model.counts.completionTokens).toBe(3);
    const cut = await stub((_, response) => events(response, ['On'], ''));
    const read = async (url: string) => {
      for await (const _ of openAiModel({ ...quick, url }).stream('x', ask));
    };
    await expect(read(cut.url)).rejects.toThrow(/cut its stream: it ended without \[DONE\]/);
    const broken = await stub((_, response) => events(response, ['On'], 'data: {"cho\n\n'));
    await expect(read(broken.url)).rejects.toThrow(/an event that is not JSON/);
  });
});
