// Products, training steps and generation on a backend, and the same in PyTorch, in one run. Each in a process of its own, one after the other.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const models = {
  tiny: { vocabSize: 2048, width: 128, layers: 4, heads: 4, mlpWidth: 352 },
  '124m': { vocabSize: 50257, width: 768, layers: 12, heads: 12, mlpWidth: 2048 },
};
const { values: flags } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    backends: { type: 'string', default: 'tensorflow' },
    sizes: { type: 'string', default: '1024,2048,4096,8192' },
    model: { type: 'string', default: '124m' },
    sequences: { type: 'string', default: '16' },
    micro: { type: 'string', default: '4' },
    tokens: { type: 'string', default: '1024' },
    steps: { type: 'string', default: '5' },
    generate: { type: 'string', default: '128' },
    python: { type: 'string', default: 'python3' },
    json: { type: 'string' },
    inside: { type: 'string' },
  },
});
if (flags.help) {
  console.log(`node bench.mjs [--backends tensorflow,native] [--sizes 1024,2048,4096,8192] [--model 124m|tiny] [--sequences 16] [--micro 4]
  [--tokens 1024] [--steps 5] [--generate 128] [--python python3 (with PyTorch; '' for none)] [--json results.json]
--micro: sequences in memory at once. A step is ${'sequences'} x ${'tokens'} tokens; the first step is not counted.`);
  process.exit(0);
}
const number = (name) => {
  const value = Number(flags[name]);
  if (!(Number.isInteger(value) && value > 0)) throw new RangeError(`--${name} must be a whole number above 0, got ${flags[name]}`);
  return value;
};
const plan = {
  sizes: flags.sizes.split(',').map(Number),
  model: models[flags.model],
  ...Object.fromEntries(['sequences', 'micro', 'tokens', 'steps', 'generate'].map((name) => [name, number(name)])),
};
if (!plan.model) throw new RangeError(`--model is ${flags.model}; valid are ${Object.keys(models).join(', ')}`);

if (flags.inside) {
  console.log(JSON.stringify(await measure(flags.inside)));
  process.exit(0);
}

const here = fileURLToPath(import.meta.url);
const results = [];
for (const backend of flags.backends.split(',')) {
  const args = [
    '--inside',
    backend,
    ...['sizes', 'model', 'sequences', 'micro', 'tokens', 'steps', 'generate'].flatMap((name) => [`--${name}`, flags[name]]),
  ];
  results.push(outcome(backend, spawnSync(process.execPath, ['--max-old-space-size=16384', here, ...args], { encoding: 'utf8' })));
}
if (flags.python) {
  const script = fileURLToPath(new URL('torch_bench.py', import.meta.url));
  results.push(outcome('pytorch', spawnSync(flags.python, [script, JSON.stringify(plan)], { encoding: 'utf8' })));
}
for (const { name, device, version, error, figures = {} } of results) {
  console.log(error ? `${name}: ${error}` : `${name} ${version}, ${device}`);
  for (const [what, value] of Object.entries(figures)) console.log(`  ${what.padEnd(34)} ${value}`);
}
if (flags.json) writeFileSync(flags.json, `${JSON.stringify({ date: new Date().toISOString(), plan, results }, null, 2)}\n`);
process.exitCode = results.every(({ error }) => error) ? 1 : 0;

function outcome(name, { status, stdout, stderr, error }) {
  const line = (stdout ?? '').trim().split('\n').at(-1);
  try {
    if (status === 0) return { name, ...JSON.parse(line) };
  } catch {}
  return { name, error: error?.message ?? (stderr ?? '').split('\n').find((text) => /error/i.test(text)) ?? `ended with ${status}` };
}

async function measure(backend) {
  const tf = await import('@tensorflow/tfjs-core');
  const { backendInfo, initBackend, rng } = await import('@plumbline/core');
  const { arbitraryIds, freshDecoder, pacedTraining } = await import('@plumbline/bench/perf');
  const { generate } = await import('@plumbline/models');
  await initBackend({ backend });
  const { device, version } = backendInfo();
  const raw = backend.startsWith('tensorflow') ? await rawOperations() : null;
  const figures = {};

  const best = async (f) => {
    let least = Infinity;
    for (let i = 0; i < 6; i++) {
      const start = performance.now();
      const c = f();
      const one = tf.slice(c, [0, 0], [1, 1]);
      await one.data();
      if (i > 0) least = Math.min(least, performance.now() - start);
      tf.dispose([c, one]);
    }
    return least;
  };
  for (const n of plan.sizes) {
    const [a, b] = [tf.randomNormal([n, n]), tf.randomNormal([n, n])];
    const teraflops = (ms) => `${((2 * n ** 3) / ms / 1e9).toFixed(2)} TFLOP/s`;
    figures[`product ${n} ${process.env.PLUMB_TF32 === '1' ? 'tf32' : 'float32'}`] = teraflops(await best(() => tf.matMul(a, b)));
    if (raw) {
      const frozen = raw.bf16Matrix(b);
      figures[`product ${n} bf16, frozen matrix`] = teraflops(await best(() => frozen.multiply(a)));
      frozen.dispose();
    }
    tf.dispose([a, b]);
  }

  const { model, sequences, tokens } = plan;
  const train = async () => {
    const training = pacedTraining({ model, sequences, tokens, sequencesPerMicroBatch: plan.micro });
    const steps = [];
    for (let i = 0; i <= plan.steps; i++) steps.push(await training.step());
    await training.dispose();
    const seconds = steps.slice(1).reduce((sum, step) => sum + step.seconds, 0) / plan.steps;
    return `${seconds.toFixed(3)} s a step of ${sequences} x ${tokens} tokens, loss ${steps[0].loss.toFixed(3)} to ${steps.at(-1).loss.toFixed(3)}`;
  };
  figures['training, float32'] = await train();
  if (raw) {
    raw.setProducts('bf16');
    figures['training, bf16 products'] = await train();
    raw.setProducts('float32');
  }

  const policy = freshDecoder(model, Math.max(tokens, 256));
  const text = arbitraryIds(plan.sequences * 32, model.vocabSize);
  const prompts = Array.from({ length: plan.sequences }, (_, i) => text.slice(i * 32, i * 32 + 32));
  const start = performance.now();
  await generate(policy, prompts, { maxTokens: plan.generate, temperature: 1, stopIds: [], rng: rng(3) });
  const seconds = (performance.now() - start) / 1000;
  figures['generation, float32'] =
    `${((plan.sequences * plan.generate) / seconds).toFixed(0)} tokens/s, ${plan.sequences} sequences of ${plan.generate} after 32`;
  return { device, version, figures };
}

/** By way of core, whose optional dependency it is. */
function rawOperations() {
  const core = createRequire(createRequire(import.meta.url).resolve('@plumbline/core/package.json'));
  return import(pathToFileURL(core.resolve('@plumbline/tensorflow/api')).href);
}
