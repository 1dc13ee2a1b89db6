import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Tests run on the sources of every package in the workspace, so that nothing has to be built first. */
export default defineConfig({
  resolve: { conditions: ['plumbline-source', 'node', 'import', 'module', 'default'] },
  ssr: { resolve: { conditions: ['plumbline-source', 'node', 'import', 'module', 'default'] } },
  test: {
    include: ['src/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    setupFiles: [fileURLToPath(new URL('plain.js', import.meta.url))],
    // Only for what hangs: a machine with other work to do may take ten times as long for anything.
    testTimeout: 900_000,
    hookTimeout: 900_000,
    reporters: ['default', 'json'],
    outputFile: { json: '.results/vitest.json' },
  },
});
