/** A script of this folder made into one file that plain Node runs in a process of its own, with the sources of this workspace inside. */
import { mkdirSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** @returns the file's path: under the package, so that what it imports is found */
export async function buildScript(name: string): Promise<string> {
  const outDir = at(`../../.results/${name}`);
  await build({
    entry: [at(`./${name}.ts`)],
    outDir,
    format: 'esm',
    config: false,
    silent: true,
    clean: true,
    esbuildOptions: (options) => {
      options.conditions = ['plumbline-source'];
    },
  });
  // The addon's loader looks beside the folder that its own code is in.
  mkdirSync(at('../../.results/src'), { recursive: true });
  for (const part of ['build', 'build.mjs', 'src/cc'])
    try {
      symlinkSync(at(`../../../native/${part}`), at(`../../.results/${part}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // made by an earlier or another test, wherever it leads
    }
  return `${outDir}/${name}.js`;
}
