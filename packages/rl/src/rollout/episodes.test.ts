import { type LoggedStep, memoryRun, rng } from '@plumbline/core';
import { type PromptRecord, packShared, promptBatches, sharedTokens, type TextEnv } from '@plumbline/data';
import { tinyDecoder } from '@plumbline/models/testing';
import { describe, expect, it } from 'vitest';
import { letters } from '../testing/rollouts.js';
import { trainPolicy } from '../trainPolicy.js';
import { type EpisodeOptions, episodeReturn, episodes } from './episodes.js';
import { completionTokens, countOf, packSamples, type RolloutSample } from './generate.js';
import { toolCall, toolEnv, toolPrompt } from './tools.js';

const idOf = (text: string) => (text.codePointAt(0) ?? 33) - 33;

/** Says a letter; the action is right where its id is even. Two right answers in a row are a success. */
function echo(): TextEnv {
  let asked = 0;
  let right = 0;
  return {
    async reset(seed) {
      asked = seed % 23;
      right = 0;
      return { observation: letters(asked), anchor: String(asked) };
    },
    async step(action) {
      const hit = idOf(action) % 2 === 0;
      right += Number(hit);
      asked = (asked + 5) % 23;
      return {
        observation: letters(asked),
        reward: hit ? 1 : 0,
        done: !hit,
        success: right === 2,
        valid: action.length > 0,
        anchor: String(asked),
      };
    },
    close: () => {},
  };
}
const options: EpisodeOptions = { env: echo, maxTurns: 3, maxTokensPerTurn: 1, continueCut: true, render: (text) => text };
const records: PromptRecord[] = [{ prompt: letters(3, 4) }, { prompt: letters(7) }];
const roll = (over: Partial<EpisodeOptions> = {}, n = 3, seed = 1) => {
  const policy = tinyDecoder();
  const prompts = records.map(({ prompt }) => Int32Array.from(prompt as string, (c) => c.codePointAt(0)! - 33));
  return episodes({ ...options, ...over })({ policy, prompts, records, n, sampling: { maxTokens: 4 }, rng: rng(seed) });
};

describe('episodes', () => {
  it('marks what the policy wrote, keeps its ids, and counts turns where they end', async () => {
    for (const { tokens, mask, episode, samplingLogps, prompt } of await roll()) {
      expect(prompt.at(-1)).toBeLessThan(23); // the world's first words are part of the prompt
      expect(mask!.length).toBe(tokens.length);
      expect(samplingLogps.length).toBe(countOf({ tokens, mask }));
      expect(episode!.turnEnds).toEqual(Array.from({ length: samplingLogps.length }, (_, k) => k)); // one token a turn
      expect(episode!.turnRewards.length).toBe(episode!.turnEnds.length);
      expect(episode!.anchors!.length).toBe(episode!.turnEnds.length);
      Array.from(mask!).forEach((own, t) => void expect(own).toBe(t % 2 === 0 ? 1 : 0)); // one token each in turn
      const wrong = episode!.turnRewards.indexOf(0);
      expect(episode!.end).toBe(wrong >= 0 ? 'done' : 'turns');
    }
  });

  it('has the log-probabilities of the sampler under the trainer, on every token of the policy, prompts shared or not', async () => {
    const samples = await roll();
    for (const sharePrompts of [false, true]) {
      const { logps } = await completionTokens(tinyDecoder(), samples, { temperature: 1, tokensPerMicroBatch: 64, sharePrompts });
      samples.forEach(({ samplingLogps }, i) => {
        expect(logps[i].length).toBe(samplingLogps.length);
        logps[i].forEach((logp, t) => void expect(Math.abs(logp - samplingLogps[t])).toBeLessThan(1e-4));
      });
    }
  });

  it('does not depend on how many live beside it', async () => {
    const [many, few] = [await roll({}, 3), await roll({}, 1)];
    expect(Array.from(few[0].tokens)).toEqual(Array.from(many[0].tokens));
    expect(Array.from(few[1].tokens)).toEqual(Array.from(many[3].tokens));
  });

  it('ends where the context has no room for another turn, and drops what the world said last', async () => {
    const samples = await roll({ maxContext: 5 });
    const full = samples.filter(({ episode }) => episode!.end === 'context');
    for (const { prompt, tokens, mask } of samples) {
      expect(prompt.length + tokens.length).toBeLessThanOrEqual(5);
      expect(mask!.at(-1)).toBe(1);
    }
    expect(full.every(({ finish }) => finish === 'length')).toBe(true);
    await expect(roll({ maxContext: 3 })).rejects.toThrow('leave no room');
  });

  const train = async (advantage: unknown, seed: number, steps = 40) => {
    const policy = tinyDecoder();
    const run = memoryRun({ seed });
    await trainPolicy({ steps, promptsPerStep: 2, samplesPerPrompt: 8, maxTokens: 1, learningRate: 1e-2, klCoef: 0, advantage } as never, {
      policy,
      prompts: promptBatches(records, { promptsPerStep: 2, steps, rng: rng(1) }),
      reward: episodeReturn,
      rollout: episodes(options),
      run,
    });
    return run.history;
  };
  const mean = (rows: LoggedStep[], name: keyof LoggedStep) => rows.reduce((sum, row) => sum + (row[name] as number), 0) / rows.length;
  for (const advantage of ['group', 'turns', 'gigpo', 'reinforce++'])
    it(`are learned from: the return of a policy under GRPO rises with advantage ${advantage}`, async () => {
      const history = await train(advantage, 3);
      expect(mean(history.slice(0, 3), 'reward/mean')).toBeLessThan(1.5); // of 3
      expect(mean(history.slice(-3), 'reward/mean')).toBeGreaterThan(2.4);
      expect(history.at(-1)!['episodes/turns']!).toBeGreaterThan(2);
      expect(history[0]['policy/samplerGap']!).toBeLessThan(1e-4);
    });
});

describe('shared prompts in training', () => {
  const prompt = Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const samples = [0, 1, 2, 3].map(
    (i): RolloutSample => ({
      prompt,
      group: 0,
      tokens: Int32Array.from({ length: 2 + i }, (_, t) => (3 * i + t) % 23),
      ...(i === 2 && { mask: Uint8Array.of(1, 0, 1, 1) }),
      text: '',
      samplingLogps: new Float32Array(0),
      finish: 'stop',
    }),
  );
  it('have the same log-probabilities for fewer tokens', async () => {
    const of = async (sharePrompts: boolean) =>
      (await completionTokens(tinyDecoder(), samples, { temperature: 1, tokensPerMicroBatch: 1000, sharePrompts })).logps;
    const [apart, shared] = [await of(false), await of(true)];
    apart.forEach((own, i) => void own.forEach((logp, t) => void expect(Math.abs(logp - shared[i][t])).toBeLessThan(1e-5)));
    expect(apart.map(({ length }) => length)).toEqual([2, 3, 3, 5]);
    expect(packSamples(samples, [0, 1, 2, 3], false).tokens.length).toBe(4 * 8 + 14);
    expect(packSamples(samples, [0, 1, 2, 3], true).tokens.length).toBe(8 + 14);
    expect(sharedTokens(samples.map(({ tokens }) => ({ prompt, completion: tokens })))).toEqual({ shared: 22, apart: 46 });
  });
  it('mask what does not count alike in both layouts', () => {
    const items = [0, 1].map((row) => ({ prompt, completion: Int32Array.of(1, 2, 3), completionMask: Uint8Array.of(1, 0, 1), row }));
    expect(Array.from(packShared(items).completionMask.subarray(0, 6))).toEqual([1, 0, 1, 1, 0, 1]);
    expect(Array.from(packShared(items.slice(0, 1)).completionMask)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
    expect(() => packShared([{ ...items[0], completionMask: Uint8Array.of(1) }, items[1]])).toThrow('3 tokens and 1 mask');
  });
});

describe('tools', () => {
  const env = () =>
    toolEnv({
      tools: [{ name: 'add', run: ({ a, b }) => String(Number(a) + Number(b)) }],
      maxCalls: 2,
      reward: (answer) => (answer.includes('5') ? 1 : 0),
    });
  it('answer calls, say what was wrong with one, and reward the text without a call', async () => {
    const world = env();
    await world.reset(0, { prompt: '2 + 3?' });
    const call = (json: string) => world.step(`I add. <tool_call>${json}</tool_call>`);
    expect(await call('{"name": "add", "arguments": {"a": 2, "b": 3}}')).toMatchObject({
      observation: '5',
      role: 'tool',
      done: false,
      valid: true,
    });
    expect(await call('{"name": "multiply"}')).toMatchObject({
      observation: 'error: there is no tool "multiply"; there are add',
      valid: false,
    });
    expect(await world.step('It is 5.')).toMatchObject({ reward: 1, done: true, success: true });
  });
  it('end an episode that calls too often', async () => {
    const world = env();
    await world.reset(0, { prompt: '' });
    for (let i = 0; i < 2; i++) expect((await world.step('<tool_call>{"name": "add"}</tool_call>')).done).toBe(false);
    expect(await world.step('<tool_call>{"name": "add"}</tool_call>')).toMatchObject({ done: true, success: false, reward: 0 });
  });
  it('are found in text, whole or cut', () => {
    const told = toolPrompt([{ name: 'f', description: 'twice x', parameters: { x: { type: 'number' } } }]);
    expect(told.split('\n').at(-1)).toBe('{"name":"f","description":"twice x","parameters":{"x":{"type":"number"}}}');
    expect(toolCall(told)).toEqual({ name: 'NAME', arguments: {} }); // what it shows is a call
    expect(toolCall('nothing')).toBeUndefined();
    expect(toolCall('<tool_call>{"name": "f", "arguments": {"x": 1}}')).toEqual({ name: 'f', arguments: { x: 1 } });
    expect(toolCall('<tool_call>{"name": 3}</tool_call>')).toEqual({ problem: 'a call needs a "name"' });
    expect(toolCall('<tool_call>{</tool_call>')).toHaveProperty('problem');
  });
});
