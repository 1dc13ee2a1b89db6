/** The two addons, compiled once: our opener, and the binding in the user's own copy of @tensorflow/tfjs-node-gpu. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { TensorflowError } from './errors.js';
import { packageFolder, places, writeWhole } from './store.js';

export type Addons = { opener: string; binding: string };

/** Files that a release may carry, so that no compiler is needed. */
const prebuilt = (): string => join(packageFolder, 'prebuilt', `${process.platform}-${process.arch}`);
const inFolder = (folder: string): Addons => ({ opener: join(folder, 'opener.node'), binding: join(folder, 'tfjs_binding.node') });
const complete = ({ opener, binding }: Addons): boolean => existsSync(opener) && existsSync(binding);

/** The compiled addons, or null where setup has not made them. */
export function findAddons(): Addons | null {
  return [prebuilt(), places().addons].map(inFolder).find(complete) ?? null;
}

/** A C++ compiler that runs: the words of its command, or why there is none. `CXX` may hold arguments too. */
export function findCompiler(): { command: string[] } | { why: string } {
  const asked = process.env.CXX;
  const candidates = asked ? [existsSync(asked) ? [asked] : asked.trim().split(/\s+/)] : [['c++'], ['g++'], ['clang++']];
  const found = candidates.find(([program, ...args]) => spawnSync(program, [...args, '--version']).status === 0);
  if (found) return { command: found };
  const ways =
    process.platform === 'darwin'
      ? 'xcode-select --install'
      : 'apt install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora), apk add g++ (Alpine); or, without root, one from PyPI: ' +
        'python3 -m venv ~/zig && ~/zig/bin/pip install ziglang && export CXX="$HOME/zig/bin/python -m ziglang c++"';
  return {
    why: `no C++ compiler${asked ? `: CXX is "${asked}", which cannot be run` : ''}. It is needed once, for 15 seconds. Ways to get one: ${ways}`,
  };
}

/**
 * Compiles what is missing or was made from other sources.
 * @returns the files and the seconds that it took; 0 where both were there
 */
export async function compileAddons(tfjsNode: string): Promise<Addons & { seconds: number }> {
  if (complete(inFolder(prebuilt()))) return { ...inFolder(prebuilt()), seconds: 0 };
  const binding = join(tfjsNode, 'binding');
  const opener = join(packageFolder, 'src', 'cc', 'opener.c');
  const units = ['tfjs_backend.cc', 'tfjs_binding.cc'].map((name) => join(binding, name));
  const missing = [opener, ...units].find((file) => !existsSync(file));
  if (missing)
    throw new TensorflowError(
      `${missing} is missing: ${tfjsNode} is not a whole @tensorflow/tfjs-node-gpu. Remove it and run \`plumb gpu setup\` again.`,
    );
  const sources = [
    opener,
    ...readdirSync(binding)
      .sort()
      .map((name) => join(binding, name)),
  ];
  const hash = createHash('sha256').update(process.arch);
  for (const file of sources) hash.update(readFileSync(file));
  const want = hash.digest('hex');
  const target = places().addons;
  const stamp = join(target, 'sources');
  if (complete(inFolder(target)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === want) return { ...inFolder(target), seconds: 0 };
  const compiler = findCompiler();
  if ('why' in compiler) throw new TensorflowError(`${compiler.why}.`);
  const start = performance.now();
  mkdirSync(target, { recursive: true });
  const work = mkdtempSync(join(target, 'compiling-'));
  try {
    const made = inFolder(work);
    const node = join(dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json')), 'include');
    const open = process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : [];
    const common = ['-O2', '-fPIC', '-shared', '-I', node, ...open];
    // TensorFlow's symbols stay open on purpose: the opener has made them visible by the time that this is loaded.
    const [program, ...words] = compiler.command;
    await run(program, [...words, '-x', 'c', opener, ...common, '-o', made.opener, ...(process.platform === 'linux' ? ['-ldl'] : [])]);
    const headers = ['-I', join(packageFolder, 'include')];
    await run(program, [...words, '-std=c++17', '-w', '-DNAPI_VERSION=8', ...common, ...headers, ...units, '-o', made.binding]);
    for (const key of ['opener', 'binding'] as const) renameSync(made[key], inFolder(target)[key]);
    writeWhole(stamp, want);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return { ...inFolder(target), seconds: (performance.now() - start) / 1000 };
}

async function run(command: string, args: string[]): Promise<void> {
  const { code, text } = await new Promise<{ code: number | null; text: string }>((resolve) => {
    let text = '';
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data: Buffer) => {
        text += data.toString();
      });
    }
    child.on('error', (error) => resolve({ code: -1, text: error.message }));
    child.on('close', (code) => resolve({ code, text }));
  });
  if (code === 0) return;
  const lines = text.split('\n').filter(Boolean);
  throw new TensorflowError(
    `${command} failed: ${(lines.find((line) => /error|No space left/i.test(line)) ?? lines[0] ?? `exit code ${code}`).trim()}`,
  );
}
