// GFLOP/s of f32 products, best of repeated runs: `node bench.mjs [--threads N] [--seconds S]`.
import { createRequire } from 'node:module';

const argument = (name, fallback) => {
  const i = process.argv.indexOf(`--${name}`);
  return i < 0 ? fallback : Number(process.argv[i + 1]);
};
const native = createRequire(import.meta.url)('./build/plumbline.node');
const threads = argument('threads', native.threads());
const seconds = argument('seconds', 0.3);
native.setThreads(threads);
console.log(`${native.simd()}, ${threads} threads`);

/** [m, n, k, transA, transB, what] */
const shapes = [
  ...[64, 128, 256, 512, 1024, 2048].map((n) => [n, n, n, false, false, 'square']),
  [6144, 128, 128, false, true, 'width to width'],
  [6144, 352, 128, false, true, 'up'],
  [6144, 128, 352, false, true, 'down'],
  [6144, 128, 352, false, false, 'gradient of x (up)'],
  [352, 128, 6144, true, false, 'gradient of W (up)'],
  [128, 128, 6144, true, false, 'gradient of W'],
  [1024, 2048, 128, false, true, 'logits'],
  [1024, 128, 2048, false, false, 'gradient of hidden'],
  [2048, 128, 1024, true, false, 'gradient of the table'],
  [128, 128, 128, false, true, 'decoding, 128 rows'],
  [128, 352, 128, false, true, 'decoding, up'],
  [128, 2048, 128, false, true, 'decoding, logits'],
  [1, 2048, 128, false, true, 'decoding one row, logits'],
  [48, 48, 32, false, true, 'attention scores'],
  [48, 32, 48, false, false, 'attention values'],
  [2048, 683, 256, false, true, 'width 256, up'],
  [2048, 1536, 576, false, true, 'width 576, up'],
  [2048, 576, 1536, false, false, 'width 576, gradient'],
];
const random = (n) => Float32Array.from({ length: n }, () => Math.random() - 0.5);
for (const [m, n, k, transA, transB, what] of shapes) {
  const [a, b, c] = [random(m * k), random(k * n), new Float32Array(m * n)];
  const run = () => native.gemm(a, b, c, null, m, n, k, transA ? m : k, transA, transB ? k : n, transB, n, false, false);
  run();
  let best = Infinity;
  for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  const name = `${m}x${n}x${k}${transA || transB ? ` ${transA ? 'T' : 'N'}${transB ? 'T' : 'N'}` : ''}`;
  console.log(
    `${name.padEnd(20)} ${((2 * m * n * k) / best / 1e6).toFixed(0).padStart(5)} GFLOP/s ${(best * 1000).toFixed(0).padStart(7)} us  ${what}`,
  );
}
