/** What is measured, as data: the Node workers and PyTorch each read the same cases. */

export type DecoderSize = { vocabSize: number; width: number; layers: number; heads: number; mlpWidth: number };

/** One operation at one shape. `gradients` measures forward and backward together. */
export type Operation =
  | { kernel: 'product'; m: number; n: number; k: number }
  /** x [m, k] times W [n, k] transposed. */
  | { kernel: 'linear'; m: number; n: number; k: number }
  | { kernel: 'rmsNorm'; tokens: number; width: number; gradients: boolean }
  | { kernel: 'softmax'; rows: number; width: number }
  | { kernel: 'attention'; sequences: number; tokens: number; heads: number; headDim: number; gradients: boolean }
  | { kernel: 'tokenLogps'; tokens: number; width: number; vocabSize: number; gradients: boolean }
  | { kernel: 'adamW'; tensors: number; rows: number; columns: number }
  | { kernel: 'train'; model: DecoderSize; sequences: number; tokens: number };

/** `work` is what one call does, in `unit`-seconds: 2e9 of GFLOP/s is 2 floating-point operations. */
export type BenchCase = { name: string; operation: Operation; unit: 'GFLOP/s' | 'GB/s' | 'tokens/s'; work: number };

export type BenchSuite = 'kernels' | 'train';

/** The decoder whose training step is measured, and whose shapes the kernels are measured at. */
const bench = { model: { vocabSize: 4096, width: 256, layers: 6, heads: 8, mlpWidth: 683 }, sequences: 16, tokens: 128 };
const tiny = { model: { vocabSize: 64, width: 16, layers: 1, heads: 2, mlpWidth: 24 }, sequences: 2, tokens: 8 };

/** @param quick tiny shapes, to see that everything runs */
export function benchCases(suite: BenchSuite, quick = false): BenchCase[] {
  const { model, sequences, tokens } = quick ? tiny : bench;
  const all = sequences * tokens;
  if (suite === 'train') {
    const name = `step of ${sequences} x ${tokens} tokens`;
    return [{ name, operation: { kernel: 'train', model, sequences, tokens }, unit: 'tokens/s', work: all }];
  }
  const { width, heads, mlpWidth, vocabSize } = model;
  const headDim = width / heads;
  const flops = (name: string, operation: Operation, count: number): BenchCase => ({ name, operation, unit: 'GFLOP/s', work: count / 1e9 });
  const bytes = (name: string, operation: Operation, count: number): BenchCase => ({ name, operation, unit: 'GB/s', work: count / 1e9 });
  const product = (n: number) => flops(`product ${n}`, { kernel: 'product', m: n, n, k: n }, 2 * n ** 3);
  const linear = (what: string, m: number, n: number, k: number) =>
    flops(`x Wᵀ ${what} ${m}x${n}x${k}`, { kernel: 'linear', m, n, k }, 2 * m * n * k);
  // Backward counts twice the forward products; what is computed again on the way is not counted.
  const both = (gradients: boolean) => (gradients ? { name: ', with gradients', times: 3 } : { name: '', times: 1 });
  const attention = (gradients: boolean) =>
    flops(
      `attention${both(gradients).name}`,
      { kernel: 'attention', sequences, tokens, heads, headDim, gradients },
      2 * sequences * heads * tokens * tokens * headDim * both(gradients).times, // causal: half of the two products
    );
  const logps = (gradients: boolean) =>
    flops(
      `tokenLogps${both(gradients).name}`,
      { kernel: 'tokenLogps', tokens: all, width, vocabSize, gradients },
      2 * all * width * vocabSize * both(gradients).times,
    );
  // Forward reads x and writes y; backward reads x and dy and writes dx.
  const norm = (gradients: boolean) =>
    bytes(`rmsNorm${both(gradients).name}`, { kernel: 'rmsNorm', tokens: all, width, gradients }, 4 * all * width * (gradients ? 5 : 2));
  const adamW = quick ? { tensors: 2, rows: 8, columns: 8 } : { tensors: 16, rows: 1024, columns: 1024 }; // 64 MiB of values
  return [
    ...(quick ? [8, 17] : [128, 256, 512, 1024, 2048]).map(product),
    linear('training, up', all, mlpWidth, width),
    linear('training, down', all, width, mlpWidth),
    linear('training, logits', all, vocabSize, width),
    linear('decoding, up', 16, mlpWidth, width),
    linear('decoding, logits', 16, vocabSize, width),
    linear('decoding one, logits', 1, vocabSize, width),
    norm(false),
    norm(true),
    bytes('softmax of scores', { kernel: 'softmax', rows: all * heads, width: tokens }, 8 * all * heads * tokens),
    attention(false),
    attention(true),
    logps(false),
    logps(true),
    // Reads value, gradient and both moments; writes value and both moments.
    bytes('AdamW step', { kernel: 'adamW', ...adamW }, 28 * adamW.tensors * adamW.rows * adamW.columns),
  ];
}
