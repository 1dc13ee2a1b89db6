import { defineConfig, type Options } from 'tsup';

/** Every package builds the same way: ESM with declarations, dependencies left outside. */
export const build = (entry: string[], more: Options = {}) =>
  defineConfig({
    entry,
    format: 'esm',
    dts: true,
    clean: true,
    splitting: true,
    sourcemap: true,
    target: 'node20',
    external: [/^@plumbline\//], // tsup leaves out dependencies and peers, not optional dependencies
    esbuildOptions: (options) => {
      options.outbase = 'src';
    },
    ...more,
  });
