import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { learningRateSchedule, ScheduleConfig } from './schedules.js';

const {
  lr_of_step: recorded,
  base_lr: peak,
  num_warmup_steps: warmupSteps,
  num_training_steps: steps,
} = JSON.parse(readFileSync(new URL('../test/fixtures/schedules.json', import.meta.url), 'utf8')) as {
  lr_of_step: Record<string, number[]>;
  base_lr: number;
  num_warmup_steps: number;
  num_training_steps: number;
};

describe('learningRateSchedule', () => {
  it.each([
    ['constant', { kind: 'constant' }],
    ['constant_with_warmup', { kind: 'constant', warmupSteps }],
    ['linear', { kind: 'linear', warmupSteps }],
    ['cosine', { kind: 'cosine', warmupSteps }],
    ["cosine{'num_cycles': 1.0}", { kind: 'cosine', warmupSteps, cycles: 1 }],
    ["cosine_with_min_lr{'min_lr_rate': 0.1}", { kind: 'cosine', warmupSteps, finalShare: 0.1 }],
    [
      "warmup_stable_decay{'num_decay_steps': 6, 'min_lr_ratio': 0.1}",
      { kind: 'wsd', warmupSteps, decaySteps: 6, finalShare: 0.1, warmupFrom: 0.1 },
    ],
  ] as const)('is transformers’ %s through the last step', (name, config) => {
    const schedule = learningRateSchedule({ ...config, peak, steps });
    for (let step = 0; step <= steps; step++) expect(Math.abs(schedule(step) - recorded[name][step])).toBeLessThan(1e-12);
  });

  it('keeps the final rate beyond the last step', () => {
    const schedule = learningRateSchedule({ kind: 'cosine', peak: 2, steps: 10, finalShare: 0.25 });
    expect([10, 11, 1000].map(schedule)).toEqual([0.5, 0.5, 0.5]);
  });

  it('decays in a straight line where asked', () => {
    const schedule = learningRateSchedule({ kind: 'wsd', decay: 'linear', peak: 1, warmupSteps: 2, decaySteps: 4, steps: 10 });
    expect([0, 1, 2, 6, 7, 8, 9, 10].map(schedule)).toEqual([0, 0.5, 1, 1, 0.75, 0.5, 0.25, 0]);
  });

  it('stays within 0 and the peak', () => {
    for (const kind of ['constant', 'linear', 'cosine'] as const)
      for (const warmup of [0, 1, 5, 10]) {
        const schedule = learningRateSchedule({ kind, peak: 3e-4, warmupSteps: warmup, steps: 10 });
        for (let step = 0; step < 12; step++) {
          expect(schedule(step)).toBeGreaterThanOrEqual(0);
          expect(schedule(step)).toBeLessThanOrEqual(3e-4);
        }
      }
  });

  it('names what does not fit', () => {
    expect(() => learningRateSchedule({ kind: 'linear', peak: 1, warmupSteps: 11, steps: 10 })).toThrow(
      '11 warm-up steps do not fit into 10 steps',
    );
    expect(() => learningRateSchedule({ kind: 'wsd', peak: 1, warmupSteps: 5, decaySteps: 6, steps: 10 })).toThrow(
      '5 warm-up steps and 6 steps of decay',
    );
    expect(() => learningRateSchedule({ kind: 'linear', peak: Number.NaN, steps: 10 })).toThrow('got NaN');
    expect(() => learningRateSchedule({ kind: 'linear', peak: 1, steps: 0 })).toThrow('got 0');
    expect(ScheduleConfig.safeParse({ kind: 'linear', warmup: 3 }).error?.message).toContain('warmup');
    expect(() => learningRateSchedule({ kind: 'cubic', peak: 1, steps: 1 } as never)).toThrow('kind');
  });
});
