import { existsSync, readdirSync } from 'node:fs';
import { build } from '@plumbline/tools/tsup';

/** Every folder with an experiment becomes a module of its own, found by its name at run time. */
const experiments = readdirSync('.').filter((name) => existsSync(`${name}/experiment.ts`));

export default build([], {
  entry: { index: 'src/index.ts', ...Object.fromEntries(experiments.map((id) => [`${id}/experiment`, `${id}/experiment.ts`])) },
  dts: false, // nobody outside the workspace imports it
});
