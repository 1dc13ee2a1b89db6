// Reads the GGUF files that read_back.mjs wrote with llama.cpp, and says how far its log-probabilities of the next token are from ours.
// node packages/bench/peers/read_back_llama.mjs FOLDER MODULES [TYPES], where MODULES holds node-llama-cpp (npm install --ignore-scripts node-llama-cpp; its
// prebuilt binaries come from the registry). Of tokens above 1e-6 the largest difference is shown; with Q8_0 llama.cpp rounds activations too.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, modules, types = 'F32,F16,BF16,Q8_0'] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(join(resolve(modules), 'node_modules', 'node-llama-cpp', 'dist', 'index.js')).href);
const ours = JSON.parse(readFileSync(join(folder, 'ours.json'), 'utf8'));
const llama = await getLlama({ gpu: false, build: 'never' });
for (const type of types.split(',')) {
  const model = await llama.loadModel({ modelPath: join(folder, `model.${type}.gguf`), gpuLayers: 0 });
  const context = await model.createContext({ contextSize: 256 });
  const sequence = context.getSequence();
  for (const [i, text] of ours.texts.entries()) {
    const ids = [...model.tokenize(text)];
    const same = ids.join() === ours.ids[i].join() ? 'the same ids' : `OTHER IDS ${ids.join()}`;
    await sequence.clearHistory();
    const input = ids.map((id, t) => (t + 1 === ids.length ? [id, { generateNext: { probabilities: true } }] : id));
    const { probabilities } = (await sequence.controlledEvaluate(input)).at(-1).next;
    const logits = ours.adapted[i];
    const most = Math.max(...logits);
    const logZ = most + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0));
    let [gap, count] = [0, 0];
    for (const [id, p] of probabilities) {
      if (p < 1e-6) continue;
      gap = Math.max(gap, Math.abs(Math.log(p) - (logits[id] - logZ)));
      count++;
    }
    console.log(
      `${type}: ${JSON.stringify(text)}: ${same}; log-probabilities of ${count} tokens differ by at most ${gap.toExponential(2)} nats`,
    );
  }
  await context.dispose();
  await model.dispose();
}
