import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import * as whole from './index.js';
import * as light from './judge.js';

/** What a file imports when it is loaded: neither types nor what is imported on first use. */
function importsOf(file: URL): string[] {
  const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
  return [...text.matchAll(/^(?:import|export) (?!type\b)(?:[^;]*? from )?'([^']+)';/gms)].map(([, from]) => from);
}

describe('the light door', () => {
  it('reaches nothing but light doors: neither tfjs, native code, models, zod, nor what verifiers load on first use', () => {
    const doors: Record<string, URL> = {
      '@plumbline/core/light': new URL('../../core/src/light.ts', import.meta.url),
      '@plumbline/data/light': new URL('../../data/src/light.ts', import.meta.url),
      '@plumbline/data/statistics': new URL('../../data/src/statistics/index.ts', import.meta.url),
    };
    const seen = new Set<string>();
    const walk = (file: URL) => {
      const path = fileURLToPath(file);
      if (seen.has(path)) return;
      seen.add(path);
      for (const from of importsOf(file)) {
        const next = from.startsWith('.') ? new URL(from.replace(/\.js$/, '.ts'), file) : doors[from];
        expect(next, `${path} imports ${from}`).toBeDefined();
        expect(existsSync(next!), `${path} imports ${from}`).toBe(true);
        walk(next!);
      }
    };
    walk(new URL('./judge.ts', import.meta.url));
    expect(seen.size).toBeGreaterThan(25);
  });
  it('offers nothing that the whole package does not offer too, but what stands in other packages', () => {
    const elsewhere = ['rng', 'extractAnswer', 'mathEqual', 'normalizeAnswer', 'verifyAnswer'];
    expect(Object.keys(light).filter((name) => !(name in whole) && !elsewhere.includes(name))).toEqual([]);
  });
});
