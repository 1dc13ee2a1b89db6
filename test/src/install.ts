/** Packs packages of the workspace and installs the tarballs into an empty project, as a user would. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
type Manifest = {
  name: string;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
};

/** The folder of an empty project in which `packages` (short names) are installed from their tarballs, and how that was done. */
export function installPacked(packages: readonly string[]): { project: string; how: 'npm' | 'linked' } {
  const project = mkdtempSync(join(tmpdir(), 'plumbline-installed-'));
  const tarballs = Object.fromEntries(packages.map((name) => [`@plumbline/${name}`, pack(name, project)]));
  const dependencies = {
    '@tensorflow/tfjs-core': '4.22.0',
    ...Object.fromEntries(Object.entries(tarballs).map(([name, file]) => [name, `file:${file}`])),
  };
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'somebodys-project', private: true, type: 'module', dependencies, overrides: dependencies }),
  );
  // Compiling the kernels takes a minute, so that is for the full suite; otherwise this is also the install without a compiler.
  const env = { ...process.env, ...(!process.env.PLUMB_FULL && { CXX: 'no-such-compiler' }) };
  const options = ['--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=2'];
  const npm = spawnSync('npm', ['install', ...options], { cwd: project, encoding: 'utf8', env });
  if (npm.status === 0) return { project, how: 'npm' };
  if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ETIMEDOUT|EIDLETIMEOUT|ERR_SOCKET_TIMEOUT|ENOTCACHED/.test(npm.stderr))
    throw new Error(`npm install failed:\n${npm.stderr}`);
  link(project, packages, tarballs);
  return { project, how: 'linked' };
}

/** The folder of an empty project that has what `packages` pack, their types aside, and nothing that they depend on. */
export function unpackAlone(packages: readonly string[]): string {
  const project = mkdtempSync(join(tmpdir(), 'plumbline-alone-'));
  for (const name of packages) {
    const folder = join(project, 'node_modules/@plumbline', name);
    mkdirSync(folder, { recursive: true });
    // without scripts: types take a minute, and are not what is asked here
    const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', project], {
      cwd: join(root, 'packages', name),
      encoding: 'utf8',
    });
    execFileSync('tar', ['-xzf', join(project, packed.trim().split('\n').at(-1)!), '--strip-components=1', '-C', folder]);
  }
  return project;
}

function pack(name: string, into: string): string {
  const before = new Set(readdirSync(into));
  execFileSync(
    process.execPath,
    [join(root, 'tools/pnpm.mjs'), '--filter', `@plumbline/${name}`, 'exec', 'pnpm', 'pack', '--pack-destination', into],
    { stdio: 'pipe' },
  );
  const file = readdirSync(into).find((entry) => !before.has(entry) && entry.endsWith('.tgz'));
  if (!file) throw new Error(`pnpm pack wrote no tarball for ${name}`);
  return join(into, file);
}

/** Without a registry in reach: the tarballs unpacked, and of other packages only those that each manifest declares. */
function link(project: string, packages: readonly string[], tarballs: Record<string, string>): void {
  for (const name of packages) {
    const folder = join(project, 'node_modules/@plumbline', name);
    mkdirSync(folder, { recursive: true });
    execFileSync('tar', ['-xzf', tarballs[`@plumbline/${name}`]!, '--strip-components=1', '-C', folder]);
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
    const declared = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies });
    for (const dependency of declared.filter((one) => !one.startsWith('@plumbline/'))) {
      const source = join(root, 'packages', name, 'node_modules', dependency);
      const at = join(folder, 'node_modules', dependency);
      if (!existsSync(source)) continue; // an optional peer that is not installed
      mkdirSync(dirname(at), { recursive: true });
      symlinkSync(realpathSync(source), at, 'dir');
    }
  }
  const tfjs = join(project, 'node_modules/@tensorflow/tfjs-core');
  mkdirSync(dirname(tfjs), { recursive: true });
  symlinkSync(realpathSync(join(root, 'packages/core/node_modules/@tensorflow/tfjs-core')), tfjs, 'dir');
}

/** The first code block of `language` under the heading `heading` of a Markdown file. */
export function codeUnder(file: string, heading: string, language: string): string {
  const text = readFileSync(join(root, file), 'utf8');
  const section = text.split(/^#+ /m).find((part) => part.startsWith(heading));
  const code = section?.match(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``))?.[1];
  if (!code) throw new Error(`${file} has no ${language} block under "${heading}"`);
  return code;
}
