// `pnpm plumb ARGS` from a checkout: builds what has changed, then runs the command-line tool in the folder it was called from.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const run = (args, options) => spawnSync(process.execPath, args, { stdio: 'inherit', ...options }).status ?? 1;

const built = run(
  [at('tools/pnpm.mjs'), 'exec', 'turbo', 'run', 'build', '--filter=@plumbline/cli', '--output-logs=errors-only', '--log-prefix=none'],
  {
    stdio: ['inherit', 2, 2], // what the tool prints, `--json` above all, has standard output to itself
  },
);
process.exit(built || run([at('apps/cli/bin/plumb.mjs'), ...process.argv.slice(2)], { cwd: process.env.INIT_CWD ?? process.cwd() }));
