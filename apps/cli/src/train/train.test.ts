import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LoraConfig, loadAdapter, loadDecoder } from '@plumbline/models';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { exportModel } from '../commands/export.js';
import { parseFlags, readSettings, settingsHelp } from '../settings.js';
import { encodeChats, readChats } from './chats.js';
import { runSft } from './sft.js';
import { SftSettings } from './sftConfig.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-train-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, rows: object[]) => {
  writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return join(folder, name);
};
const stories = file(
  'stories.jsonl',
  ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Frank', 'Grace', 'Henry', 'Iris', 'Jack', 'Kate', 'Leo'].map((name) => ({
    prompt: `Once there was a child named ${name}.`,
    completion: ` ${name} went to the river and was happy.`,
  })),
);

describe('settings as flags', () => {
  it('nest by dots, read values as YAML, and make lists', () => {
    expect(parseFlags(['--lora.r', '4', '--lora.targetModules', 'q_proj', 'v_proj', '--learning-rate=1e-3', '--full'])).toEqual({
      lora: { r: 4, targetModules: ['q_proj', 'v_proj'] },
      learningRate: 1e-3,
      full: true,
    });
    expect(() => parseFlags(['lora.r'])).toThrow(/unexpected "lora.r"; settings are given as --key value/);
  });

  it('win over the file and name what is wrong', () => {
    const config = join(folder, 'sft.yaml');
    writeFileSync(config, 'lora:\n  r: 2\n  alpha: 3\nsteps: 7\n');
    const settings = readSettings(SftSettings, { config, flags: parseFlags(['--lora.r', '5']) });
    expect(settings).toMatchObject({ steps: 7, lora: { r: 5, alpha: 3 } });
    expect(() => readSettings(SftSettings, { flags: parseFlags(['--lora.rank', '5']) })).toThrow(
      /"lora.rank" is not a setting of lora; there are r, alpha/,
    );
    expect(() => readSettings(SftSettings, { flags: parseFlags(['--steps', 'many']) })).toThrow(/setting steps holds "many"/);
  });

  it('are all listed, with default and meaning', () => {
    const help = settingsHelp(z.strictObject({ lora: LoraConfig.prefault({}), steps: z.int().default(3).describe('Updates') }));
    expect(help).toMatch(/--lora.r +Rank of the update \(8\)/);
    expect(help).toMatch(/--steps +Updates \(3\)/);
  });
});

describe('conversations', () => {
  it('are read from prompts with completions, preference pairs, messages and text', async () => {
    const of = async (name: string, row: object) => (await readChats(file(name, [row]))).chats[0];
    expect(await of('alpaca.jsonl', { instruction: 'Say hi', input: '', output: 'hi' })).toMatchObject({
      prompt: 'Say hi',
      completion: 'hi',
    });
    expect(await of('pairs.jsonl', { prompt: 'a', chosen: 'b', rejected: 'c' })).toMatchObject({ prompt: 'a', completion: 'b' });
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
    ];
    expect(await of('chat.jsonl', { messages })).toMatchObject({ messages });
    expect(await of('text.jsonl', { text: 'a b' })).toMatchObject({ text: 'a b' });
    await expect(readChats(file('prompts.jsonl', [{ prompt: 'a' }]))).rejects.toThrow(
      /holds prompt records, which have no answers to learn/,
    );
  });

  it('count where the answer is, and are left out where they are too long', async () => {
    const model = await loadDecoder('zoo:words-1m');
    const { chats } = await readChats(stories);
    const { sequences, dropped } = encodeChats(model, chats, 64);
    expect(dropped).toBe(0);
    const [{ tokens, completionStart }] = sequences;
    expect(model.tokenizer.decode(tokens.subarray(completionStart))).toContain('went to the river');
    expect(encodeChats(model, chats, 5)).toMatchObject({ sequences: [], dropped: 12 });
  });
});

describe('plumb train sft', () => {
  const settings = SftSettings.parse({
    steps: 6,
    heldOut: 0.2,
    sequencesPerStep: 4,
    learningRate: 5e-3,
    evaluateEvery: 3,
    lora: { r: 4, dropout: 0.1 },
    saveEvery: 100,
  });
  const job = (dir: string, signal = new AbortController().signal) => ({
    settings,
    model: 'zoo:words-1m',
    dataset: stories,
    seed: 1,
    dir,
    signal,
  });
  const adapterOf = (dir: string) => readFileSync(join(dir, 'adapter', 'adapter_model.safetensors'));

  it('learns an adapter, goes on after an interruption to the same bytes, and leaves what other tools read', async () => {
    const straight = join(folder, 'straight');
    const summary = await runSft(job(straight));
    expect(summary.heldOutLoss!.after).toBeLessThan(summary.heldOutLoss!.before);
    expect(summary).toMatchObject({ steps: 6, data: { train: 10, heldOut: 2 } });

    const stopped = join(folder, 'stopped');
    const asked = {
      get aborted() {
        const log = join(stopped, 'metrics.jsonl');
        return existsSync(log) && readFileSync(log, 'utf8').split('\n').length > 3; // after three steps
      },
      throwIfAborted() {},
    } as AbortSignal;
    await expect(runSft(job(stopped, asked))).rejects.toThrow(/stopped after step 3/);
    await runSft(job(stopped));
    expect(adapterOf(stopped)).toEqual(adapterOf(straight));

    writeFileSync(join(straight, 'identity.json'), JSON.stringify({ model: 'zoo:words-1m' }));
    const out = join(folder, 'merged');
    await exportModel(straight, { to: 'safetensors', out });
    await exportModel(straight, { to: 'peft', out: join(folder, 'peft') });
    const merged = await loadDecoder(out);
    const adapted = await loadAdapter(await loadDecoder('zoo:words-1m', { storage: 'bf16' }), join(folder, 'peft'), {
      onWarning: () => {},
    });
    const { chats } = await readChats(stories);
    const { sequences } = encodeChats(merged, chats, 64);
    const { sftLoss } = await import('@plumbline/models');
    expect(await sftLoss(adapted, sequences)).toBeCloseTo(await sftLoss(merged, sequences), 1);
    await expect(exportModel('zoo:words-1m', { to: 'peft', out })).rejects.toThrow(/is a whole model; --to peft writes an adapter/);
    await expect(exportModel('zoo:words-1m', { to: 'gguf', type: 'Q4', out })).rejects.toThrow(
      /--type Q4: with --to gguf there are F32, F16, BF16, Q8_0/,
    );
  });
});
