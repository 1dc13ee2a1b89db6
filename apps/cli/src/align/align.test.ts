/** The main job on a model of a user's: small steps on zoo:words-1m, by adapters as a large model gets them. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AlignConfig } from './config.js';
import { type AlignJob, runAlign } from './job.js';
import { alignTable, summariseAlign } from './report.js';

const animals = ['dog', 'cat', 'bird', 'fish', 'cow', 'horse'];
const records = Array.from({ length: 48 }, (_, i) => ({
  id: `pair ${i}`,
  prompt: `There was a ${animals[i % 6]} with ${i} friends.`,
  chosen: ` The ${animals[i % 6]} was happy and good.`,
  rejected: ` The ${animals[i % 6]} was sad and bad.`,
}));
const job = (dir: string, settings: object = {}): AlignJob => ({
  config: AlignConfig.parse({
    full: false,
    lora: { r: 4 },
    reward: { steps: 10, learningRate: 5e-3 },
    dpo: { steps: 8, learningRate: 2e-3 },
    samples: { prompts: 2, maxTokens: 4 },
    ...settings,
  }),
  model: 'zoo:words-1m',
  records,
  skipped: 0,
  seed: 0,
  dir,
  signal: new AbortController().signal,
});

describe('plumb align', () => {
  it('learns a reward model and a policy by adapters, measured on other prompts, and reads what was done when started again', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'plumbline-align-'));
    const outcome = await runAlign(job(dir));
    expect(outcome.data).toEqual({ read: 48, skipped: 0, tooLong: 0, train: 31, heldOut: 17 });
    expect(outcome.samples).toHaveLength(2);
    const { reward, dpo } = summariseAlign({
      outcome,
      config: job(dir).config,
      dataset: 'pairs',
      seed: 0,
      backend: { name: 'native' } as never,
    });
    expect(reward.margin.change.ci95[0]).toBeGreaterThan(0);
    expect(reward.accuracy.after.mean).toBe(1);
    expect(dpo.margin.change.ci95[0]).toBeGreaterThan(0);
    expect(dpo.implicitAccuracy.mean).toBe(1);
    expect(alignTable({ reward, dpo } as never)).toMatch(/DPO: implicit reward, accuracy +100%/);

    // The head is trained and kept with the adapter.
    const adapter = JSON.parse(readFileSync(join(dir, 'reward', 'model', 'adapter_config.json'), 'utf8'));
    expect(adapter).toMatchObject({ task_type: 'SEQ_CLS', modules_to_save: ['score'] });
    expect(await runAlign(job(dir))).toEqual(outcome);
  });

  it('refuses settings of adapters for a model so small that all its weights are trained', async () => {
    await expect(runAlign(job(tmpdir(), { full: undefined }))).rejects.toThrow(
      /setting lora would do nothing: .* \(full false makes one\)/,
    );
  });

  it('says how many pairs fit where there are too few', async () => {
    await expect(runAlign(job(tmpdir(), { maxTokens: 2 }))).rejects.toThrow(
      'of 48 preference pairs 0 fit into 2 tokens; at least 10 are needed to train on some and measure on others: raise maxTokens, up to 128',
    );
  });
});
