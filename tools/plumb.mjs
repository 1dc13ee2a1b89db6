// `pnpm plumb ARGS` from a checkout: sets it up where nobody has, builds what has changed, then runs the command-line tool in the folder it was called from.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
// what the tool prints, `--json` above all, has standard output to itself
const pnpm = (...args) => spawnSync(process.execPath, [at('tools/pnpm.mjs'), ...args], { stdio: ['inherit', 2, 2] }).status ?? 1;

const failed =
  (!existsSync(at('node_modules/.modules.yaml')) && pnpm('install', '--frozen-lockfile')) ||
  pnpm('exec', 'turbo', 'run', 'build', '--filter=@plumbline/cli', '--output-logs=errors-only', '--log-prefix=none');
if (failed) process.exit(failed);

const tool = spawn(process.execPath, [at('apps/cli/bin/plumb.mjs'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  cwd: process.env.INIT_CWD ?? process.cwd(),
});
// Ctrl-C reaches the tool by itself; this process stays until it has saved
process.on('SIGINT', () => {});
process.on('SIGTERM', () => tool.kill('SIGTERM'));
tool.once('close', (code) => process.exit(code ?? 1));
