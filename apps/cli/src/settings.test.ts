/** Settings from flags, and what is said of them. */
import { ScheduleConfig } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { AlignConfig } from './align/config.js';
import { QuickstartConfig } from './quickstart/config.js';
import { lossesHelp, nearest, parseFlags, readSettings, refuseUnknownOptions, settingsHelp } from './settings.js';

const Config = z.strictObject({
  steps: z.int().default(3).describe('Updates'),
  storage: z.enum(['f32', 'bf16']).default('bf16').describe('How weights are kept'),
  separator: z.string().default('\n').describe('What stands between'),
  schedule: ScheduleConfig.default({ kind: 'cosine', warmupSteps: 3, finalShare: 0, cycles: 0.5 }).describe('Warm-up and decay'),
});

describe('settings', () => {
  it('change one part of a default that is one of several kinds', () => {
    const { schedule } = readSettings(Config, { flags: parseFlags(['--schedule.warmupSteps', '10']) });
    expect(schedule).toEqual({ kind: 'cosine', warmupSteps: 10, finalShare: 0, cycles: 0.5 });
    expect(readSettings(Config, { flags: parseFlags(['--schedule.kind', 'linear']) }).schedule).toMatchObject({ kind: 'linear' });
  });

  it('take a lone value for a list of one', () => {
    const { lora } = readSettings(AlignConfig, { flags: parseFlags(['--lora.layers', '3', '--lora.modulesToSave', 'lm_head']) });
    expect(lora).toMatchObject({ layers: [3], modulesToSave: ['lm_head'], targetModules: 'all-linear' });
  });

  it('name the parts of a group that was given a value', () => {
    expect(() => readSettings(AlignConfig, { flags: { dpo: 3 } })).toThrow(
      'setting dpo holds 3, but is set by its parts: dpo.steps, dpo.pairsPerStep',
    );
  });

  it('name a part that a kind needs', () => {
    expect(() => readSettings(Config, { flags: parseFlags(['--schedule', 'wsd']) })).toThrow(
      /^setting schedule\.decaySteps is missing; a number is expected$/,
    );
  });

  it('guess at what was meant, letters turned round included', () => {
    expect(nearest('modle', ['steps', 'model'])).toBe('model');
    expect(nearest('stepz', ['steps', 'model'])).toBe('steps');
    expect(nearest('seed', ['steps', 'model'])).toBeUndefined();
    expect(() => readSettings(Config, { flags: parseFlags(['--datset', 'x']) })).toThrow('did you mean --dataset?');
  });

  it('are listed with what they may hold, their defaults, and nothing that breaks a line', () => {
    const help = settingsHelp(Config);
    expect(help).toMatch(/--storage +How weights are kept \[f32, bf16\] \(bf16\)/);
    expect(help).toMatch(/--schedule +Warm-up and decay \[kind: constant, linear, cosine, wsd\]/);
    expect(help).toMatch(/--schedule\.warmupSteps +Steps over which the rate rises linearly from 0 to its peak \(0\)\n/);
    expect(help).toMatch(/--schedule\.decaySteps +Steps of the decay, the last of the run \[of wsd\]/);
    expect(help).toContain('What stands between ("\\n")');
    for (const schema of [AlignConfig, QuickstartConfig])
      for (const line of settingsHelp(schema).split('\n')) expect(line.length).toBeLessThan(121);
  });

  it('of losses are listed by loss, and one that a loss does not have is answered with those that it has', () => {
    const losses = {
      simpo: { options: z.strictObject({ beta: z.number().default(2), gamma: z.number().optional() }) },
      sft: { options: z.strictObject({}) },
    };
    expect(lossesHelp(losses)).toContain('  simpo  beta (2), gamma\n  sft\n');
    expect(() => refuseUnknownOptions('simpo', losses.simpo, { gama: 1 })).toThrow(
      'the loss simpo has no option "gama" (did you mean gamma?); there are beta, gamma',
    );
    expect(() => refuseUnknownOptions('sft', losses.sft, { x: 1 })).toThrow('the loss sft has no option "x"; it has none');
  });
});
