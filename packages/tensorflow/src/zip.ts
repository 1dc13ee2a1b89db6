/** Takes files out of a zip archive (a jar) without holding them in memory. */
import { createReadStream, createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { TensorflowError } from './errors.js';

type Entry = { name: string; method: number; compressed: number; size: number; offset: number };

/** The entries that the archive's directory lists. @throws TensorflowError where the file is cut short */
export async function zipEntries(path: string): Promise<Entry[]> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const tail = Buffer.alloc(Math.min(size, 65557));
    await file.read(tail, 0, tail.length, size - tail.length);
    const end = tail.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
    if (end < 0) throw new TensorflowError(`${path} is no whole zip archive; was the download cut short?`);
    const directory = Buffer.alloc(tail.readUInt32LE(end + 12));
    await file.read(directory, 0, directory.length, tail.readUInt32LE(end + 16));
    const entries: Entry[] = [];
    for (let at = 0; at + 46 <= directory.length && directory.readUInt32LE(at) === 0x02014b50; ) {
      const [name, extra, comment] = [28, 30, 32].map((field) => directory.readUInt16LE(at + field));
      entries.push({
        name: directory.toString('utf8', at + 46, at + 46 + name),
        method: directory.readUInt16LE(at + 10),
        compressed: directory.readUInt32LE(at + 20),
        size: directory.readUInt32LE(at + 24),
        offset: directory.readUInt32LE(at + 42),
      });
      at += 46 + name + extra + comment;
    }
    return entries;
  } finally {
    await file.close();
  }
}

/** Writes one entry to `target`. */
export async function unzip(path: string, entry: Entry, target: string): Promise<void> {
  const file = await open(path);
  const head = Buffer.alloc(30);
  await file.read(head, 0, 30, entry.offset);
  await file.close();
  const start = entry.offset + 30 + head.readUInt16LE(26) + head.readUInt16LE(28);
  const from = createReadStream(path, { start, end: start + entry.compressed - 1 });
  const to = createWriteStream(target);
  if (entry.method === 0) await pipeline(from, to);
  else if (entry.method === 8) await pipeline(from, createInflateRaw(), to);
  else throw new TensorflowError(`${path}: ${entry.name} is packed by method ${entry.method}, which is not supported.`);
}
