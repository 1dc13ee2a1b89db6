import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readCopy, rng, writeSafetensors } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { afterAll, describe, expect, it } from 'vitest';
import { createScorer } from '../scorer/scorer.js';
import { ownFixture, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { trainByteBpe } from '../tokenizers/trainByteBpe.js';
import { loadDecoder, loadScorer } from './load.node.js';
import { saveDecoder, saveScorer } from './save.node.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-models-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const tokenizer = tokenizerFromJson(trainByteBpe(['a little text, a little more'], { vocabSize: 260, specialTokens: ['<|end|>'] }), {
  eos_token: '<|end|>',
});
const batch = packSequences([{ tokens: Int32Array.of(65, 66, 67, 68), completionStart: 2, row: 0 }]);

describe('saveDecoder and loadDecoder', () => {
  it('write a folder that reads back the same: weights, configuration, tokenizer', async () => {
    const decoder = tinyDecoder({ vocabSize: 260, tiedEmbeddings: false, family: 'qwen2', attentionBias: 'qkv' }, tokenizer);
    await saveDecoder(at('f32'), decoder);
    const again = await loadDecoder(at('f32'));
    expect(again.spec).toEqual(decoder.spec);
    expect((await again.parameters.save()).tensors).toEqual((await decoder.parameters.save()).tensors);
    expect(again.tokenizer.eosId).toBe(0);
    expect([...again.tokenizer.encode('a little')]).toEqual([...tokenizer.encode('a little')]);
  });

  it('round to float16 and bfloat16 where asked', async () => {
    const decoder = tinyDecoder({ vocabSize: 260 }, tokenizer);
    const exact = await readCopy(decoder.hidden(batch));
    for (const [dtype, tolerance] of [
      ['F16', 0.01],
      ['BF16', 0.1],
    ] as const) {
      await saveDecoder(at(dtype), decoder, { dtype });
      const rounded = await readCopy((await loadDecoder(at(dtype))).hidden(batch));
      const gap = Array.from(exact).reduce((most, x, i) => Math.max(most, Math.abs(x - rounded[i])), 0);
      expect(gap).toBeGreaterThan(0);
      expect(gap).toBeLessThan(tolerance);
    }
  });

  it('say what is wrong with a folder, and what is allowed', async () => {
    await saveDecoder(at('broken'), tinyDecoder({ vocabSize: 260 }, tokenizer));
    const config = JSON.parse(readFileSync(join(at('broken'), 'config.json'), 'utf8'));
    const loadWith = async (change: object) => {
      writeFileSync(join(at('broken'), 'config.json'), JSON.stringify({ ...config, ...change }));
      return loadDecoder(at('broken'));
    };
    await expect(loadWith({ model_type: 'rwkv' })).rejects.toThrow(/config.json: model_type is "rwkv"; supported are llama, mistral/);
    await expect(loadWith({ hidden_size: undefined })).rejects.toThrow(/hidden_size must be a number, found nothing/);
    await expect(loadWith({ num_key_value_heads: 2 })).rejects.toThrow(/heads \(3\) must be a multiple of kvHeads \(2\)/);
    await expect(loadWith({ vocab_size: 100 })).rejects.toThrow(/tokenizer has 260 tokens and the model's vocabulary 100/);
    await expect(loadWith({ num_hidden_layers: 3 })).rejects.toThrow(/"model.layers.2.input_layernorm.weight" \[18\] is missing/);
    await expect(loadWith({ num_hidden_layers: 1 })).rejects.toThrow(/"model.layers.1.input_layernorm.weight" \[18\] is not part of/);
    await expect(loadWith({ intermediate_size: 21 })).rejects.toThrow(/gate_proj.weight" is \[20,18\], not \[21,18\]/);
    writeFileSync(join(at('broken'), 'config.json'), JSON.stringify(config));
    const weights = readFileSync(join(at('broken'), 'model.safetensors'));
    writeFileSync(join(at('broken'), 'model.safetensors'), weights.subarray(0, weights.length - 100));
    await expect(loadDecoder(at('broken'))).rejects.toThrow(/model.safetensors.*download cut short/);
    rmSync(join(at('broken'), 'tokenizer.json'));
    await expect(loadDecoder(at('broken'))).rejects.toThrow(/there is no tokenizer.json; it has config.json/);
  });

  it('read weights in several files with an index', async () => {
    const decoder = tinyDecoder({ vocabSize: 260 }, tokenizer);
    await saveDecoder(at('sharded'), decoder);
    const { tensors } = await decoder.parameters.save();
    const names = Object.keys(tensors);
    const files = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    const shardOf = (i: number) => files[i % 2];
    for (const file of files)
      await writeSafetensors(
        join(at('sharded'), file),
        Object.fromEntries(names.filter((_, i) => shardOf(i) === file).map((name) => [name, tensors[name]])),
      );
    rmSync(join(at('sharded'), 'model.safetensors'));
    writeFileSync(
      join(at('sharded'), 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: Object.fromEntries(names.map((name, i) => [name, shardOf(i)])) }),
    );
    expect((await (await loadDecoder(at('sharded'))).parameters.save()).tensors).toEqual(tensors);
    rmSync(join(at('sharded'), files[1]));
    await expect(loadDecoder(at('sharded'))).rejects.toThrow(/model-00002-of-00002.safetensors/);
  });

  it('say where a model could be', async () => {
    await expect(loadDecoder(at('nowhere'))).rejects.toThrow(/no model at .*nowhere; give a folder with config.json, a .gguf file/);
    await expect(loadDecoder('zoo:unheard-of')).rejects.toThrow(/the zoo has no "unheard-of"/);
  });

  it('need a tokenizer beside the weights', async () => {
    await expect(loadDecoder(ownFixture('llama'))).rejects.toThrow(/no tokenizer.json/);
  });
});

describe('saveScorer and loadScorer', () => {
  it.each(['mean', 'last'] as const)('write a reward model with pooling %s that reads back the same', async (pooling) => {
    const scorer = createScorer(tinyDecoder({ vocabSize: 260, tiedEmbeddings: false }, tokenizer), { pooling, rng: rng(4) });
    await saveScorer(at(pooling), scorer);
    const again = await loadScorer(at(pooling));
    expect(again.pooling).toBe(pooling);
    expect(await readCopy(again.scores(batch))).toEqual(await readCopy(scorer.scores(batch)));
    expect(JSON.parse(readFileSync(join(at(pooling), 'config.json'), 'utf8')).architectures).toEqual(['LlamaForSequenceClassification']);
  });

  it('say so where there is no head', async () => {
    await saveDecoder(at('headless'), tinyDecoder({ vocabSize: 260 }, tokenizer));
    await expect(loadScorer(at('headless'))).rejects.toThrow(/no "score.weight".*loadDecoder/);
  });

  it.skipIf(!sharedFolder)(`read a sequence classifier of transformers${whySkipped}`, async () => {
    const scorer = await loadScorer(sharedFixture('models/llama_score'), { tokenizer: plainTokenizer(256) });
    expect(scorer.pooling).toBe('last');
    expect(scorer.padId).toBe(0);
  });
});
