/** Files that are there whole or not at all. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError, PlumblineError } from './errors.js';

/**
 * Writes a file under a temporary name beside it, flushes it to the disk, and renames it: whoever opens `path` sees the old
 * contents or the new ones. Where it fails, the old file is as it was and nothing is left behind.
 *
 * @throws FileError saying what could not be written and why
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  await writeChunksAtomic(path, [typeof data === 'string' ? new TextEncoder().encode(data) : data]);
}

/** The same for contents that come in pieces, each of which is written before the next is asked for. */
export async function writeChunksAtomic(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await writeChunks(temporary, chunks);
    await rename(temporary, path);
    await flushFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to tell
    throw fileError(error, `cannot write ${path}`);
  }
}

/** Writes and flushes a new file; on failure a part of it may be left. */
export async function writeChunks(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx');
  try {
    for (const chunk of chunks) await writeAll(file, chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Makes a folder and those above it, unless they are there. (Node's own recursive `mkdir` never returns where the system
 * says "no such folder" of one that can be listed, as under /proc.)
 */
export async function makeFolder(path: string): Promise<void> {
  const make = async (): Promise<string | undefined> => {
    try {
      await mkdir(path);
      return undefined;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST' && (await stat(path)).isDirectory()) return undefined;
      if (code === 'ENOENT' && dirname(path) !== path) return code;
      throw error;
    }
  };
  if ((await make()) === undefined) return;
  await makeFolder(dirname(path));
  await mkdir(path).catch((error) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

/** A hidden name in the same folder, unlike any other. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
}

/** Makes a rename last through a power cut; not every platform lets a folder be opened. */
export async function flushFolder(path: string): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await open(path, 'r');
    await folder.sync();
  } catch {
    // Windows
  } finally {
    await folder?.close();
  }
}

const reasons: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space and start again',
  EDQUOT: 'your disk quota is used up; free some space and start again',
  EFBIG: 'the file would be larger than this system allows',
  EROFS: 'the disk is read-only; choose a folder that can be written to',
  EACCES: 'permission is denied; choose a folder that you may write to',
  EPERM: 'it is not permitted; choose a folder that you may write to',
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EISDIR: 'it is a folder, not a file',
  EEXIST: 'a file of that name is there',
  EIO: 'the disk reports an error',
};

/** The system's error in words: `<what>: <why> (<code>)`. Errors of ours, and what has no code, pass unchanged. */
export function fileError(error: unknown, what: string): Error {
  if (error instanceof PlumblineError || !(error instanceof Error)) return error as Error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  return new FileError(`${what}: ${reasons[code] ?? error.message} (${code})`, { cause: error });
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, Math.min(bytes.length - at, 1 << 28))).bytesWritten;
}
