import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileError, makeFolder } from '@plumbline/core';
import type { LogpCache } from './referenceLogps.js';

/**
 * A cache of reference log-probabilities in a file of `folder`, one line a sequence: a hash of its tokens and the sum. A last line that was cut short is
 * ignored, so that a stopped process leaves a cache that can be used.
 *
 * @param identity all that decides the numbers beside the tokens: the hash of the reference's weights, how they are stored and multiplied, the backend
 * @throws FileError where the folder cannot be written
 */
export async function fileLogpCache(
  folder: string,
  identity: Readonly<Record<string, unknown>>,
): Promise<LogpCache & { readonly path: string }> {
  await makeFolder(folder);
  const header = JSON.stringify({ format: 1, ...identity });
  const path = join(folder, `${createHash('sha256').update(header).digest('hex').slice(0, 32)}.logps`);
  const known = new Map<string, number>();
  let text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  for (const [, key, value] of text.matchAll(/^([0-9a-f]{40}) (\S+)$\n/gm))
    if (Number.isFinite(Number(value))) known.set(key, Number(value));
  const keyOf = (prompt: Int32Array, completion: Int32Array) =>
    createHash('sha256').update(`${prompt.length} `).update(bytes(prompt)).update(bytes(completion)).digest('hex').slice(0, 40);
  return {
    path,
    get: (prompt, completion) => known.get(keyOf(prompt, completion)),
    add(entries) {
      const lines = entries.map(({ prompt, completion, logp }) => {
        const key = keyOf(prompt, completion);
        known.set(key, logp);
        return `${key} ${logp}\n`;
      });
      const before = text === '' ? `${header}\n` : text.endsWith('\n') ? '' : '\n';
      try {
        appendFileSync(path, before + lines.join(''));
      } catch (error) {
        throw fileError(error, `cannot write ${path}`);
      }
      text = '\n';
    },
  };
}

const bytes = (ids: Int32Array) => new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);
