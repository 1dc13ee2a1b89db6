import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from '@plumbline/core';
import { encodePairs } from '@plumbline/data';
import type { TrainerUnderTest } from '@plumbline/data/contract';
import { evaluatePairs, pairLoss } from '@plumbline/dpo';
import { loadAdapter, loadDecoder } from '@plumbline/models';
import { afterAll, describe, expect, it } from 'vitest';
import { casesOfModule, runCases } from '../commands/checkTrainer.js';
import { casesNamed, casesOf, trainerNamed, trainerNames } from './trainers.js';
import { checkTrlLog, readTrlLog, trlStateIn } from './trlLog.js';
import { checkTrlWeights } from './trlWeights.js';

// Every trainer and loss: `dpo` and `kto` alone stand for their defaults, and two names of one loss are run once.
for (const name of trainerNames.filter((one) => !['reward', 'dpo', 'kto', 'rl', 'dpo:dpo', 'dpo:bo2'].includes(one)))
  describe(name, () => {
    for (const { name: invariant, run, leftOut } of casesNamed(name)) if (!leftOut) it(invariant, run);
  });

describe('the suite', () => {
  const of = async (broken: Partial<TrainerUnderTest>) =>
    (await runCases(casesOf(() => ({ ...trainerNamed('sft'), ...broken }))))
      .filter(({ outcome }) => outcome === 'broken')
      .map(({ name }) => name);
  const honest = trainerNamed('sft');
  it('finds nothing in a trainer that keeps it, and each mistake by its name', async () => {
    expect(await of({})).toEqual([]);
    const meanOfMeans: TrainerUnderTest['step'] = async (rows, options) => {
      const parts = await Promise.all(rows.map((row) => honest.step([row])));
      const split = options?.rowsPerMicroBatch ?? rows.length;
      return split === rows.length
        ? honest.step(rows)
        : { loss: parts.reduce((sum, { loss }) => sum + loss, 0) / parts.length, gradNorm: (await honest.step(rows)).gradNorm };
    };
    expect(await of({ step: meanOfMeans, train: undefined })).toEqual(expect.arrayContaining(['splitting a batch changes nothing']));
    expect(await of({ startLoss: Math.LN2, train: undefined })).toEqual([
      'starts at the loss that has a closed form while the policy is its reference',
    ]);
    expect(await of({ train: (rows, o) => honest.train!(rows, { ...o, seed: 1 }) })).toEqual([
      'a resumed run equals an uninterrupted one bit for bit, and another seed differs',
    ]);
    expect(await of({ train: undefined, score: async (rows) => rows.map((_, i) => i) })).toEqual([
      'a score does not depend on its batch neighbours',
    ]);
  });
});

describe('a trainer of a user', () => {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-own-trainer-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const own = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const example = /^## A trainer of your own[\s\S]*?```js\n([\s\S]*?)```/m.exec(readme)![1];

  it('as the README writes one keeps the invariants; one that divides by micro-batches is found out', async () => {
    const outcomes = async (file: string) =>
      Object.fromEntries((await runCases(await casesOfModule(file))).map(({ name, outcome }) => [name, outcome]));
    const honest = await outcomes(own('honest.mjs', example));
    expect(Object.values(honest)).toContain('holds');
    expect(Object.values(honest)).not.toContain('broken');
    expect(await outcomes(own('wrong.mjs', example.replaceAll(') / tokens', ') / rowsPerMicroBatch')))).toMatchObject({
      'splitting a batch changes nothing': 'broken',
      'a fully masked row adds nothing': 'broken',
    });
  });

  it('that cannot be loaded is named without a stack', async () => {
    await expect(casesOfModule(own('torn.mjs', 'export default {'))).rejects.toThrow(/torn\.mjs cannot be loaded: /);
    await expect(casesOfModule(own('empty.mjs', ''))).rejects.toThrow(/expected a default export with name, vocabSize/);
  });
});

describe("TRL's logs", () => {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-trl-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const log = (history: object[]) => {
    const file = join(folder, 'trainer_state.json');
    writeFileSync(file, JSON.stringify({ log_history: history }));
    return checkTrlLog(readTrlLog(trlStateIn(folder)!)).map(({ holds, text }) => `${holds ? 'yes' : 'no'}: ${text}`);
  };
  it('are read under our names, and judged as far as they go', () => {
    expect(
      log([
        { step: 1, epoch: 0.1, loss: Math.LN2, 'rewards/margins': 0, 'rewards/accuracies': 0, grad_norm: 2.5, learning_rate: 1e-6 },
        { step: 2, epoch: 0.2, loss: 0.62, 'rewards/margins': 0.2, 'logits/chosen': -1, eval_loss: 0.6 },
        { step: 2, train_runtime: 3 },
      ]),
    ).toEqual([
      'yes: every number is finite',
      expect.stringMatching(/^yes: the first logged loss is 0.6931/),
      'yes: the margin of implicit rewards went from 0.00 to 0.200',
    ]);
    expect(readTrlLog(join(folder, 'trainer_state.json')).unknown).toEqual(['logits/chosen']);
  });
  it('and its adapters are read as they lie in a checkpoint, with the margins and the loss that it measured', async () => {
    const checkpoint = fileURLToPath(new URL('../../test/fixtures/trl-dpo-checkpoint', import.meta.url));
    expect(await checkTrlWeights(checkpoint)).toEqual([
      { holds: true, text: 'an adapter of rank 4 on 8 matrices of zoo:words-1m' },
      { holds: true, text: 'every matrix has moved' },
      { holds: true, text: 'every weight is finite' },
    ]);
    const { steps } = readTrlLog(trlStateIn(checkpoint)!);
    const base = await loadDecoder('zoo:words-1m');
    const policy = await loadAdapter(base, checkpoint);
    const names = ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Frank', 'Grace', 'Henry'];
    const records = names.map((name) => ({
      prompt: `Once there was a child named ${name}.`,
      chosen: ` ${name} was happy.`,
      rejected: ` ${name} cried.`,
    }));
    const { pairs } = encodePairs(base.tokenizer, records, { appendEos: true });
    const { loss, margins } = await evaluatePairs({ policy, reference: base, loss: pairLoss('sigmoid') }, pairs, { pairsPerMicroBatch: 4 });
    const last = steps.at(-1)!;
    expect(loss).toBeCloseTo(last['eval/loss']!, 5);
    expect(margins.reduce((a, b) => a + b, 0) / margins.length).toBeCloseTo(last['eval/margin']!, 5);
  });
  it('say where an adapter was never trained, or holds what is no number', async () => {
    const write = async (fill: number) => {
      const matrix = { dtype: 'F32' as const, shape: [2, 2], data: new Float32Array(4) };
      await writeSafetensors(join(folder, 'adapter_model.safetensors'), {
        'base_model.model.q_proj.lora_A.weight': { ...matrix, data: new Float32Array(4).fill(fill) },
        'base_model.model.q_proj.lora_B.weight': matrix,
      });
      writeFileSync(
        join(folder, 'adapter_config.json'),
        JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 4, base_model_name_or_path: 'b' }),
      );
      return (await checkTrlWeights(folder)).filter(({ holds }) => !holds).map(({ text }) => text);
    };
    expect(await write(1)).toEqual(['no matrix has moved: lora_B is 0 in all of them, and the adapter changes nothing']);
    expect((await write(Number.NaN)).at(-1)).toBe('base_model.model.q_proj.lora_A.weight holds numbers that are not finite');
  });
  it('show symptoms', () => {
    const grpo = log([1, 2, 3, 4].map((step) => ({ step, loss: 0, frac_reward_zero_std: 1, 'completions/clipped_ratio': 1, kl: 0 })));
    expect(grpo.filter((line) => line.startsWith('no'))).toEqual([
      expect.stringMatching(/every group's rewards were all equal/),
      expect.stringMatching(/no completion came to its end/),
    ]);
  });
  it('that are none are refused', () => {
    writeFileSync(join(folder, 'other.json'), '{}');
    expect(() => readTrlLog(join(folder, 'other.json'))).toThrow(/has no log_history/);
  });
});
