/** What is measured, as data: the Node workers and PyTorch each read the same cases. */

export type DecoderSize = { vocabSize: number; width: number; layers: number; heads: number; mlpWidth: number };

/** One operation at one shape. `gradients` measures forward and backward together. */
export type Operation =
  /** op(a) [m, k] times op(b) [k, n]; that many of them with a batch. */
  | { kernel: 'product'; m: number; n: number; k: number; transposeA?: boolean; transposeB?: boolean; batch?: number }
  /** x [rows, k] times a frozen W [n, k] transposed. So many matrices are used in turn that they do not stay in a cache. */
  | { kernel: 'frozen'; rows: number; n: number; k: number; matrices: number; storage: 'tensor' | 'f32' | 'bf16' | 'int8' }
  | { kernel: 'rmsNorm'; tokens: number; width: number; gradients: boolean }
  | { kernel: 'attention'; sequences: number; tokens: number; heads: number; headDim: number; gradients: boolean }
  | { kernel: 'tokenLogps'; tokens: number; width: number; vocabSize: number; gradients: boolean }
  /** x [rows, width]. `copy` goes by ordinary stores. */
  | {
      kernel: 'stream';
      what: 'copy' | 'add' | 'relu' | 'exp' | 'tanh' | 'softmax' | 'logSoftmax' | 'sum' | 'rowMeans' | 'columnSums' | 'rowMaxima';
      rows: number;
      width: number;
    }
  | { kernel: 'adamW'; tensors: number; rows: number; columns: number }
  | { kernel: 'train'; model: DecoderSize; sequences: number; tokens: number };

/**
 * `work` is what one call does, in `unit`-seconds: 2e9 of GFLOP/s is 2 floating-point operations. Bytes are those that must move: what is read,
 * what is written, and, where it was not read before, what is written once more, since an ordinary store reads its line first.
 */
export type BenchCase = {
  name: string;
  operation: Operation;
  unit: 'GFLOP/s' | 'GB/s' | 'tokens/s';
  work: number;
  /** Measured with operands in bfloat16 too. */
  bf16?: boolean;
  /** Set beside the copy: large arrays, of which each number is touched once. */
  bandwidth?: boolean;
  /** Too large for the slower backends. */
  large?: boolean;
  /** PyTorch has nothing like it on a CPU. */
  peerless?: boolean;
};

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
    return [{ name, operation: { kernel: 'train', model, sequences, tokens }, unit: 'tokens/s', work: all, bf16: true }];
  }
  const { width, heads, vocabSize } = model;
  const headDim = width / heads;
  const flops = (name: string, operation: Operation, count: number, more: Partial<BenchCase> = {}): BenchCase => ({
    name,
    operation,
    unit: 'GFLOP/s',
    work: count / 1e9,
    ...more,
  });
  const bytes = (name: string, operation: Operation, count: number, more: Partial<BenchCase> = {}): BenchCase => ({
    name,
    operation,
    unit: 'GB/s',
    work: count / 1e9,
    ...more,
  });
  const square = (n: number) => flops(`product ${n}`, { kernel: 'product', m: n, n, k: n }, 2 * n ** 3, { bf16: true });
  /** The three products of a layer [in] -> [out]: its output, the gradient of its input, the gradient of its weight. */
  const layer = (rows: number, width: number, out: number): BenchCase[] => {
    const more = { bf16: true, large: rows * width * out > 1e10 };
    const count = 2 * rows * width * out;
    return [
      flops(`${rows}x${width}x${out}`, { kernel: 'product', m: rows, n: out, k: width, transposeB: true }, count, more),
      flops(`${rows}x${width}x${out}, gradient of x`, { kernel: 'product', m: rows, n: width, k: out }, count, more),
      flops(`${rows}x${width}x${out}, gradient of W`, { kernel: 'product', m: out, n: width, k: rows, transposeA: true }, count, more),
    ];
  };
  const batched = (batch: number, m: number, k: number, n: number) =>
    flops(`${batch} of ${m}x${k}x${n}`, { kernel: 'product', m, n, k, batch }, 2 * batch * m * n * k, { bf16: true });
  const layers: [number, number, number][] = quick
    ? [[9, 7, 5]]
    : [
        [2048, 256, 683],
        [2048, 576, 1536],
        [2048, 256, 4096],
        [2048, 576, 49152],
      ];
  /** Bytes of the weight: what a few rows are bound by. */
  const decoding = (rows: number, storage: 'tensor' | 'f32' | 'bf16' | 'int8') => {
    const [n, k, matrices] = quick ? [10, 8, 2] : [1536, 576, 40];
    const size = { tensor: 4, f32: 4, bf16: 2, int8: 1 }[storage];
    const what = storage === 'tensor' ? '' : `, packed as ${storage}`;
    return bytes(
      `${rows} row${rows > 1 ? 's' : ''} x ${k}x${n}${what}`,
      { kernel: 'frozen', rows, n, k, matrices, storage },
      size * n * k * matrices,
      {
        bf16: storage === 'bf16' || storage === 'int8',
        peerless: storage === 'int8',
      },
    );
  };
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
      { bf16: true },
    );
  // Forward reads x and writes y; backward reads x and dy and writes dx.
  const norm = (gradients: boolean) =>
    bytes(`rmsNorm${both(gradients).name}`, { kernel: 'rmsNorm', tokens: all, width, gradients }, 4 * all * width * (gradients ? 5 : 2));
  const [rows, columns] = quick ? [8, 8] : [16 * 1024, 1024]; // 64 MiB
  const stream = (what: Extract<Operation, { kernel: 'stream' }>['what'], arrays: number) =>
    bytes(`${what}, 64 MiB`, { kernel: 'stream', what, rows, width: columns }, 4 * rows * columns * arrays, { bandwidth: true });
  const adamW = quick ? { tensors: 2, rows: 8, columns: 8 } : { tensors: 16, rows: 1024, columns: 1024 };
  return [
    ...(quick ? [8, 17] : [512, 1024, 2048]).map(square),
    ...layers.flatMap((shape) => layer(...shape)),
    batched(quick ? 2 : 64, quick ? 5 : 128, quick ? 3 : 64, quick ? 5 : 128),
    batched(quick ? 2 : 128, quick ? 5 : 128, quick ? 2 : 32, quick ? 5 : 128),
    ...[1, 8, 32].flatMap((rows) => (['tensor', 'f32', 'bf16', 'int8'] as const).map((storage) => decoding(rows, storage))),
    norm(false),
    norm(true),
    attention(false),
    attention(true),
    logps(false),
    logps(true),
    stream('copy', 3),
    stream('add', 4),
    stream('relu', 3),
    stream('exp', 3),
    stream('tanh', 3),
    stream('softmax', 3),
    stream('logSoftmax', 3),
    stream('sum', 1),
    stream('rowMeans', 1),
    stream('columnSums', 1),
    stream('rowMaxima', 1),
    // Reads value, gradient and both moments; writes value and both moments, which were read.
    bytes('AdamW step, 64 MiB', { kernel: 'adamW', ...adamW }, 28 * adamW.tensors * adamW.rows * adamW.columns, { bandwidth: true }),
  ];
}
