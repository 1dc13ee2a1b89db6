import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runOnline } from './online.js';
import { runDpo } from './preference.js';
import { DpoSettings } from './preferenceConfig.js';
import { runReward } from './reward.js';
import { RewardSettings } from './rewardConfig.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-online-'));
const file = (name: string, rows: readonly object[]) => {
  writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return join(folder, name);
};
const beginnings = [
  'Once there was a girl',
  'Tom had a dog',
  'The sun was',
  'One day',
  'A boy named Ben',
  'Mum said',
  'The cat',
  'In the park',
];
const prompts = file(
  'prompts.jsonl',
  beginnings.map((prompt) => ({ prompt })),
);

/** An OpenAI-compatible server whose model prefers the answer with more letters a; it is mute where it is told to be. */
let server: Server;
let url: string;
let mute = false;
let failAfter = Infinity;
let asked = 0;
beforeAll(async () => {
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      if (asked++ >= failAfter)
        return response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":{"message":"no more"}}');
      const text = (JSON.parse(body) as { messages: { content: string }[] }).messages.map(({ content }) => content).join('\n');
      const [, a = '', b = ''] = /Answer A(.*)Answer B(.*)/is.exec(text) ?? [];
      const count = (s: string) => s.split('a').length;
      const content = mute ? 'I would rather not say.' : `Reasons. [[${count(a) >= count(b) ? 'A' : 'B'}]]`;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }] }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

const settings = (more: object) =>
  DpoSettings.parse({
    steps: 4,
    pairsPerStep: 3,
    ...('online' in more && { newTokens: 10 }),
    learningRate: 2e-3,
    saveEvery: 1,
    storage: 'f32',
    heldOut: 0.25,
    lora: { r: 4 },
    ...more,
  });
const job = (dir: string, more: object, signal = new AbortController().signal) => ({
  settings: settings(more),
  model: 'zoo:words-1m',
  dataset: prompts,
  seed: 3,
  dir: join(folder, dir),
  signal,
});
const adapter = (dir: string) => readFileSync(join(folder, dir, 'adapter', 'adapter_model.safetensors'));

describe('plumb train dpo --online', () => {
  for (const online of ['pairs', 'xpo', 'nash_md', 'rounds'] as const)
    it(`${online} trains on what the policy writes, ordered by a reward; stopped and gone on with it is the same to the bit`, async () => {
      const more = { online, judge: 'length', ...(online === 'rounds' && { stepsPerRound: 3, samplesPerPrompt: 3 }) };
      const whole = await runOnline(job(`${online}-whole`, more));
      expect(whole).toMatchObject({
        steps: 4,
        judge: 'length',
        data: { train: 6, heldOut: 2 },
        pairs: { sampled: 12 },
        heldOut: { of: 'reward' },
      });
      const [first] = readFileSync(join(folder, `${online}-whole`, 'samples', 'step-000000.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(beginnings.some((text) => first.prompt.includes(text))).toBe(true);
      if (online !== 'nash_md') expect(first.chosen.length).toBeGreaterThanOrEqual(first.rejected.length); // of nash_md the policy's stands first

      const stop = new AbortController();
      const watching = setInterval(() => {
        if (existsSync(join(folder, `${online}-halves`, 'checkpoints', 'step-2'))) stop.abort();
      }, 1);
      await expect(runOnline(job(`${online}-halves`, more, stop.signal))).rejects.toThrow('stopped after step');
      clearInterval(watching);
      const resumed = await runOnline(job(`${online}-halves`, more));
      expect(adapter(`${online}-halves`).equals(adapter(`${online}-whole`))).toBe(true);
      expect(resumed.heldOut).toEqual(whole.heldOut);
      expect(resumed.pairs).toEqual(whole.pairs);
      expect(readdirSync(join(folder, `${online}-halves`, 'samples'))).toHaveLength(4);
    });

  it('takes a penalty from the reward of answers without end, where asked', async () => {
    const ends = { online: 'pairs', judge: 'length', steps: 1, pairsPerStep: 8, heldOut: 0, newTokens: 100 };
    const wins = async (dir: string, more: object) => {
      await runOnline(job(dir, { ...ends, ...more }));
      const rows = readFileSync(join(folder, dir, 'samples', 'step-000000.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      const ended = (text: string) => text.endsWith('<|endoftext|>');
      const mixed = rows.filter(({ chosen, rejected }) => ended(chosen) !== ended(rejected));
      return mixed.map(({ chosen }) => ended(chosen));
    };
    expect(await wins('longer', {})).toContain(false);
    expect(await wins('ending', { missingEosPenalty: 1000 })).not.toContain(false);
  });

  it('asks a language model behind an endpoint in both orders, and says how often the policy wins against what the model wrote before', async () => {
    const { heldOut, judge, pairs } = await runOnline(job('endpoint', { online: 'pairs', judge: url, judgeModel: 'stub', steps: 2 }));
    expect(judge).toMatch(/both orders/);
    expect(pairs.sampled).toBe(6);
    expect(heldOut).toMatchObject({ of: 'win rate', before: 0.5 });
  });

  it('stops where the judge says nothing that can be read, and keeps the state where it fails', async () => {
    mute = true;
    await expect(runOnline(job('mute', { online: 'pairs', judge: url, judgeModel: 'stub', heldOut: 0 }))).rejects.toThrow(
      'answered nothing that can be read on any of the 3 pairs of step 0',
    );
    mute = false;
    asked = 0;
    failAfter = 8; // in the second step
    const more = { online: 'pairs', judge: url, judgeModel: 'stub', heldOut: 0, saveEvery: 100 };
    await expect(runOnline(job('failing', more))).rejects.toThrow('answered nothing that can be read on any of the 3 pairs of step 1');
    expect(readdirSync(join(folder, 'failing', 'checkpoints'))).toEqual(['step-1']);
    failAfter = Infinity;
    expect((await runOnline(job('failing', more))).steps).toBe(4);
  });

  it('takes a classifier of pairs as its judge', async () => {
    const rows = Array.from({ length: 24 }, (_, i) => ({ prompt: `Once ${i}`, chosen: ' much joy.', rejected: ' much woe.' }));
    const trained = await runReward({
      settings: RewardSettings.parse({ loss: 'pairwise', steps: 2, heldOut: 0, lora: { r: 2 } }),
      model: 'zoo:words-1m',
      dataset: file('pairs.jsonl', rows),
      seed: 1,
      dir: join(folder, 'classifier'),
      signal: new AbortController().signal,
    });
    const { judge, heldOut } = await runOnline(
      job('classified', { online: 'rounds', judge: trained.output.model, steps: 2, stepsPerRound: 2 }),
    );
    expect(judge).toMatch(/both orders/);
    expect(heldOut!.of).toBe('win rate');
  });

  it('refuses what does not go together', async () => {
    await expect(runOnline(job('x', { online: 'pairs' }))).rejects.toThrow('--online pairs needs a judge');
    await expect(runOnline(job('x', { online: 'xpo', judge: 'length', loss: 'ipo' }))).rejects.toThrow(
      '--online xpo has a loss of its own',
    );
    await expect(runOnline(job('x', { online: 'pairs', judge: 'length', stepsPerRound: 2 }))).rejects.toThrow(
      'setting stepsPerRound is of --online rounds',
    );
    await expect(runOnline(job('x', { online: 'pairs', judge: 'length', judgeModel: 'm' }))).rejects.toThrow('judge must be its URL');
    await expect(runOnline(job('x', { online: 'pairs', judge: url, judgeModel: 'stub', missingEosPenalty: 1 }))).rejects.toThrow(
      /setting missingEosPenalty is taken from a reward, and .* compares answers without one/,
    );
    await expect(runDpo(job('x', { missingEosPenalty: 1 }))).rejects.toThrow('setting missingEosPenalty: of runs whose pairs');
    await expect(runDpo(job('x', { judge: 'length' }))).rejects.toThrow('setting judge: of runs whose pairs the policy writes');
  });
});

describe('plumb train dpo --loss tpo', () => {
  const rows = Array.from({ length: 20 }, (_, i) => ({
    prompt: `Once ${i} there was`,
    chosen: ' much joy.',
    rejected: ' much woe.',
    reference: ' much joy and sun.',
  }));
  const of = (dataset: string, more: object = {}) => ({
    ...job('tpo', { loss: 'tpo', learningRate: 5e-3, steps: 12, pairsPerStep: 4, ...more }),
    dataset,
  });
  it('learns the third answer as well', async () => {
    const summary = await runDpo(of(file('gold.jsonl', rows)));
    expect(summary.heldOut!.after.loss).toBeLessThan(summary.heldOut!.before!.loss / 2);
    expect(summary.heldOut!.after.accuracy!.mean).toBeGreaterThan(0.9);
  });
  it('names the record that has none', async () => {
    await expect(runDpo({ ...of(file('gold.jsonl', rows), { goldColumn: 'gold' }), dir: join(folder, 'tpo-none') })).rejects.toThrow(
      /its column "gold" holds nothing; the loss tpo learns a third answer/,
    );
  });
});
