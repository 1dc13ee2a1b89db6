/** Safetensors files on disk: one file, or an index over several. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FormatError } from './errors.js';
import { fileError, writeChunksAtomic } from './files.node.js';
import { headerLength, opened, parseHeader, type Safetensors, safetensorsChunks, type TensorToWrite } from './safetensors.js';

/**
 * Opens a `.safetensors` file, an index over several (`.index.json`), or the folder that holds `model.safetensors` or its index.
 * Headers are read and checked now, tensors when they are asked for; no file stays open.
 *
 * @throws FormatError saying what is wrong and where
 * @throws FileError if it cannot be read
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  try {
    const file = statSync(path).isDirectory() ? modelIn(path) : path;
    return file.endsWith('.json') ? openIndex(file) : openFile(file);
  } catch (error) {
    throw fileError(error, `cannot read ${path}`);
  }
}

/**
 * Writes a file atomically, one tensor at a time.
 * @throws FileError if it cannot be written, and what `encodeSafetensors` throws
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorToWrite>>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  await writeChunksAtomic(path, safetensorsChunks(tensors, metadata));
}

function modelIn(folder: string): string {
  const names = ['model.safetensors', 'model.safetensors.index.json'];
  const found = names.map((name) => join(folder, name)).find((path) => existsSync(path));
  if (!found) throw new FormatError(`${folder}: holds neither ${names.join(' nor ')}`);
  return found;
}

function openFile(path: string): Safetensors {
  return withFile(path, (fd, size) => {
    const headerBytes = headerLength(readAt(fd, 0, Math.min(8, size), path), size, path);
    const header = parseHeader(readAt(fd, 8, headerBytes, path), size - 8 - headerBytes, path);
    return opened(header, path, (begin, end) =>
      withFile(path, (again, sizeNow) => {
        if (sizeNow !== size) throw new FormatError(`${path}: had ${size} bytes when it was opened and has ${sizeNow} now`);
        return readAt(again, 8 + headerBytes + begin, end - begin, path);
      }),
    );
  });
}

function openIndex(path: string): Safetensors {
  let index: { weight_map?: unknown; metadata?: unknown };
  try {
    index = JSON.parse(readFileSync(path, 'utf8')) ?? {};
  } catch (error) {
    if (error instanceof SyntaxError) throw new FormatError(`${path}: is not JSON: ${error.message}`);
    throw error;
  }
  const map = index.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map) || Object.values(map).some((file) => typeof file !== 'string'))
    throw new FormatError(`${path}: needs a weight_map from tensor names to file names`);
  const fileOf = new Map(Object.entries(map as Record<string, string>));
  const files = new Map<string, Safetensors>();
  for (const [name, file] of fileOf) {
    if (basename(file) !== file || file === '..' || file === '.')
      throw new FormatError(`${path}: "${name}" is said to be in "${file}", which is not beside the index`);
    if (!files.has(file)) files.set(file, openFile(join(dirname(path), file)));
    if (!files.get(file)!.has(name)) throw new FormatError(`${path}: "${name}" is said to be in ${file}, which does not have it`);
  }
  const shard = (name: string): Safetensors => {
    const file = fileOf.get(name);
    if (file === undefined) throw new FormatError(`${path}: has no tensor "${name}"`);
    return files.get(file)!;
  };
  return {
    names: [...fileOf.keys()],
    metadata: Object.assign({}, ...[...files.values()].map(({ metadata }) => metadata)),
    has: (name) => fileOf.has(name),
    entry: (name) => shard(name).entry(name),
    read: (name) => shard(name).read(name),
    floats: (name) => shard(name).floats(name),
    integers: (name) => shard(name).integers(name),
  };
}

function withFile<T>(path: string, use: (fd: number, size: number) => T): T {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw fileError(error, `cannot read ${path}`);
  }
  try {
    return use(fd, fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

function readAt(fd: number, at: number, length: number, path: string): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const read = readSync(fd, bytes, done, Math.min(length - done, 1 << 30), at + done);
    if (read === 0) throw new FormatError(`${path}: ends at byte ${at + done}, ${length - done} bytes too early`);
    done += read;
  }
  return bytes;
}
