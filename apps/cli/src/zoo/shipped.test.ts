/** The files in packages/zoo: that they are those of their cards, and that a small sample says what the card says. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { backendInfo, rng } from '@plumbline/core';
import { differentStories, mathsBed, wordsBed } from '@plumbline/envs';
import { loadDecoder, loadScorer } from '@plumbline/models';
import { describe, expect, it } from 'vitest';
import { recipes } from './index.js';
import { bitsPerByte } from './quality.js';

const zoo = dirname(createRequire(import.meta.url).resolve('@plumbline/zoo/package.json'));
const shipped = readdirSync(zoo).filter((name) => existsSync(join(zoo, name, 'config.json')));
const read = (name: string, file: string) => readFileSync(join(zoo, name, file), 'utf8');
const measured = (name: string) => JSON.parse(read(name, 'measured.json')) as Record<string, number>;

describe('the zoo', () => {
  it('has what its recipes make, in 40 MB at most', () => {
    expect(Object.keys(recipes)).toEqual(expect.arrayContaining(shipped));
    expect(shipped).toEqual(expect.arrayContaining(['words-1m', 'words-6m', 'maths-1m', 'gold-words'])); // the sisters of words-1m may be made on demand
    const bytes = shipped
      .flatMap((name) => readdirSync(join(zoo, name)).map((file) => statSync(join(zoo, name, file)).size))
      .reduce((a, b) => a + b, 0);
    expect(bytes).toBeLessThan(40e6);
  });
});

describe.each(shipped)('zoo:%s', (name) => {
  const files = JSON.parse(read(name, 'sha256.json')) as Record<string, string>;
  const card = read(name, 'README.md');

  it.each(Object.entries(files))('has the %s that its card names', (file, hash) => {
    const found = createHash('sha256')
      .update(readFileSync(join(zoo, name, file)))
      .digest('hex');
    expect(found).toBe(hash);
    expect(card).toContain(`\`${file}\` sha256 \`${hash}\``);
  });

  it('is all that a model needs, in float16, and its card says how to remake it and under which licence', async () => {
    expect(Object.keys(files).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
    const header = readFileSync(join(zoo, name, 'model.safetensors'))
      .subarray(8, 4096)
      .toString('latin1');
    expect(header).toContain('"dtype":"F16"');
    expect(card).toContain(`plumb zoo train ${name}`);
    expect(card).toContain('Apache-2.0');
    const scores = read(name, 'config.json').includes('ForSequenceClassification');
    const model = await (scores ? loadScorer : loadDecoder)(`zoo:${name}`);
    const text = name.startsWith('maths') ? 'Anna has 12 apples.\nadd 5 <m> 12 + 5 = 17\nAnswer: 17' : 'Once there was a girl named Anna.';
    expect(model.tokenizer.decode(model.tokenizer.encode(text))).toBe(text);
    model.dispose();
  });
});

// Millions of parameters are too many for the plain cpu backend.
describe.skipIf(backendInfo().name === 'cpu')('the cards', () => {
  it.each(shipped.filter((name) => name.startsWith('words')))('of %s: bits per byte of stories', async (name) => {
    const said = measured(name).storiesBitsPerByte;
    const decoder = await loadDecoder(`zoo:${name}`);
    const stories = differentStories(rng(0).fork('stories'), 40); // the held-out ones are the recipe's first
    const found = await bitsPerByte(
      decoder,
      stories.map((story) => Int32Array.of(...decoder.tokenizer.encode(story), decoder.tokenizer.eosId!)),
    );
    expect(Math.abs(found / said - 1)).toBeLessThan(0.1);
    decoder.dispose();
  });

  it.skipIf(!shipped.includes('maths-1m'))('of maths-1m: how many answers are right', async () => {
    const bed = await mathsBed({ seed: 0, count: 1, heldOut: 200 });
    const { accuracy, sound } = await bed.evaluate(bed.base, { rng: rng(3), problems: bed.heldOutProblems });
    const mean = (x: Float64Array) => x.reduce((a, b) => a + b, 0) / x.length;
    const { level4Sampled, level4Sound } = measured('maths-1m');
    expect(Math.abs(mean(accuracy) - level4Sampled)).toBeLessThan(0.12); // three standard errors of 200 answers
    expect(Math.abs(mean(sound) - level4Sound)).toBeLessThan(0.12);
    expect(level4Sampled).toBeGreaterThan(0.3); // there is something to build on,
    expect(level4Sampled).toBeLessThan(0.7); // and something to gain
    bed.base.dispose();
  });

  it.skipIf(!shipped.includes('gold-words'))('of gold-words: its unit, and that it goes with guarded sentiment', async () => {
    const bed = await wordsBed({ seed: 3, gold: 'model' });
    const groups = await bed.sampleGroups({ prompts: bed.heldOutPrompts.slice(0, 64), n: 4, rng: rng(4) });
    const gold = groups.flatMap(({ scores }) => [...scores]);
    const guarded = groups.flatMap(({ components }) => [...components.guarded]);
    const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
    const deviation = (x: readonly number[]) => Math.sqrt(mean(x.map((v) => (v - mean(x)) ** 2)));
    const correlation = mean(gold.map((v, i) => (v - mean(gold)) * (guarded[i] - mean(guarded)))) / (deviation(gold) * deviation(guarded));
    expect(deviation(gold)).toBeGreaterThan(0.8);
    expect(deviation(gold)).toBeLessThan(1.2);
    expect(Math.abs(correlation - measured('gold-words').correlation)).toBeLessThan(0.1);
    bed.base.dispose();
    bed.dispose();
  });
});
