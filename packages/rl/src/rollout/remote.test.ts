import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { memoryRun, rng } from '@plumbline/core';
import { promptBatches } from '@plumbline/data';
import { generate, type LocalDecoder } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { letters } from '../testing/rollouts.js';
import { type PolicyTraining, trainPolicy } from '../trainPolicy.js';
import { remotePolicy } from './remote.js';

type Body = {
  lora_name?: string;
  lora_path?: string;
  model?: string;
  prompt?: number[];
  n?: number;
  max_tokens?: number;
  seed?: number;
  top_k?: number;
  repetition_penalty?: number;
};
type Stub = { url: string; calls: string[]; loaded: Set<string>; close: () => Promise<void> };
const open: Stub[] = [];
afterEach(async () => {
  for (const stub of open.splice(0)) await stub.close();
});

/**
 * vLLM's protocol as far as it is used: adapters by name, completions of token ids, errors as it words them. `published` are the policies behind the paths; where a request leaves `top_k` out,
 * it is the one of this model's `generation_config.json`: 1.
 */
async function vllm(
  published: Map<string, LocalDecoder>,
  over: { noAdapters?: boolean; withoutLora?: boolean; answersAs?: (asked: string) => string; gap?: number; plainTokens?: boolean } = {},
) {
  const calls: string[] = [];
  const loaded = new Map<string, LocalDecoder>();
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    let text = '';
    for await (const part of request) text += part;
    const body = JSON.parse(text) as Body;
    const answer = (status: number, content: string) => {
      response.writeHead(status, { 'content-type': content.startsWith('{') ? 'application/json' : 'text/plain' });
      response.end(content);
    };
    const fail = (status: number, type: string, message: string) =>
      answer(status, JSON.stringify({ error: { message, type, param: null, code: status } }));
    const path = request.url!;
    calls.push(`${path} ${body.lora_name ?? body.model}`);
    if (path === '/v1/load_lora_adapter' && !over.noAdapters) {
      if (over.withoutLora) return fail(500, 'InternalServerError', 'LoRA is not enabled.');
      if (loaded.has(body.lora_name!))
        return fail(
          400,
          'InvalidUserInput',
          `The lora adapter '${body.lora_name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
        );
      const policy = published.get(body.lora_path!);
      if (!policy) return fail(404, 'NotFoundError', `Loading lora ${body.lora_name} failed: No adapter found for ${body.lora_path}`);
      loaded.set(body.lora_name!, policy);
      return answer(200, `Success: LoRA adapter '${body.lora_name}' added successfully.`);
    }
    if (path === '/v1/unload_lora_adapter' && !over.noAdapters) {
      loaded.delete(body.lora_name!);
      return answer(200, 'Success');
    }
    const policy = loaded.get(body.model!);
    if (path !== '/v1/completions') return answer(404, `{"detail":"there is no ${path} here"}`);
    if (!policy) return fail(404, 'NotFoundError', `The model \`${body.model}\` does not exist.`);
    const [samples] = await generate(policy, [Int32Array.from(body.prompt!)], {
      n: body.n,
      maxTokens: body.max_tokens!,
      topK: Math.max(0, body.top_k ?? 1),
      repetitionPenalty: body.repetition_penalty,
      rng: rng(body.seed!),
    });
    const choices = samples.map(({ tokens, samplingLogps, finish }, index) => ({
      index,
      finish_reason: finish,
      logprobs: {
        tokens: Array.from(tokens, (id) => (over.plainTokens ? `word${id}` : `token_id:${id}`)),
        token_logprobs: Array.from(samplingLogps, (logp) => logp + (over.gap ?? 0)),
      },
    }));
    answer(200, JSON.stringify({ model: (over.answersAs ?? ((name) => name))(body.model!), choices: choices.reverse() }));
  };
  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stub = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    calls,
    loaded: new Set<string>(),
    names: () => [...loaded.keys()],
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
  open.push(stub);
  return stub;
}

const even: PolicyTraining['reward'] = {
  name: 'even',
  score: async (batch) => ({
    scores: Float32Array.from(
      batch,
      ({ completion }) => Array.from(completion as string).filter((c) => (c.codePointAt(0)! - 33) % 2 === 0).length,
    ),
  }),
};
async function train(over: Parameters<typeof vllm>[1] = {}, settings: object = {}, options: object = {}) {
  const published = new Map<string, LocalDecoder>();
  const server = await vllm(published, over);
  const remote = remotePolicy({
    url: server.url,
    retries: 0,
    publish: async (policy, version) => {
      const path = `/adapters/v${version}`;
      published.set(path, policy.snapshot());
      return path;
    },
    ...options,
  });
  const run = memoryRun({ seed: 2 });
  const steps = 3;
  const config = { steps, promptsPerStep: 2, samplesPerPrompt: 4, maxTokens: 4, learningRate: 1e-2, klCoef: 0, ...settings };
  const prompts = promptBatches([letters(1, 2), letters(5)], { promptsPerStep: 2, steps, rng: rng(1) });
  await trainPolicy(config, { ...remote, policy: tinyDecoder(), prompts, reward: even, run });
  return { server, history: run.history };
}

describe('a server that samples', () => {
  it('is given the adapter after each update, under a name of its own, and forgets the one before', async () => {
    const { server } = await train();
    expect(server.calls).toEqual([
      '/v1/load_lora_adapter plumbline-v0',
      ...[0, 1, 2].flatMap((v) => [
        ...Array<string>(2).fill(`/v1/completions plumbline-v${v}`),
        `/v1/load_lora_adapter plumbline-v${v + 1}`,
        `/v1/unload_lora_adapter plumbline-v${v}`,
      ]),
    ]);
    expect(server.names()).toEqual(['plumbline-v3']);
  });

  it('is compared with the trainer: the gap between their log-probabilities is 0, or what it is', async () => {
    for (const row of (await train()).history) {
      expect(row['policy/samplerGap']!).toBeLessThan(1e-4);
      expect(row['policy/staleness']).toBe(0);
      expect(row['samples/stale']).toBe(0);
    }
    const { history } = await train({ gap: -0.25 }, { samplingCorrection: { mode: 'token_truncate' } });
    expect(history[0]['policy/samplerGap']!).toBeCloseTo(0.25, 4);
  });

  it('penalises what was written where asked, and says what it drew from', async () => {
    const { history } = await train({}, { repetitionPenalty: 1.5, samplingCorrection: { mode: 'token_truncate' } });
    expect(history[0]['policy/samplerGap']!).toBeGreaterThan(0.01);
  });

  it('that keeps an older policy has its samples refused, unless they may be that old', async () => {
    const stuck = (asked: string) => asked.replace(/v\d+$/, (v) => `v${Math.max(0, Number(v.slice(1)) - 1)}`);
    await expect(train({ answersAs: stuck })).rejects.toThrow(
      'the policy has learned from 1 batches, and all samples are of older ones (0)',
    );
    const { history } = await train({ answersAs: stuck }, { maxStaleness: 1 });
    expect(history.map((row) => row['policy/staleness'])).toEqual([0, 1, 1]);
  });

  it('that cannot load adapters is refused, saying what to start it with', async () => {
    await expect(train({ noAdapters: true })).rejects.toThrow(/cannot load adapters \(404\).*--enable-lora/);
    await expect(train({ withoutLora: true })).rejects.toThrow(/cannot load adapters \(500\).*--enable-lora/);
  });

  it('that does not find the adapter where it was put says where it looked', async () => {
    await expect(train({}, {}, { publish: async () => '/elsewhere' })).rejects.toThrow(
      /refused \/elsewhere: 404 .*No adapter found for \/elsewhere/,
    );
  });

  it('that still has the adapter of an earlier run is given the new one', async () => {
    const published = new Map<string, LocalDecoder>();
    const server = await vllm(published);
    const publish = async (policy: LocalDecoder) => {
      published.set('/adapter', policy.snapshot());
      return '/adapter';
    };
    for (let run = 0; run < 2; run++) await remotePolicy({ url: server.url, publish }).afterUpdate(tinyDecoder(), 0);
    expect(server.calls.map((call) => call.split(' ')[0])).toEqual([
      '/v1/load_lora_adapter',
      ...['/v1/load_lora_adapter', '/v1/unload_lora_adapter', '/v1/load_lora_adapter'],
    ]);
  });

  it('that answers as another model, does not name its tokens or has no log-probabilities is an error', async () => {
    await expect(train({ answersAs: () => 'base' })).rejects.toThrow('answered as "base", and plumbline-v0 was asked for');
    await expect(train({ plainTokens: true })).rejects.toThrow('does not name its tokens');
    await expect(train({ gap: Number.NaN })).rejects.toThrow('log-probabilities');
  });

  it('without log-probabilities is trained from, and corrections are refused', async () => {
    const { history } = await train({ gap: Number.NaN }, {}, { logps: false });
    expect(history[0]['policy/samplerGap']).toBeUndefined();
    await expect(train({}, { samplingCorrection: { mode: 'token_mask' } }, { logps: false })).rejects.toThrow(
      'needs the log-probabilities of the sampler',
    );
  });
});
