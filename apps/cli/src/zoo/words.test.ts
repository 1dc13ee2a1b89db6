import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InterruptedError } from '@plumbline/core';
import { wordsBed } from '@plumbline/envs';
import { loadDecoder } from '@plumbline/models';
import { afterAll, describe, expect, it } from 'vitest';
import { trainWords } from './words.js';
import { words1mSettings } from './wordsConfig.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-zoo-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the words recipe', () => {
  const tiny = {
    ...words1mSettings,
    name: 'tiny',
    shape: { vocabSize: 1000, width: 8, layers: 1, heads: 2, mlpWidth: 8, contextLength: 160 },
    stories: 400,
    heldOutStories: 20,
    heldOutDocuments: 0.2,
    steps: 6,
    warmupSteps: 1,
    storiesPerStep: 2,
    proseWindowsPerStep: 1,
    measured: { stories: 4, prompts: 4, samplesPerPrompt: 2 },
  };
  const sources = async () => ({
    prose: Array.from({ length: 10 }, (_, i) => `It is the ${i}th address of the people, to the people and by the people. `.repeat(30)),
    dictionary: new Set(['the', 'people']),
  });
  const train = (out: string, signal?: AbortSignal, onStep?: () => void, seed = 0) =>
    trainWords(
      tiny,
      {
        seed,
        out: join(folder, out),
        runDir: join(folder, `${out}-run`),
        signal,
        onProgress: ({ stage }) => stage === 'pretraining' && onStep?.(),
      },
      sources,
    );

  it('makes the same files for the same seed, interrupted or not, and others for another seed', async () => {
    const whole = await train('whole');
    const stop = new AbortController();
    await expect(train('twice', stop.signal, () => stop.abort())).rejects.toThrow(InterruptedError);
    expect(existsSync(join(folder, 'twice', 'model.safetensors'))).toBe(false);
    const resumed = await train('twice');
    expect(resumed.sha256).toEqual(whole.sha256);
    const other = await train('other', undefined, undefined, 1);
    expect(other.sha256['model.safetensors']).not.toBe(whole.sha256['model.safetensors']);
    expect(other.sha256['tokenizer.json']).toBe(whole.sha256['tokenizer.json']);
  });

  it('leaves a model that the bed can use, and a card with its hashes', async () => {
    const base = await loadDecoder(join(folder, 'whole'));
    const bed = await wordsBed({ seed: 0, base });
    expect(bed.prompts).toHaveLength(3000);
    base.dispose();
    const card = readFileSync(join(folder, 'whole', 'README.md'), 'utf8');
    for (const hash of Object.values(JSON.parse(readFileSync(join(folder, 'whole', 'sha256.json'), 'utf8')))) expect(card).toContain(hash);
  });
});
