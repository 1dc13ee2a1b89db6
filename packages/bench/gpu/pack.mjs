// Puts all that run.sh needs into one folder: node pack.mjs FOLDER [--no-wheels]. Build first; needs the network, pnpm, pip and a C++ compiler.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = resolve(here, '..', '..', '..');
const [folder, ...flags] = process.argv.slice(2);
if (!folder || folder.startsWith('--')) {
  console.error('node pack.mjs FOLDER [--no-wheels]');
  process.exit(2);
}
const out = resolve(folder);
const run = (command, args, env = {}) => {
  console.log([command, ...args].join(' '));
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', cwd: root, env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(`${command} failed${error ? `: ${error.message}` : ` with ${status}`}`);
};

mkdirSync(out, { recursive: true });
rmSync(join(out, 'app'), { recursive: true, force: true });
// With what it is developed with, since that holds tfjs-core, a peer.
run(process.execPath, ['tools/pnpm.mjs', '--filter', '@plumbline/bench', 'deploy', '--legacy', '--ignore-scripts', join(out, 'app')]);
for (const name of ['gpu', 'peers']) cpSync(join(here, '..', name), join(out, 'app', name), { recursive: true });
copyFileSync(process.execPath, join(out, 'node'));
copyFileSync(join(here, 'run.sh'), join(out, 'run.sh'));
for (const name of ['node', 'run.sh']) chmodSync(join(out, name), 0o755);
const prepare = `import(${JSON.stringify(new URL('../../tensorflow/dist/api.js', import.meta.url).href)}).then(({ prepareBinding }) => prepareBinding(console.log))`;
run(process.execPath, ['-e', prepare], { PLUMB_TENSORFLOW_HOME: join(out, 'tensorflow') });
if (!flags.includes('--no-wheels')) {
  // Apart: the two ask for different versions of CUDA's libraries.
  run('python3', ['-m', 'pip', 'download', '-d', join(out, 'wheels', 'tensorflow'), 'tensorflow[and-cuda]==2.21.0']);
  run('python3', ['-m', 'pip', 'download', '-d', join(out, 'wheels', 'pytorch'), 'torch', 'numpy']);
}
console.log(
  `Carry ${out} to the machine with the card, and run ${join(out, 'run.sh')} there. Its Python must be the same minor version as here.`,
);
