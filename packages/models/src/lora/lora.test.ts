import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gradients, memoryRun, type Parameter, parameterCount, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { hashOf, loadAdapter, saveAdapter } from '../files/adapter.node.js';
import { generate } from '../generation/generate.js';
import { createScorer } from '../scorer/scorer.js';
import { sftBatches } from '../sft/batches.js';
import { trainSft } from '../sft/trainSft.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { LoraConfig } from './config.js';
import { type AdaptedDecoder, addLora } from './lora.js';
import { mergeAdapter } from './merge.js';
import { loraFromPeft } from './peft.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-lora-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const batch = packSequences([
  { tokens: Int32Array.of(1, 2, 3, 4, 5, 6), completionStart: 2, row: 0 },
  { tokens: Int32Array.of(7, 8, 9), completionStart: 1, row: 1 },
]);
const logpsOf = async (decoder: { completionLogps(b: typeof batch): { tokens: tf.Tensor1D } }) => {
  const tokens = tf.tidy(() => decoder.completionLogps(batch).tokens);
  const values = (await readCopy(tokens)) as Float32Array;
  tokens.dispose();
  return values;
};
/** Gives every parameter of an adapter values that say something. */
async function stir(adapted: AdaptedDecoder, seed = 3): Promise<AdaptedDecoder> {
  const saved = await adapted.parameters.save();
  for (const [name, { data }] of Object.entries(saved.tensors)) {
    const noise = rng(seed).fork(name).normal(data.length);
    for (let i = 0; i < data.length; i++) data[i] += 0.2 * noise[i];
  }
  await adapted.parameters.load(saved);
  return adapted;
}
const gap = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
const config: LoraConfig = { r: 3, alpha: 6 };
const variants: Record<string, { lora: LoraConfig; shape?: Parameters<typeof tinyDecoder>[0] }> = {
  plain: { lora: config },
  rslora: { lora: { ...config, rslora: true } },
  dora: { lora: { ...config, dora: true } },
  'a head of its own beside tied embeddings': { lora: { ...config, targetModules: ['v_proj'], modulesToSave: ['lm_head'] } },
  'GPT-2, whose projections are fused and transposed': {
    lora: { ...config, dora: true },
    shape: { family: 'gpt2', kvHeads: 3, ropeTheta: 0 },
  },
  'biases and an untied head': { lora: { ...config, dora: true }, shape: { family: 'qwen2', attentionBias: 'qkv', tiedEmbeddings: false } },
  'layers that are recomputed': { lora: config, shape: { gradientCheckpointing: true } },
};

describe.each(Object.entries(variants))('an adapter: %s', (_, { lora, shape }) => {
  it('is the base to the last bit while B is 0', async () => {
    const base = tinyDecoder(shape);
    const adapted = await addLora(base, lora, { rng: rng(1) });
    if (lora.dora) expect(gap(await logpsOf(adapted), await logpsOf(base))).toBeLessThan(1e-5);
    else expect(await logpsOf(adapted)).toEqual(await logpsOf(base));
  });

  it('has gradients that agree with central differences, for its own parameters alone', async () => {
    const base = tinyDecoder(shape);
    const adapted = await stir(await addLora(base, lora, { rng: rng(1) }));
    const { loss, grads } = gradients(
      () => ({ loss: tf.sum(adapted.completionLogps(batch).sums) as tf.Scalar }),
      adapted.parameters.trainable(),
    );
    expect([...grads.keys()].map(({ name }) => name).sort()).toEqual([...adapted.parameters.names].sort());
    const before = await adapted.parameters.save();
    const lossAt = async (name: string, direction: Float32Array, step: number) => {
      const moved = structuredClone(before);
      const { data } = moved.tensors[name];
      for (let i = 0; i < data.length; i++) data[i] += step * direction[i];
      await adapted.parameters.load(moved);
      return (await logpsOf(adapted)).reduce((a, b) => a + b, 0);
    };
    // DoRA's norm is a constant of the backward pass, so that A and B have another slope than the function.
    const tested = [...grads].filter(([{ name }]) => !(lora.dora && /lora_[AB]/.test(name)));
    expect(tested.length).toBeGreaterThan(0);
    for (const [{ name, shape: size }, grad] of tested.slice(0, 6)) {
      const n = size.reduce((a, b) => a * b, 1);
      const direction = rng(9).fork(name).normal(n);
      const slope = ((await lossAt(name, direction, 3e-3)) - (await lossAt(name, direction, -3e-3))) / 6e-3;
      const expected = ((await readCopy(grad)) as Float32Array).reduce((sum, g, i) => sum + g * direction[i], 0);
      expect(Math.abs(slope - expected) / (1 + Math.abs(expected)), name).toBeLessThan(2e-2);
    }
    tf.dispose([loss, ...grads.values()]);
  });

  it('gives the same merged, and the base again unmerged', async () => {
    const base = tinyDecoder(shape);
    const adapted = await stir(await addLora(base, lora, { rng: rng(1) }));
    const merged = await mergeAdapter(adapted);
    expect(gap(await logpsOf(merged), await logpsOf(base))).toBeGreaterThan(1e-2);
    expect(gap(await logpsOf(merged), await logpsOf(adapted))).toBeLessThan(2e-5);
    expect(gap(await logpsOf(await merged.unmerge()), await logpsOf(base))).toBeLessThan(2e-5);
  });

  it('generates what its merged weights generate', async () => {
    const adapted = await stir(await addLora(tinyDecoder(shape), lora, { rng: rng(1) }));
    const continued = async (decoder: typeof adapted | Awaited<ReturnType<typeof mergeAdapter>>) => {
      const [[{ tokens }]] = await generate(decoder as AdaptedDecoder, [Int32Array.of(3, 1, 4)], {
        maxTokens: 8,
        temperature: 0,
        stopIds: [],
        rng: rng(0),
      });
      return [...tokens];
    };
    expect(await continued(adapted)).toEqual(await continued((await mergeAdapter(adapted)) as unknown as AdaptedDecoder));
  });
});

describe('several adapters on one base', () => {
  it('share its memory, do not disturb each other, and leave it as the reference', async () => {
    const base = tinyDecoder();
    const reference = await logpsOf(base);
    const before = tf.memory();
    const a = await stir(await addLora(base, config, { rng: rng(1) }), 1);
    const own = parameterCount(a.parameters).total * 4;
    expect(tf.memory().numBytes - before.numBytes).toBe(own);
    const b = await stir(await addLora(base, config, { rng: rng(2) }), 2);
    const [first, second] = [await logpsOf(a), await logpsOf(b)];
    expect(gap(first, second)).toBeGreaterThan(1e-2);
    expect(await logpsOf(a)).toEqual(first);
    expect(await logpsOf(a.base)).toEqual(reference);
    const copy = a.snapshot();
    a.dispose();
    expect(await logpsOf(copy)).toEqual(first);
    for (const one of [copy, b]) one.dispose();
    expect(tf.memory().numTensors).toBe(before.numTensors);
    expect(await logpsOf(base)).toEqual(reference);
  });

  it('trains the adapter alone', async () => {
    const base = tinyDecoder();
    const hash = await hashOf(base.snapshot());
    const adapted = await addLora(base, { r: 8, alpha: 16 }, { rng: rng(1) });
    const sequences = [
      [1, 2, 3, 4, 5, 6],
      [7, 8, 9, 10, 11],
    ].map((ids) => ({ tokens: Int32Array.from(ids), completionStart: 1 }));
    const run = memoryRun({ seed: 1 });
    const batches = sftBatches(sequences, { sequencesPerStep: 2, steps: 60, rng: rng(1) });
    await trainSft({ steps: 60, learningRate: 3e-2, schedule: { kind: 'constant', warmupSteps: 5 } }, { policy: adapted, batches, run });
    expect(run.history.at(-1)!.loss).toBeLessThan(0.3 * run.history[0].loss!);
    expect(await hashOf(base.snapshot())).toBe(hash);
  });

  it('leaves no tensor behind', async () => {
    const base = tinyDecoder();
    const adapted = await addLora(base, { ...config, dora: true }, { rng: rng(1) });
    const before = tf.memory().numTensors;
    await logpsOf(adapted);
    const { loss, grads } = gradients(
      () => ({ loss: tf.sum(adapted.completionLogps(batch).sums) as tf.Scalar }),
      adapted.parameters.trainable(),
    );
    tf.dispose([loss, ...grads.values()]);
    const merged = await mergeAdapter(adapted);
    (await merged.unmerge()).dispose();
    merged.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('dropout', () => {
  const lossesOf = async (adapted: AdaptedDecoder, passes: number) => {
    const losses: number[] = [];
    for (let i = 0; i < passes; i++) {
      const { loss, grads } = gradients(
        () => ({ loss: tf.sum(adapted.completionLogps(batch).sums) as tf.Scalar }),
        adapted.parameters.trainable(),
      );
      losses.push((await readCopy(loss))[0]);
      tf.dispose([loss, ...grads.values()]);
    }
    return losses;
  };
  const make = async (seed: number, shape = {}) => stir(await addLora(tinyDecoder(shape), { ...config, dropout: 0.3 }, { rng: rng(seed) }));

  it('acts where gradients are recorded, and nowhere else', async () => {
    const adapted = await make(1);
    const merged = await mergeAdapter(adapted);
    expect(gap(await logpsOf(adapted), await logpsOf(merged))).toBeLessThan(1e-5);
    const [first, second] = await lossesOf(adapted, 2);
    expect(Math.abs(first - second)).toBeGreaterThan(1e-3);
  });

  it('is the same for the same seed, another for another, and the same where layers are recomputed', async () => {
    const losses = await lossesOf(await make(1), 3);
    expect(await lossesOf(await make(1), 3)).toEqual(losses);
    expect(await lossesOf(await make(2), 3)).not.toEqual(losses);
    expect(gap(await lossesOf(await make(1, { gradientCheckpointing: true }), 3), losses)).toBeLessThan(1e-4);
  });

  it('goes on from a checkpoint with the masks that would have come', async () => {
    const straight = await make(1);
    const losses = await lossesOf(straight, 4);
    const half = await make(1);
    await lossesOf(half, 2);
    const resumed = await make(1);
    await resumed.parameters.load(await half.parameters.save());
    expect(await lossesOf(resumed, 2)).toEqual(losses.slice(2));
  });

  it('keeps the mean', async () => {
    const adapted = await make(5);
    const exact = (await logpsOf(adapted)).reduce((a, b) => a + b, 0);
    const losses = await lossesOf(adapted, 200);
    const mean = losses.reduce((a, b) => a + b, 0) / losses.length;
    const deviation = Math.sqrt(losses.reduce((sum, x) => sum + (x - mean) ** 2, 0) / losses.length);
    expect(Math.abs(mean - exact)).toBeLessThan(deviation); // the loss is not linear: near, not equal
  });
});

describe('adapter files', () => {
  it('read back bit for bit, with the configuration', async () => {
    const base = tinyDecoder();
    const lora: LoraConfig = { ...config, dora: true, rankPattern: { v_proj: 2 }, alphaPattern: { v_proj: 5 }, layers: [1], dropout: 0.1 };
    const adapted = await stir(await addLora(base, lora, { rng: rng(1) }));
    const at = join(folder, 'adapter');
    await saveAdapter(at, adapted);
    const warnings: string[] = [];
    const again = await loadAdapter(base, at, { onWarning: (line) => warnings.push(line) });
    expect(warnings).toEqual([]);
    expect(again.adapter.config).toEqual(adapted.adapter.config);
    expect(await logpsOf(again)).toEqual(await logpsOf(adapted));
  });

  it('warn on another base, with the difference that it makes', async () => {
    const base = tinyDecoder();
    const at = join(folder, 'other-base');
    await saveAdapter(at, await stir(await addLora(base, config, { rng: rng(1) })), { base: 'tiny' });
    const other = tinyDecoder({ initializerRange: 0.29 });
    const warnings: string[] = [];
    await loadAdapter(other, at, { onWarning: (line) => warnings.push(line) });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/trained on another base, tiny; on llama its logits on 16 fixed tokens differ by up to \d/);
  });

  it('train the head of a scorer under a configuration whose defaults are filled in', async () => {
    const scorer = createScorer(tinyDecoder(), { pooling: 'mean', rng: rng(1) });
    const adapted = await addLora(scorer, LoraConfig.parse({ r: 2 }), { rng: rng(2) });
    expect(adapted.parameters.trainable().map(({ name }) => name)).toContain('score.weight');
    const alone = await addLora(scorer, { r: 2 }, { rng: rng(2) });
    expect(alone.parameters.names).toEqual(adapted.parameters.names);
  });

  it('go on a scorer with its head', async () => {
    const base = createScorer(tinyDecoder(), { pooling: 'last', rng: rng(1), shareBackbone: true });
    const adapted = await addLora(base, config, { rng: rng(2) });
    expect(adapted.parameters.names).toContain('score.weight');
    (adapted.parameters.get('score.weight') as Parameter).trainable = true;
    const at = join(folder, 'scorer');
    await saveAdapter(at, adapted);
    const peft = JSON.parse(readFileSync(join(at, 'adapter_config.json'), 'utf8'));
    expect(peft).toMatchObject({ task_type: 'SEQ_CLS', modules_to_save: ['score'], peft_type: 'LORA' });
    const again = await loadAdapter(base, at);
    expect(await readCopy(again.scores(batch))).toEqual(await readCopy(adapted.scores(batch)));
  });

  it('name what is missing or does not fit', async () => {
    const base = tinyDecoder();
    await expect(loadAdapter(base, join(folder, 'nowhere'))).rejects.toThrow(/an adapter is a folder/);
    await expect(loadAdapter(base, folder)).rejects.toThrow(/no adapter_config.json/);
    const at = join(folder, 'misfit');
    await saveAdapter(at, await addLora(base, config, { rng: rng(1) }));
    await expect(loadAdapter(tinyDecoder({ mlpWidth: 24 }), at)).rejects.toThrow(/down_proj.lora_A.weight" is \[3,20\], not \[3,24\]/);
    writeFileSync(join(at, 'adapter_config.json'), '{');
    await expect(loadAdapter(base, at)).rejects.toThrow(/adapter_config.json: /);
  });
});

describe('configurations', () => {
  const base = tinyDecoder();
  const add = (lora: object) => addLora(base, lora as LoraConfig, { rng: rng(1) });
  it('name the option that is wrong, and what there is', async () => {
    await expect(add({ r: 0 })).rejects.toThrow(/r/);
    await expect(add({ rank: 4 })).rejects.toThrow(/rank/);
    await expect(add({ targetModules: ['q_proj', 'query'] })).rejects.toThrow(
      /"query", which matches nothing; there are "q_proj", "k_proj"/,
    );
    await expect(add({ targetModules: 'nothing' })).rejects.toThrow(/names "nothing", which matches nothing/);
    await expect(add({ targetModules: '.*nothing' })).rejects.toThrow(/".\*nothing" matches no module/);
    await expect(add({ targetModules: '(' })).rejects.toThrow(/not a regular expression/);
    await expect(add({ layers: [2] })).rejects.toThrow(/names 2; the model has layers 0 to 1/);
    await expect(add({ modulesToSave: ['score'] })).rejects.toThrow(/modulesToSave names "score"/);
    await expect(addLora(await add(config), config, { rng: rng(1) })).rejects.toThrow(/has an adapter already/);
  });

  it('choose modules by name, by pattern, by layer and by exclusion', async () => {
    const modulesOf = async (lora: LoraConfig) => (await add(lora)).adapter.targets.map(({ module }) => module);
    expect(await modulesOf({ targetModules: ['self_attn.v_proj'] })).toEqual([0, 1].map((l) => `model.layers.${l}.self_attn.v_proj`));
    expect(await modulesOf({ targetModules: 'v_proj' })).toEqual(await modulesOf({ targetModules: ['v_proj'] }));
    expect(await modulesOf({ targetModules: '.*\\.1\\.mlp\\.(up|down)_proj' })).toEqual([
      'model.layers.1.mlp.up_proj',
      'model.layers.1.mlp.down_proj',
    ]);
    expect(await modulesOf({ layers: [0], excludeModules: ['o_proj', 'mlp.up_proj'] })).toHaveLength(5);
  });

  it('refuse what PEFT may ask for and we do not do', () => {
    expect(() => loraFromPeft({ peft_type: 'IA3' })).toThrow(/peft_type is "IA3"/);
    const lora = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'] };
    expect(() => loraFromPeft({ ...lora, lora_bias: true }, 'a.json')).toThrow(/a.json: lora_bias is true, which is not supported/);
    expect(() => loraFromPeft({ ...lora, bias: 'all' })).toThrow(/bias is "all"/);
    expect(() => loraFromPeft({ ...lora, r: 'four' })).toThrow(/r/);
  });
});
