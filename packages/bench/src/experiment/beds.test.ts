import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { defineExperiment } from './define.js';
import { runExperiment } from './run.js';

it('gives an experiment each bed by its name, counts the parameters of its model, and frees it all', async () => {
  const seen: Record<string, string> = {};
  const experiment = defineExperiment({
    id: 'beds',
    paper: 'none',
    packages: ['envs'],
    config: z.strictObject({}),
    quick: {},
    arms: ['one'],
    metrics: { x: { unit: 'points', better: 'higher' } },
    claims: [{ id: 'x', text: 'x', test: 'full scale only' }],
    async run({ bed }) {
      for (const name of ['words', 'goldWords', 'maths'] as const) seen[name] = (await bed(name)).gold.name;
      expect(await bed('maths')).toBe(await bed('maths'));
      return { arms: { one: { x: 0 } } };
    },
  });
  const outDir = mkdtempSync(join(tmpdir(), 'plumbline-beds-'));
  try {
    const before = tf.memory().numTensors;
    const { result, resultPath } = await runExperiment(experiment, { outDir, seeds: 1 });
    expect(tf.memory().numTensors).toBe(before);
    expect(new Set(Object.values(seen)).size).toBe(3);
    expect(result.parameters).toBe(1_066_112); // of words-1m, the first bed that was asked for
    expect(existsSync(resultPath)).toBe(true);
  } finally {
    rmSync(outDir, { recursive: true, force: true });
  }
});
