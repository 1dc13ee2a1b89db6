/** Against PEFT 0.21.2 on a tiny Llama: logits with the adapter, without it and merged, a merged weight, and the gradients of the adapter. */
import { gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { createDecoder, type LocalDecoder } from '../decoder/decoder.js';
import { specFromConfig } from '../decoder/spec.js';
import { createScorer, type LocalScorer } from '../scorer/scorer.js';
import { ownFixture, readJson, readTensors, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { addLora } from './lora.js';
import { mergeAdapter } from './merge.js';
import { fromPeft, fromPeftName, loraFromPeft } from './peft.js';

type Io = { input_ids: number[][]; attention_mask: number[][]; loss_value: number };

const own = (name: string) => (file: string) => ownFixture(`lora/${name}/${file}`);
describe.each(['qv_r4', 'all_linear_r8_rslora', 'dora_r4', 'rank_pattern'])('%s against PEFT', (name) => decoderParity(own(name)));
describe('score_head_r4 against PEFT', () => scorerParity(own('score_head_r4'), (file) => ownFixture(`llama/${file}`)));
describe.skipIf(!sharedFolder).each(['qv_r4', 'all_linear_r8_rslora', 'dora_r4', 'rank_pattern'])(
  `%s against PEFT, the longer rows${whySkipped}`,
  (name) => {
    if (sharedFolder) decoderParity((file) => sharedFixture(`lora/${name}/${file}`));
  },
);
describe.skipIf(!sharedFolder)(`score_head_r4 against PEFT, the longer rows${whySkipped}`, () => {
  if (sharedFolder)
    scorerParity(
      (file) => sharedFixture(`lora/score_head_r4/${file}`),
      (file) => sharedFixture(`models/llama_score/${file}`),
    );
});

const llama = (folder: (file: string) => string): LocalDecoder => {
  const spec = specFromConfig(readJson(folder('config.json')));
  const { 'score.weight': _, ...weights } = readTensors(folder('model.safetensors'));
  return createDecoder(spec, { tokenizer: plainTokenizer(spec.vocabSize), weights });
};
/** Our own files' names, and those of the shared ones. */
const names = {
  base: ['base_logits', 'base_scores'],
  logits: ['scores'],
  merged: ['merged_logits', 'merged_scores'],
  merged_q: ['merged_layers.1.q_proj.weight'],
};
function tensorOf(at: (file: string) => string, name: keyof typeof names) {
  const tensors = readTensors(at('io.safetensors'));
  return [name, ...names[name]].map((one) => tensors[one]).find((tensor) => tensor !== undefined)!;
}
const rowsOf = ({ input_ids, attention_mask }: Io) => input_ids.map((ids, i) => ids.filter((_, t) => attention_mask[i][t]));
const packRows = (rows: number[][]) => packSequences(rows.map((ids, row) => ({ tokens: Int32Array.from(ids), completionStart: 0, row })));

function decoderParity(at: (file: string) => string): void {
  const io = readJson<Io>(at('io.json'));
  const rows = rowsOf(io);
  const load = async () => {
    const base = llama((file) => ownFixture(`llama/${file}`));
    const weights = fromPeft(readTensors(at('adapter_model.safetensors')));
    return { base, adapted: await addLora(base, loraFromPeft(readJson(at('adapter_config.json'))), { rng: rng(1), weights }) };
  };
  const logitsOf = async (decoder: LocalDecoder) => {
    const logits = tf.tidy(() => decoder.logits(decoder.hidden(packRows(rows))));
    const values = await readCopy(logits);
    logits.dispose();
    return values;
  };
  const expected = (name: keyof typeof names) => {
    const { data, shape } = tensorOf(at, name);
    const [, tokens, vocabulary] = shape;
    return Float32Array.from(rows.flatMap((row, i) => [...data.subarray(i * tokens * vocabulary).subarray(0, row.length * vocabulary)]));
  };

  it('gives the logits with the adapter, and the base its own', async () => {
    const { base, adapted } = await load();
    expect(worst(await logitsOf(adapted), expected('logits'))).toBeLessThan(1e-4);
    expect(worst(await logitsOf(base), expected('base'))).toBeLessThan(1e-4);
    adapted.dispose();
    base.dispose();
  });

  it('gives the merged logits and the merged weight', async () => {
    const { base, adapted } = await load();
    const merged = await mergeAdapter(adapted);
    expect(worst(await logitsOf(merged), expected('merged'))).toBeLessThan(1e-4);
    const weight = await readCopy((merged.parameters.get('model.layers.1.self_attn.q_proj.weight') as Parameter).value);
    expect(worst(weight, tensorOf(at, 'merged_q').data)).toBeLessThan(1e-5);
    const unmerged = await merged.unmerge();
    expect(worst(await logitsOf(unmerged), expected('base'))).toBeLessThan(1e-4);
    for (const one of [unmerged, merged, adapted, base]) one.dispose();
  });

  it('gives the loss and the gradient of each of its parameters, and of nothing else', async () => {
    const { base, adapted } = await load();
    const batch = packRows(rows);
    const { loss, grads } = gradients(
      () => ({ loss: tf.neg(tf.mean(adapted.completionLogps(batch).tokens)) as tf.Scalar }),
      adapted.parameters.trainable(),
    );
    expect((await readCopy(loss))[0]).toBeCloseTo(io.loss_value, 4);
    await gradientsAgree(grads, at('grads.safetensors'));
    tf.dispose([loss, ...grads.values()]);
    adapted.dispose();
    base.dispose();
  });
}

function scorerParity(at: (file: string) => string, model: (file: string) => string): void {
  const io = readJson<Io>(at('io.json'));
  const load = async () => {
    const head = readTensors(at('io.safetensors')).head ?? readTensors(model('model.safetensors'))['score.weight'];
    const base = createScorer(llama(model), { pooling: 'last', padId: 0, head: head.data, shareBackbone: true });
    const weights = fromPeft(readTensors(at('adapter_model.safetensors')));
    return { base, adapted: await addLora(base, loraFromPeft(readJson(at('adapter_config.json'))), { rng: rng(1), weights }) };
  };
  const scoresOf = async (scorer: LocalScorer) => readCopy(scorer.scores(packRows(rowsOf(io))));

  it('gives the scores with the adapter, without it and merged', async () => {
    const { base, adapted } = await load();
    expect(worst(await scoresOf(adapted), tensorOf(at, 'logits').data)).toBeLessThan(1e-4);
    expect(worst(await scoresOf(base), tensorOf(at, 'base').data)).toBeLessThan(1e-4);
    expect(worst(await scoresOf(await mergeAdapter(adapted)), tensorOf(at, 'merged').data)).toBeLessThan(1e-4);
  });

  it('gives the gradients of the adapter and of the head that it saves', async () => {
    const { adapted } = await load();
    const { loss, grads } = gradients(() => {
      const [chosen, rejected] = tf.split(adapted.scores(packRows(rowsOf(io))), 2);
      return { loss: tf.mean(tf.softplus(tf.sub(rejected, chosen))) as tf.Scalar };
    }, adapted.parameters.trainable());
    expect((await readCopy(loss))[0]).toBeCloseTo(io.loss_value, 4);
    await gradientsAgree(grads, at('grads.safetensors'));
  });
}

async function gradientsAgree(grads: Map<Parameter, tf.Tensor>, file: string): Promise<void> {
  const expected = fromPeft(readTensors(file));
  expect([...grads.keys()].map(({ name }) => name).sort()).toEqual(Object.keys(expected).map(fromPeftName).sort());
  for (const [{ name }, grad] of grads) {
    const theirs = expected[name].data;
    const largest = theirs.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
    const ours = await readCopy(grad);
    const gap = Array.from(ours).reduce((most, g, i) => Math.max(most, Math.abs(g - theirs[i])), 0);
    expect(gap, name).toBeLessThan(1e-4 * largest + 1e-9);
  }
}

/** The largest `|ours - theirs| / (1 + |theirs|)`. */
function worst(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  expect(ours.length).toBe(theirs.length);
  let most = 0;
  for (let i = 0; i < theirs.length; i++) most = Math.max(most, Math.abs(ours[i] - theirs[i]) / (1 + Math.abs(theirs[i])));
  return most;
}
