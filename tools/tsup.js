import { defineConfig } from 'tsup';

/** Declarations take ten times as long as the code and only publishing needs them: `prepack` makes them (`tsup --dts-only`). */
const declarations = process.argv.includes('--dts-only');

/** Every package builds the same way: ESM, dependencies left outside. */
export const build = (/** @type {string[]} */ entry, /** @type {import('tsup').Options} */ more = {}) =>
  defineConfig({
    entry,
    format: 'esm',
    dts: declarations,
    clean: !declarations,
    splitting: true,
    sourcemap: true,
    target: 'node20',
    external: [/^@plumbline\//], // tsup leaves out dependencies and peers, not optional dependencies
    esbuildOptions: (options) => {
      options.outbase = 'src';
    },
    ...more,
  });
