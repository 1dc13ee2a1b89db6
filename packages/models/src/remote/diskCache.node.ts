import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeFileAtomic } from '@plumbline/core';
import type { RequestCache } from './request.js';

/**
 * Answers in a folder, one file each, named by the SHA-256 of their request's content. A file that cannot be read counts as missing. Where sampling
 * is at random the seed is part of the request, so the same experiment finds the same answers again.
 */
export function diskCache(folder: string): RequestCache {
  const fileOf = (content: string) => {
    const key = createHash('sha256').update(content).digest('hex');
    return join(folder, key.slice(0, 2), `${key}.json`);
  };
  return {
    async get(content) {
      try {
        const stored = JSON.parse(await readFile(fileOf(content), 'utf8')) as { request?: string; answer?: unknown };
        return stored.request === content ? stored.answer : undefined;
      } catch {
        return undefined;
      }
    },
    async set(content, answer) {
      const path = fileOf(content);
      await mkdir(dirname(path), { recursive: true });
      await writeFileAtomic(path, JSON.stringify({ request: content, answer }));
    },
  };
}
