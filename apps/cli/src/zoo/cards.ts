/** What all model cards share. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { backendInfo } from '@plumbline/core';
import type { Spent } from './spent.js';

const files = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];

/** The sha256 of the files that make the model in `folder`, by name, as hexadecimal. */
export async function hashFiles(folder: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const file of files)
    hashes[file] = createHash('sha256')
      .update(await readFile(join(folder, file)))
      .digest('hex');
  return hashes;
}

/** The card, and beside it the hashes and the measured numbers for machines to read. */
export async function writeFiles(
  folder: string,
  card: string,
  sha256: Record<string, string>,
  measured: Record<string, number>,
): Promise<void> {
  await writeFile(join(folder, 'README.md'), card);
  await writeFile(join(folder, 'measured.json'), `${JSON.stringify(measured, null, 2)}\n`);
  await writeFile(join(folder, 'sha256.json'), `${JSON.stringify(sha256, null, 2)}\n`);
}

export function filesSection(sha256: Record<string, string>): string {
  return `## Files\n\n${Object.entries(sha256)
    .map(([file, hash]) => `- \`${file}\` sha256 \`${hash}\``)
    .join('\n')}`;
}

/** Wall clock and processor time: the first depends on what else the machine does, the second hardly. */
export function timeOf({ seconds, processorSeconds }: Spent): string {
  const { name, threads } = backendInfo();
  return `${minutes(seconds)} by the clock and ${minutes(processorSeconds)} of processor time on the backend \`${name}\`${threads ? ` with ${threads} threads` : ''}`;
}

const minutes = (seconds: number) => `${(seconds / 60).toFixed(1)} minutes`;
export const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)}%`;
export const mean = (x: ArrayLike<number>): number => Array.from(x).reduce((a, b) => a + b, 0) / x.length;
export const deviation = (x: readonly number[]): number => {
  const m = mean(x);
  return Math.sqrt(mean(x.map((v) => (v - m) ** 2)));
};

/** A Markdown table, its columns aligned; without `head` its heading is empty. */
export function table(rows: readonly (readonly string[])[], head: readonly string[] = rows[0].map(() => '')): string {
  const widths = head.map((name, column) => Math.max(3, name.length, ...rows.map((row) => row[column].length)));
  const line = (cells: readonly string[], pad = ' ') => `| ${cells.map((cell, i) => cell.padEnd(widths[i], pad)).join(' | ')} |`;
  return [
    line(head),
    line(
      head.map(() => ''),
      '-',
    ),
    ...rows.map((row) => line(row)),
  ].join('\n');
}
