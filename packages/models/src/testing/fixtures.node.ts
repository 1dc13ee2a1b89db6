import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file among this package's own fixtures. */
export const ownFixture = (path: string): string => fileURLToPath(new URL(`../../test/fixtures/${path}`, import.meta.url));

/** Where the large parity fixtures are, if they are there: `$PLUMB_SHARED`, or `shared` beside the repository. */
export const sharedFolder: string | undefined = [
  process.env.PLUMB_SHARED,
  fileURLToPath(new URL('../../../../../shared', import.meta.url)),
].find((folder): folder is string => folder !== undefined && existsSync(join(folder, 'fixtures')));
export const sharedFixture = (path: string): string => join(sharedFolder ?? '', 'fixtures', path);
/** To end a suite's name with, so that a skip says why. */
export const whySkipped = sharedFolder ? '' : ' (skipped: no ../shared/fixtures beside the repository, nor in $PLUMB_SHARED)';

export const readJson = <T = Record<string, unknown>>(path: string): T => JSON.parse(readFileSync(path, 'utf8'));

/** SmolLM2-135M-Instruct's GGUF and all-MiniLM-L6-v2, if `get-models.sh` has fetched them. */
export const smolGguf: string | undefined = fetched('SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf');
export const miniLm: string | undefined = fetched('all-MiniLM-L6-v2');

/** A model beside the shared files, or in `$PLUMB_MODELS`. */
function fetched(path: string): string | undefined {
  const folders = [process.env.PLUMB_MODELS, sharedFolder && join(sharedFolder, '.models')];
  return folders.flatMap((folder) => (folder ? [join(folder, path)] : [])).find((file) => existsSync(file));
}

export type FixtureTensors = Record<string, { shape: number[]; data: Float32Array }>;
/** A safetensors file of float32 tensors, read apart from the code under test. */
export function readTensors(path: string): FixtureTensors {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as Record<string, { shape: number[]; data_offsets: [number, number] }>;
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            shape,
            data_offsets: [from, to],
          },
        ]) => [
          name,
          { shape, data: new Float32Array(file.buffer.slice(file.byteOffset + 8 + length + from, file.byteOffset + 8 + length + to)) },
        ],
      ),
  );
}

/** The float32 and integer tensors of a file whose name begins with `prefix`, which is left out. */
export function readSomeTensors(path: string, prefix: string): { floats: Record<string, Float32Array>; ints: Record<string, number[]> } {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as Record<string, { dtype: string; data_offsets: [number, number] }>;
  const floats: Record<string, Float32Array> = {};
  const ints: Record<string, number[]> = {};
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    if (!name.startsWith(prefix)) continue;
    const [from, to] = data_offsets.map((at) => file.byteOffset + 8 + length + at);
    const bytes = file.buffer.slice(from, to) as ArrayBuffer;
    const short = name.slice(prefix.length);
    if (dtype === 'F32') floats[short] = new Float32Array(bytes);
    else ints[short] = dtype === 'I64' ? Array.from(new BigInt64Array(bytes), Number) : Array.from(new Int32Array(bytes));
  }
  return { floats, ints };
}
