import { setTimeout } from 'node:timers/promises';
import { initBackend, rng } from '@plumbline/core';
import { encodePrompt, type Generation } from '@plumbline/data';
import { languageModelContract } from '@plumbline/data/contract';
import { generate, type LocalDecoder, openAiModel, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import { httpReward } from '@plumbline/rewards/judge';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namedReward } from './rewards.js';
import { listen, type Running } from './server.js';
import { localService, type Service } from './service.js';

const tokenizer = tokenizerFromJson(trainByteBpe([], { vocabSize: 257, specialTokens: ['<|end|>'] }), {
  eos_token: '<|end|>',
  chat_template: '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}',
});
const tiny = () => tinyDecoder({ name: 'tiny', vocabSize: 257, contextLength: 96 }, tokenizer);

let decoder: LocalDecoder;
let running: Running;
let client: OpenAI;
beforeAll(async () => {
  await initBackend({ backend: 'cpu' });
  decoder = tiny();
  running = await listen(localService(tiny(), namedReward('length')), { host: '127.0.0.1', port: 0 });
  client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => running.close());

const locally = async (text: string, seed: number, options: Partial<Parameters<typeof generate>[2]> = {}): Promise<Generation[]> =>
  (await generate(decoder, [encodePrompt(tokenizer, text)], { maxTokens: 8, ...options, rng: rng(seed) }))[0];

describe('plumb serve, asked by the openai client', () => {
  it('lists its models', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual(['tiny', 'length']);
  });

  it('completes as the local model does with the same seed', async () => {
    const expected = await locally('Once', 5, { n: 2, temperature: 0.8, topP: 0.9 });
    const { choices, usage } = await client.completions.create({
      model: 'tiny',
      prompt: 'Once',
      max_tokens: 8,
      n: 2,
      temperature: 0.8,
      top_p: 0.9,
      seed: 5,
    });
    expect(choices.map(({ text }) => text)).toEqual(expected.map(({ text }) => text));
    const tokens = expected.reduce((sum, one) => sum + one.tokens.length, 0);
    expect(usage).toMatchObject({ prompt_tokens: 4, completion_tokens: tokens, total_tokens: 4 + tokens });
  });

  it('gives log-probabilities, the likeliest tokens, and the prompt where it is to be echoed', async () => {
    const [expected] = await locally('Once', 3);
    const { choices } = await client.completions.create({ model: 'tiny', prompt: 'Once', max_tokens: 8, seed: 3, logprobs: 2, echo: true });
    const { tokens, token_logprobs: values, top_logprobs: tops, text_offset: offsets } = choices[0].logprobs!;
    expect(tokens!.slice(0, 4)).toEqual(['O', 'n', 'c', 'e']);
    expect(offsets!.slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
    expect(values![0]).toBeNull();
    expect(values![1]).toBeLessThan(0);
    values!.slice(4).forEach((value, i) => void expect(value).toBeCloseTo(expected.samplingLogps[i], 5));
    expect(Object.keys(tops![4]!).length).toBe(2);
    expect(choices[0].text.startsWith('Once')).toBe(true);
  });

  it('chats, with stop strings', async () => {
    const messages = [{ role: 'user' as const, content: 'Hi' }];
    const prompt = encodePrompt(tokenizer, messages);
    const [[expected]] = await generate(decoder, [prompt], { maxTokens: 20, rng: rng(9) });
    const answer = await client.chat.completions.create({
      model: 'tiny',
      messages,
      max_completion_tokens: 20,
      seed: 9,
      logprobs: true,
      top_logprobs: 3,
    });
    const [{ message, finish_reason: reason, logprobs }] = answer.choices;
    expect(message).toMatchObject({ role: 'assistant', content: expected.text });
    expect(reason).toBe(expected.finish);
    expect(logprobs!.content!.length).toBe(expected.tokens.length);
    expect(logprobs!.content![0].top_logprobs.length).toBe(3);
    const stop = expected.text.slice(4, 6);
    const cut = await client.chat.completions.create({ model: 'tiny', messages, max_tokens: 20, seed: 9, stop });
    expect(cut.choices[0].message.content).toBe(expected.text.slice(0, expected.text.indexOf(stop)));
    expect(cut.choices[0].finish_reason).toBe('stop');
  });

  it('streams what it answers whole, with usage at the end', async () => {
    const ask = { model: 'tiny', messages: [{ role: 'user' as const, content: 'Hi' }], max_tokens: 30, seed: 4, n: 2 };
    const whole = await client.chat.completions.create(ask);
    const texts = ['', ''];
    const reasons: (string | null)[] = [null, null];
    let total = 0;
    for await (const { choices, usage } of await client.chat.completions.create({
      ...ask,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      for (const { index, delta, finish_reason: reason } of choices) {
        texts[index] += delta.content ?? '';
        reasons[index] ??= reason;
      }
      total = usage?.total_tokens ?? total;
    }
    expect(texts).toEqual(whole.choices.map(({ message }) => message.content));
    expect(reasons).toEqual(whole.choices.map(({ finish_reason: reason }) => reason));
    expect(total).toBe(whole.usage!.total_tokens);
    const [expected] = await locally('Once', 6, { maxTokens: 12 });
    let text = '';
    for await (const { choices } of await client.completions.create({
      model: 'tiny',
      prompt: 'Once',
      max_tokens: 12,
      seed: 6,
      stream: true,
    }))
      text += choices[0]?.text ?? '';
    expect(text).toBe(expected.text);
  });

  it('answers many at once as each alone', async () => {
    const ask = (i: number) =>
      client.completions.create({ model: 'tiny', prompt: 'x'.repeat(1 + ((i * 5) % 17)), max_tokens: 4 + i, seed: i });
    const together = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(i)));
    for (const i of [0, 7, 11]) expect((await ask(i)).choices).toEqual(together[i].choices);
  });

  it('embeds, in the encoding that the client asks for', async () => {
    const { data } = await client.embeddings.create({ model: 'tiny', input: ['one', 'two'] });
    const plain = await client.embeddings.create({ model: 'tiny', input: ['one', 'two'], encoding_format: 'float' });
    expect(data.map(({ embedding }) => embedding.length)).toEqual([18, 18]);
    data[1].embedding.forEach((x, i) => void expect(x).toBeCloseTo(plain.data[1].embedding[i], 6));
  });

  it.each([true, false])('stops computing where the client goes away (stream: %s)', async (stream) => {
    const service = localService(tiny(), undefined);
    const ended: Promise<Generation[]>[] = [];
    const generate = (...x: Parameters<Service['generate']>) => {
      ended.push(service.generate(...x));
      return ended[0];
    };
    const watched = { ...service, generate };
    const one = await listen(watched, { host: '127.0.0.1', port: 0 });
    const controller = new AbortController();
    const body = JSON.stringify({ prompt: 'a', max_tokens: 90, seed: 1, n: 100, stream, ignore_eos: true });
    const response = fetch(`${one.url}/v1/completions`, { method: 'POST', body, signal: controller.signal });
    if (stream) await (await response).body!.getReader().read();
    else while (ended.length === 0) await setTimeout(5);
    controller.abort();
    await response.catch(() => {});
    expect((await ended[0]).some(({ finish }) => finish === 'aborted')).toBe(true);
    await one.close(0);
  });

  it('says what is wrong with a request', async () => {
    const complete = (more: object) => client.completions.create({ model: 'tiny', prompt: 'a', ...more } as never);
    await expect(complete({ model: 'other' })).rejects.toThrow(/404 there is no model "other" here; there is "tiny"/);
    await expect(complete({ temperature: -1 })).rejects.toThrow(/400 temperature:/);
    await expect(complete({ prompt: 'a'.repeat(200) })).rejects.toThrow(/400 the prompt has 200 tokens, and the context of tiny holds 96/);
    await expect(complete({ prompt: 'a'.repeat(90), max_tokens: 50 })).rejects.toThrow(/400 the prompt has 90 tokens and 50 more/);
    await expect(complete({ prompt: '' })).rejects.toThrow(/400 the prompt is empty/);
    await expect(complete({ best_of: 3 })).rejects.toThrow(/best_of is not supported/);
    await expect(complete({ stream: true, prompt: 'a'.repeat(200) })).rejects.toThrow(/400 the prompt has 200 tokens/);
    const broken = await fetch(`${running.url}/v1/completions`, { method: 'POST', body: '{"prompt":' });
    expect([broken.status, await broken.json()]).toEqual([
      400,
      { error: { message: 'the body is not JSON', type: 'invalid_request_error', param: null, code: null } },
    ]);
    expect((await fetch(`${running.url}/v1/nothing`)).status).toBe(404);
  });
});

describe('plumb serve, asked by openAiModel, keeps the LanguageModel contract', () => {
  const make = () => openAiModel({ url: `${running.url}/v1`, model: 'tiny', logps: true, score: true, embed: true, retries: 0 });
  it.each(languageModelContract(make, { prompts: ['Once', 'a longer prompt than the first'] }))('$name', ({ run }) => run());

  it('gives the ids that the local model gives', async () => {
    const [[{ tokens, text }]] = await make().generate(['Once'], { maxTokens: 8, rng: rng(2) });
    expect(tokenizer.decode(tokens, { skipSpecial: true })).toBe(text);
  });
});

describe('plumb serve --reward', () => {
  const batch = [
    { prompt: 'p', completion: 'four' },
    { prompt: 'p', completion: 'seventeen' },
  ];
  it.each(['openrlhf', 'vllm-classify', 'vllm-score'] as const)('is read by httpReward as %s', async (format) => {
    const { scores } = await httpReward(running.url, { format }).score(batch, { rng: rng(1) });
    // What a reward of whole texts sees is prompt and completion in one.
    const longer = format === 'vllm-classify' ? 1 : 0;
    expect([...scores].map((score) => score - longer)).toEqual([4, 9]);
  });

  it('scores the answer of a conversation, not its speaker', async () => {
    const chat = { prompt: [{ role: 'user' as const, content: 'Four?' }], completion: [{ role: 'assistant' as const, content: 'four' }] };
    for (const format of ['openrlhf', 'vllm-score'] as const)
      expect([...(await httpReward(running.url, { format }).score([chat], { rng: rng(1) })).scores]).toEqual([4]);
  });

  it("takes vLLM's newer names of the two texts", async () => {
    const body = JSON.stringify({ queries: 'p', documents: ['four', 'seventeen'] });
    const response = await fetch(`${running.url}/score`, { method: 'POST', body });
    expect(await response.json()).toMatchObject({
      data: [
        { index: 0, score: 4 },
        { index: 1, score: 9 },
      ],
    });
  });

  it('names what is missing where only a model or only a reward is served', async () => {
    const rewardOnly = await listen(localService(undefined, namedReward('length')), { host: '127.0.0.1', port: 0 });
    const response = await fetch(`${rewardOnly.url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: 'a' }) });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('started without --model')]);
    const paired = await fetch(`${rewardOnly.url}/score`, { method: 'POST', body: JSON.stringify({ text_1: ['a', 'b'], text_2: ['c'] }) });
    expect([paired.status, await paired.text()]).toEqual([400, expect.stringContaining('text_1 has 2 texts and text_2 1')]);
    await rewardOnly.close();
  });
});

describe('the door', () => {
  it('is open to this machine alone unless there is a token, and then to those who have it', async () => {
    const service = localService(undefined, namedReward('length'));
    await expect(listen(service, { host: '0.0.0.0', port: 0 })).rejects.toThrow(/give a --token/);
    const locked = await listen(service, { host: '0.0.0.0', port: 0, token: 'secret' });
    const url = locked.url.replace('0.0.0.0', '127.0.0.1');
    const ask = (headers: Record<string, string>) => fetch(`${url}/v1/models`, { headers }).then(({ status }) => status);
    expect(await ask({})).toBe(401);
    expect(await ask({ authorization: 'Bearer wrong!' })).toBe(401);
    expect(await ask({ authorization: 'Bearer secret' })).toBe(200);
    expect(await fetch(`${url}/health`).then(({ status }) => status)).toBe(200);
    await locked.close();
    await expect(fetch(`${url}/health`)).rejects.toThrow();
  });

  it('says where a port is taken', async () => {
    const service = localService(undefined, namedReward('length'));
    await expect(listen(service, { host: '127.0.0.1', port: Number(new URL(running.url).port) })).rejects.toThrow(/is taken/);
  });
});
