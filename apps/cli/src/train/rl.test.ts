import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RewardFunction, textOf } from '@plumbline/data';
import { loadAdapter, loadDecoder } from '@plumbline/models';
import { afterAll, describe, expect, it } from 'vitest';
import { parseFlags, readSettings, settingsHelp } from '../settings.js';
import { DpoSettings } from './preferenceConfig.js';
import { runRl } from './rl.js';
import { algorithms, policyConfig, RlSettings } from './rlConfig.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-rl-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const dataset = join(folder, 'prompts.jsonl');
const prompts = ['Once there was a girl', 'Tom had a dog', 'The sun was', 'One day', 'A boy named Ben', 'Mum said'];
writeFileSync(dataset, prompts.map((prompt, i) => `${JSON.stringify({ prompt, answer: String(i) })}\n`).join(''));

const config = (...flags: string[]) => policyConfig(readSettings(RlSettings, { flags: parseFlags(flags) }));

describe('the settings of plumb train rl', () => {
  it('begin with those of the algorithm, and each can be set by itself', () => {
    expect(config()).toMatchObject({ loss: 'grpo', advantage: { kind: 'group' }, klCoef: 0.04, samplesPerPrompt: 8, learningRate: 5e-5 });
    expect(config('--algorithm', 'rloo')).toMatchObject({ loss: 'rloo', advantage: { kind: 'rloo' }, klIn: 'reward', klCoef: 0.05 });
    expect(config('--algorithm', 'ppo', '--epochs', '2')).toMatchObject({ advantage: { kind: 'gae', lambda: 0.95 }, epochs: 2 });
    expect(config('--algorithm', 'dapo', '--dynamicSampling.maxRounds', '2')).toMatchObject({
      loss: 'dapo',
      dynamicSampling: { maxRounds: 2 },
    });
    expect(config('--algorithm', 'gspo').lossOptions).toEqual({ level: 'sequence', epsilon: 3e-4, epsilonHigh: 4e-4 });
    for (const algorithm of Object.keys(algorithms)) expect(config('--algorithm', algorithm).steps).toBe(100);
  });
  it("change parts of the algorithm's advantage and loss, and leave the rest as it was", () => {
    expect(config('--advantage.scale', 'none').advantage).toMatchObject({ kind: 'group', scale: 'none', ddof: 1 });
    expect(config('--algorithm', 'rloo', '--advantage.normalize').advantage).toEqual({ kind: 'rloo', normalize: true });
    expect(config('--algorithm', 'dr_grpo', '--advantage.eps', '1e-6').advantage).toMatchObject({ scale: 'none', eps: 1e-6 });
    expect(config('--algorithm', 'gspo', '--lossOptions.epsilon', '0.1').lossOptions).toMatchObject({ level: 'sequence', epsilon: 0.1 });
    expect(config('--algorithm', 'gspo', '--loss', 'cispo').lossOptions).toEqual({});
    expect(() => config('--advantage.scales', 'none')).toThrow('setting advantage: Unrecognized key: "scales"');
    expect(() => config('--advantage', 'remix')).toThrow('setting advantage.kind: Invalid discriminator value');
  });
  it('take a group of settings by its name alone', () => {
    expect(config('--adaptiveEntropy', '--dynamicSampling')).toMatchObject({
      adaptiveEntropy: { target: 0.2 },
      dynamicSampling: { maxRounds: 4 },
    });
    expect(config('--algorithm', 'rloo', '--referenceSync').referenceSync).toEqual({ every: 512, mixup: 0.6 });
    expect(readSettings(DpoSettings, { flags: parseFlags(['--divergence', 'js_divergence', '--referenceSync']) })).toMatchObject({
      divergence: { type: 'js_divergence' },
      referenceSync: { every: 512, mixup: 0.6 },
    });
  });
  it('name what is wrong', () => {
    expect(() => config('--algorithm', 'gpro')).toThrow(/setting algorithm holds "gpro"/);
    expect(() => config('--samplesPerPrompt', '1')).toThrow('setting samplesPerPrompt: must be at least 2');
    expect(() => config('--klCoeff', '1')).toThrow('"klCoeff" is not a setting');
  });
  it('are all in the help', () => {
    const help = settingsHelp(RlSettings);
    for (const name of Object.keys(RlSettings.shape)) expect(help).toContain(`--${name}`);
  });
});

describe('runRl', () => {
  const spaces: RewardFunction = {
    name: 'spaces',
    score: async (batch) => ({ scores: Float32Array.from(batch, ({ completion }) => textOf(completion).split(' ').length) }),
  };
  const settings = (...flags: string[]) =>
    readSettings(RlSettings, {
      flags: parseFlags([
        ...['--steps', '3', '--promptsPerStep', '2', '--samplesPerPrompt', '4', '--maxTokens', '8', '--heldOut', '2'],
        ...['--saveEvery', '1', '--storage', 'f32', '--learningRate', '1e-3', ...flags],
      ]),
    });
  const job = (dir: string, signal: AbortSignal, reward = spaces, ...flags: string[]) =>
    runRl({ settings: settings(...flags), model: 'zoo:words-1m', dataset, rewards: [reward], seed: 3, dir: join(folder, dir), signal });
  const adapterOf = (dir: string) => readFileSync(join(folder, dir, 'adapter', 'adapter_model.safetensors'));

  it('leaves an adapter, samples of each step and a summary; stopped and resumed it is the same to the bit', async () => {
    const whole = await job('whole', new AbortController().signal);
    expect(whole.data).toMatchObject({ read: 6, train: 4, heldOut: 2, leftOut: 0 });
    expect(whole.heldOutReward!.change).toBeCloseTo(whole.heldOutReward!.after - whole.heldOutReward!.before, 9);
    expect(readdirSync(join(folder, 'whole', 'samples'))).toEqual(['step-000000.jsonl', 'step-000001.jsonl', 'step-000002.jsonl']);
    const [sample] = readFileSync(join(folder, 'whole', 'samples', 'step-000001.jsonl'), 'utf8')
      .trim()
      .split('\n');
    expect(JSON.parse(sample)).toMatchObject({
      step: 1,
      prompt: expect.any(String),
      completion: expect.any(String),
      reward: expect.any(Number),
    });
    const adapted = await loadAdapter(await loadDecoder('zoo:words-1m'), whole.output, { onWarning: () => {} });
    expect(adapted.adapter.config.r).toBe(8);

    const stop = new AbortController();
    let asked = 0;
    const stopping: RewardFunction = {
      ...spaces,
      score: (batch, ctx) => {
        if (ctx.step === 1 && asked++ === 0) stop.abort();
        return spaces.score(batch, ctx);
      },
    };
    await expect(job('halves', stop.signal, stopping)).rejects.toThrow('stopped');
    expect(existsSync(join(folder, 'halves', 'adapter'))).toBe(false);
    await job('halves', new AbortController().signal);
    expect(adapterOf('halves').equals(adapterOf('whole'))).toBe(true);
  });

  it('moves the reference to the adapter as it is, where asked', async () => {
    await job('moving', new AbortController().signal, spaces, '--heldOut', '0', '--referenceSync.every', '2', '--referenceSync.mixup', '1');
    const lines = readFileSync(join(folder, 'moving', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const kl = lines.map((line) => (JSON.parse(line) as Record<string, number>)['policy/kl']);
    expect(kl[1]).toBeGreaterThan(1e-7);
    for (const step of [0, 2]) expect(kl[step]).toBeLessThan(1e-9);
  });

  it('writes what each of several rewards said of a sample, and where one abstained', async () => {
    const never: RewardFunction = {
      name: 'never',
      score: async (batch) => ({ scores: new Float32Array(batch.length), abstained: new Uint8Array(batch.length).fill(1) }),
    };
    const { signal } = new AbortController();
    const dir = join(folder, 'several');
    const shared = { model: 'zoo:words-1m', dataset, seed: 3, signal };
    const { abstained } = await runRl({
      ...shared,
      settings: settings('--steps', '1', '--weights', '2', '1'),
      rewards: [spaces, never],
      dir,
    });
    expect(abstained).toBe(0); // the other one scored them
    const silent = join(folder, 'silent');
    expect(await runRl({ ...shared, settings: settings('--steps', '1'), rewards: [never], dir: silent })).toMatchObject({ abstained: 1 });
    const [first] = readFileSync(join(dir, 'samples', 'step-000000.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const { completion, reward, rewards } = JSON.parse(first) as { completion: string; reward: number; rewards: object };
    const words = completion.split(' ').length;
    expect({ reward, rewards }).toEqual({ reward: 2 * words, rewards: { spaces: words, never: null } });
  });

  it('refuses weights that do not fit the rewards, and a server for all weights', async () => {
    const { signal } = new AbortController();
    await expect(job('wrong', signal, spaces, '--weights', '1', '2')).rejects.toThrow('weights names 2, and there are 1 rewards');
    await expect(job('wrong', signal, spaces, '--server', 'http://127.0.0.1:1/v1', '--full')).rejects.toThrow('with --full there is none');
  });
});
