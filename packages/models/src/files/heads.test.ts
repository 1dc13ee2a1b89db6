import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type AttributeScorer,
  createAttributeScorer,
  createPairScorer,
  createStepScorer,
  createTokenValues,
  type StepScorer,
} from '../scorer/heads.js';
import { readJson, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { loadHead, saveHead } from './heads.node.js';
import { loadScorer } from './load.node.js';
import { saveScorer } from './save.node.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-heads-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const decoder = tinyDecoder();
const { tokenizer } = decoder;
const batch = packSequences([
  { tokens: Int32Array.of(1, 2, 3, 4, 5), completionStart: 2, row: 0 },
  { tokens: Int32Array.of(6, 7, 8), completionStart: 1, row: 1 },
]);

describe('saveHead and loadHead', () => {
  it('keep attributes, with how they are read, as a sequence classifier', async () => {
    const scorer = createAttributeScorer(decoder, { attributes: ['helpful', 'safe'], pooling: 'mean', rng: rng(1) });
    await saveHead(at('attributes'), scorer);
    const config = JSON.parse(readFileSync(join(at('attributes'), 'config.json'), 'utf8'));
    expect(config).toMatchObject({ architectures: ['LlamaForSequenceClassification'], id2label: { 0: 'helpful', 1: 'safe' } });
    const again = (await loadHead(at('attributes'), { tokenizer })) as AttributeScorer;
    expect(again).toMatchObject({ labels: ['helpful', 'safe'], pooling: 'mean' });
    expect(await readCopy(again.scores(batch))).toEqual(await readCopy(scorer.scores(batch)));
    const { plumbline: _, ...foreign } = config; // as transformers writes it
    writeFileSync(join(at('attributes'), 'config.json'), JSON.stringify(foreign));
    expect(await loadHead(at('attributes'), { tokenizer })).toMatchObject({ kind: 'attributes', pooling: 'last' });
  });

  it('keep steps as a token classifier of two labels, values of one, and pairs', async () => {
    const steps = createStepScorer(decoder, { rng: rng(1) });
    await saveHead(at('steps'), steps);
    expect(JSON.parse(readFileSync(join(at('steps'), 'config.json'), 'utf8')).architectures).toEqual(['LlamaForTokenClassification']);
    const again = (await loadHead(at('steps'), { tokenizer })) as StepScorer;
    const rows = Int32Array.of(3, 7);
    expect(await readCopy(again.logits(batch, rows))).toEqual(await readCopy(steps.logits(batch, rows)));
    await saveHead(at('values'), createTokenValues(decoder));
    expect((await loadHead(at('values'), { tokenizer })).kind).toBe('values');
    await saveHead(at('pairs'), createPairScorer(decoder, { rng: rng(1) }));
    expect((await loadHead(at('pairs'), { tokenizer })).kind).toBe('pairs');
  });
});

describe.skipIf(!sharedFolder).each(['llama_score', 'qwen2_score'])(`%s, as transformers wrote it${whySkipped}`, (name) => {
  type Io = { input_ids: number[][]; attention_mask: number[][]; scores: number[] };
  it('loads as a reward model, and is written so that it loads again', async () => {
    const path = sharedFixture(`models/${name}`);
    const io = readJson<Io>(join(path, 'io.json'));
    const rows = packSequences(
      io.input_ids.map((ids, row) => ({
        tokens: Int32Array.from(ids.filter((_, t) => io.attention_mask[row][t])),
        completionStart: 0,
        row,
      })),
    );
    const options = { tokenizer: plainTokenizer(100) };
    const scorer = await loadScorer(path, options);
    const scores = (await readCopy(scorer.scores(rows))) as Float32Array;
    scores.forEach((score, i) => void expect(score).toBeCloseTo(io.scores[i], 4));
    await saveScorer(at(name), scorer);
    const again = await loadScorer(at(name), options);
    expect(await readCopy(again.scores(rows))).toEqual(scores);
    const frozen = await loadScorer(path, { ...options, storage: 'bf16' });
    ((await readCopy(frozen.scores(rows))) as Float32Array).forEach(
      (score, i) => void expect(Math.abs(score - io.scores[i])).toBeLessThan(0.1),
    );
  });
});
