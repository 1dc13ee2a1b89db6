/** Damaged and lying model files: each is loaded, or refused with an error that says what is wrong; nothing else is thrown, and nothing takes long. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PlumblineError, rng } from '@plumbline/core';
import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { generate } from '../generation/generate.js';
import { ownFixture } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tokenizerFromJson } from '../tokenizers/tokenizer.js';
import { trainByteBpe } from '../tokenizers/trainByteBpe.js';
import { loadEncoder, loadVit } from './encoder.node.js';
import { loadDecoder, loadScorer } from './load.node.js';
import { resolveModel } from './resolve.node.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-malformed-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const at = (name: string) => join(root, name);
const tokenizer = plainTokenizer(53);

/** Whether it loads; what it says where it does not. */
async function outcome(load: () => Promise<{ dispose(): void }>): Promise<string> {
  try {
    (await load()).dispose();
    return 'loaded';
  } catch (error) {
    if (error instanceof PlumblineError) return error.message;
    throw new Error(`not an error of ours: ${error}`, { cause: error });
  }
}
const edits = (span: number) =>
  fc.record({
    changes: fc.array(fc.tuple(fc.nat(span), fc.nat(255)), { maxLength: 8 }),
    cut: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 3 }),
  });
function damaged(bytes: Buffer, { changes, cut }: { changes: [number, number][]; cut: number | null }): Buffer {
  const out = Buffer.from(bytes.subarray(0, cut === null ? bytes.length : Math.floor(cut * bytes.length)));
  for (const [place, value] of changes) if (place < out.length) out[place] = value;
  return out;
}

describe('a damaged file', () => {
  const runs = { numRuns: 60, seed: 9 };

  it('of safetensors is refused with reason or loaded', async () => {
    cpSync(ownFixture('models/llama'), at('safetensors'), { recursive: true });
    const bytes = readFileSync(join(at('safetensors'), 'model.safetensors'));
    const header = 8 + Number(bytes.readBigUInt64LE(0));
    await fc.assert(
      fc.asyncProperty(edits(header), async (edit) => {
        writeFileSync(join(at('safetensors'), 'model.safetensors'), damaged(bytes, edit));
        await outcome(() => loadDecoder(at('safetensors'), { tokenizer }));
      }),
      runs,
    );
  });

  it('of GGUF is refused with reason or loaded', async () => {
    const bytes = readFileSync(ownFixture('models/gguf/gemma2.gguf'));
    await fc.assert(
      fc.asyncProperty(edits(4000), async (edit) => {
        writeFileSync(at('broken.gguf'), damaged(bytes, edit));
        await outcome(() => loadDecoder(at('broken.gguf')));
      }),
      runs,
    );
  });

  const odd = fc.oneof(fc.constant(undefined), fc.jsonValue(), fc.constantFrom(-1, 0, 1e12, 0.5, '32', null, [], {}));
  it.each([
    ['llama', (folder: string) => loadDecoder(folder, { tokenizer })],
    ['gemma2', (folder: string) => loadDecoder(folder, { tokenizer })],
    ['gpt2', (folder: string) => loadDecoder(folder, { tokenizer })],
    ['llama_score', (folder: string) => loadScorer(folder, { tokenizer })],
    ['bert', (folder: string) => loadEncoder(folder, { tokenizer })],
    ['vit', (folder: string) => loadVit(folder)],
  ] as const)('of configuration (%s) is refused with reason or loaded', async (name, load) => {
    cpSync(ownFixture(`models/${name}`), at(name), { recursive: true });
    const path = join(at(name), 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8'));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(config)), odd, async (key, value) => {
        writeFileSync(path, JSON.stringify({ ...config, [key]: value }));
        await outcome(() => load(at(name)));
      }),
      { numRuns: 40, seed: 9 },
    );
  });

  it('of a tokenizer is refused with reason or read', () => {
    const json = trainByteBpe(['a b ab'], { vocabSize: 258 });
    const places = ['model', 'added_tokens', 'normalizer', 'pre_tokenizer', 'decoder', 'post_processor'];
    const inModel = Object.keys(json.model);
    fc.assert(
      fc.property(fc.constantFrom(...places), fc.constantFrom('', ...inModel), odd, (place, inner, value) => {
        const broken = inner === '' ? { ...json, [place]: value } : { ...json, model: { ...json.model, [inner]: value } };
        try {
          tokenizerFromJson(broken);
        } catch (error) {
          expect(error).toBeInstanceOf(PlumblineError);
        }
      }),
      { numRuns: 200, seed: 9 },
    );
    const vocab = { ...json.model.vocab, far: 4_000_000_000 };
    expect(() => tokenizerFromJson({ ...json, model: { ...json.model, vocab } })).toThrow(/"far" has the id 4000000000/);
  });
});

describe('a model that does not fit together', () => {
  it('is named for what it is', async () => {
    expect(await outcome(() => loadDecoder(ownFixture('models/bert'), { tokenizer }))).toMatch(/model_type is "bert"; supported are llama/);
    expect(await outcome(() => loadEncoder(ownFixture('models/llama'), { tokenizer }))).toMatch(
      /model_type is "llama"; supported encoders are bert/,
    );
    expect(await outcome(() => loadVit(ownFixture('models/llama')))).toMatch(/model_type is "llama"; supported is "vit"/);
    expect(await outcome(() => loadDecoder(ownFixture('models/llama'), { tokenizer: plainTokenizer(54) }))).toMatch(
      /the tokenizer has 54 tokens and the model's vocabulary 53/,
    );
    expect(await outcome(() => loadDecoder(ownFixture('models/llama')))).toMatch(/there is no tokenizer.json; it has config.json/);
    expect(await outcome(() => loadScorer(ownFixture('models/gguf/llama.gguf')))).toMatch(/a reward model is a folder with config.json/);
  });

  it('refuses a prompt longer than its context', async () => {
    const decoder = await loadDecoder(ownFixture('models/llama'), { tokenizer });
    await expect(generate(decoder, [new Int32Array(97).fill(3)], { maxTokens: 1, rng: rng(0) })).rejects.toThrow(/97 tokens.*96/s);
    decoder.dispose();
  });
});

describe('a model on the hub', () => {
  const cacheDir = at('cache');
  const commit = 'c'.repeat(40);
  beforeEach(() => {
    const repo = join(cacheDir, 'models--owner--tiny');
    mkdirSync(join(repo, 'refs'), { recursive: true });
    writeFileSync(join(repo, 'refs', 'main'), commit);
    cpSync(ownFixture('models/llama'), join(repo, 'snapshots', commit), { recursive: true });
    cpSync(ownFixture('models/gguf/qwen2.gguf'), join(repo, 'snapshots', commit, 'q4', 'tiny.gguf'));
  });
  const hub = { cacheDir, offline: true };

  it('is loaded from the cache by its name, and called by it', async () => {
    const decoder = await loadDecoder('owner/tiny', { tokenizer, hub });
    expect(decoder.name).toBe('owner/tiny');
    expect(await resolveModel(`owner/tiny@${commit}`, hub)).toBe(join(cacheDir, 'models--owner--tiny', 'snapshots', commit));
    decoder.dispose();
    const gguf = await loadDecoder('owner/tiny/q4/tiny.gguf@main', { hub });
    expect(gguf.spec.family).toBe('qwen2');
    gguf.dispose();
  });

  it('that cannot be reached says what was looked for and how to place it by hand', async () => {
    const load = (name: string) => outcome(() => loadDecoder(name, { tokenizer, hub }));
    expect(await load('owner/other')).toMatch(
      /^there is no .*owner\/other; as a name on the hub: owner\/other@main is not in the cache .*hf download owner\/other/,
    );
    expect(await load('owner/tiny@v2')).toMatch(/it has the commits c{40}/);
    expect(await load('owner/tiny/config.json')).toMatch(/only a .gguf file can be named; found "config.json"/);
  });
});
