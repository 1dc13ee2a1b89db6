// llama.cpp's side of `plumb bench generate`, through node-llama-cpp: answers each line of standard input by one line of JSON.
// llama_peer.mjs FOLDER MODEL.gguf, where FOLDER/node_modules has node-llama-cpp.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder, path] = process.argv.slice(2);
const home = join(folder, 'node_modules', 'node-llama-cpp');
const { version, exports } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
const entry = exports['.'].import?.default ?? exports['.'].import;
const { getLlama } = await import(pathToFileURL(join(home, entry)).href);
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const threads = availableParallelism();
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads });
const model = await llama.loadModel({ modelPath: path });
say({ name: 'llama.cpp', version: `node-llama-cpp ${version}, weights as in the file`, device: 'CPU', threads });

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    if (!request.generate) {
      say({ peakBytes: process.resourceUsage().maxRSS * 1024 });
      continue;
    }
    const { batch, promptTokens, tokens } = request.generate;
    const context = await model.createContext({
      contextSize: promptTokens + tokens + 8,
      sequences: batch,
      batchSize: Math.max(512, batch),
      threads,
    });
    const start = performance.now();
    await Promise.all(
      Array.from({ length: batch }, async (_, i) => {
        const prompt = Array.from({ length: promptTokens }, (_, t) => 100 + ((i * 31 + t * 17) % 3900));
        let left = tokens;
        for await (const _ of context.getSequence().evaluate(prompt, { temperature: 0, yieldEogToken: true })) if (--left === 0) break;
      }),
    );
    const seconds = (performance.now() - start) / 1000;
    await context.dispose();
    say({ seconds });
  } catch (error) {
    say({ error: error.message });
  }
}
