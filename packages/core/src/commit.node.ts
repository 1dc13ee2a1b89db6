import { readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** The commit of the Git working tree that `folder` is in, read from its files; undefined where there is none. */
export function commitOf(folder: string): string | undefined {
  for (let at = resolve(folder); ; at = dirname(at)) {
    try {
      return commitIn(gitFolder(join(at, '.git')));
    } catch {
      if (dirname(at) === at) return undefined;
    }
  }
}

/** `.git` is a folder, or in a worktree a file that names one. */
function gitFolder(path: string): string {
  if (statSync(path).isDirectory()) return path;
  const named = /^gitdir: (.+)$/m.exec(readFileSync(path, 'utf8'))?.[1];
  if (named === undefined) throw new Error(`${path} names no folder`);
  return resolve(dirname(path), named.trim());
}

function commitIn(git: string): string {
  const head = readFileSync(join(git, 'HEAD'), 'utf8').trim();
  const ref = /^ref: (.+)$/.exec(head)?.[1];
  if (ref === undefined) return sha(head);
  const common = read(join(git, 'commondir'))?.trim();
  const folders = common === undefined ? [git] : [git, resolve(git, common)];
  for (const folder of folders) {
    const loose = read(join(folder, ref));
    if (loose !== undefined) return sha(loose.trim());
    const packed = read(join(folder, 'packed-refs'))
      ?.split('\n')
      .find((line) => line.endsWith(` ${ref}`));
    if (packed) return sha(packed.split(' ')[0]);
  }
  throw new Error('a branch without a commit');
}

function sha(text: string): string {
  if (!/^[0-9a-f]{40,64}$/.test(text)) throw new Error(`${text} is no commit`);
  return text;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
