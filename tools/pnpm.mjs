// Runs the pnpm version that package.json pins, without a global install: `node tools/pnpm.mjs ARGS`.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const root = new URL('..', import.meta.url);
const pin = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')).packageManager.split('+')[0];
const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' };
delete env.npm_config_loglevel; // `npm run -s` would silence pnpm's errors too
// Settings of pnpm's own, which it hands to what it runs and npx warns of.
for (const name of ['_jsr_registry', 'npm_globalconfig', 'overrides', 'strict_dep_builds', 'verify_deps_before_run'])
  delete env[`npm_config_${name}`];
// Without --prefer-offline npx asks the registry even for what it has, and without a network waits a minute for the answer.
const child = spawnSync('npx', ['--yes', '--prefer-offline', pin, ...process.argv.slice(2)], {
  stdio: 'inherit',
  shell: process.platform === 'win32',
  cwd: root,
  env,
});
process.exit(child.status ?? 1);
