// Writes a model (and an adapter on it) in every form that `plumb export` has, with the logits that ours gives, for read_back.py to compare.
// node packages/bench/peers/read_back.mjs OUT MODEL [ADAPTER]; without an adapter one is made of random numbers.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { initBackend, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { addLora, createScorer, loadAdapter, loadDecoder, saveAdapter, saveDecoder, saveGguf, saveScorer } from '@plumbline/models';

const [out, name, given] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
await initBackend();
const base = await loadDecoder(name);
const adapted = given
  ? await loadAdapter(base, given)
  : await stirred(await addLora(base, { r: 4, alpha: 8, dora: true }, { rng: rng(1) }), 0.02);
const scorer = createScorer(base, { pooling: 'last', padId: base.tokenizer.padId ?? 0, rng: rng(2), shareBackbone: true });
const reward = await stirred(await addLora(scorer, { r: 4, targetModules: ['q_proj', 'v_proj'] }, { rng: rng(3) }), 0.02);

const texts = ['The capital of France is', 'def add(a, b):\n    return', 'Once upon a time there was a'];
const ids = texts.map((text) => [...base.tokenizer.encode(text)]);
const pack = (rows) => packSequences(rows.map((row, i) => ({ tokens: Int32Array.from(row), completionStart: 0, row: i })));
const lastLogits = async (decoder) => {
  const rows = [];
  for (const row of ids) {
    const hidden = decoder.hidden(pack([row]));
    const logits = await readCopy(decoder.logits(hidden));
    rows.push([...logits.subarray(logits.length - decoder.spec.vocabSize)]);
  }
  return rows;
};
await saveDecoder(join(out, 'base'), base);
await saveDecoder(join(out, 'safetensors'), adapted);
await saveAdapter(join(out, 'peft'), adapted, { base: join(out, 'base') });
for (const storage of ['F32', 'F16', 'BF16', 'Q8_0']) await saveGguf(join(out, `model.${storage}.gguf`), adapted, { storage });
await saveScorer(join(out, 'score-base'), scorer);
await saveScorer(join(out, 'score'), reward);
await saveAdapter(join(out, 'score-peft'), reward, { base: join(out, 'score-base') });
const ours = {
  texts,
  ids,
  base: await lastLogits(base),
  adapted: await lastLogits(adapted),
  scores: [...(await readCopy(reward.scores(pack(ids))))],
};
writeFileSync(join(out, 'ours.json'), JSON.stringify(ours));
console.log(`written to ${out}`);

async function stirred(model, size) {
  const saved = await model.parameters.save();
  for (const [key, { data }] of Object.entries(saved.tensors)) {
    const noise = rng(5).fork(key).normal(data.length);
    for (let i = 0; i < data.length; i++) data[i] += size * noise[i];
  }
  await model.parameters.load(saved);
  return model;
}
