/** Model and data set repositories of the Hugging Face hub, kept on disk where and as Python's `huggingface_hub` keeps them. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { open, rename, rm, stat, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import {
  ConfigError,
  FileError,
  FormatError,
  fileError,
  InterruptedError,
  makeFolder,
  PlumblineError,
  writeFileAtomic,
} from '@plumbline/core';

export type HubType = 'model' | 'dataset';
export type HubProgress = { file: string; fileBytes: number; fileTotal: number; doneBytes: number; totalBytes: number };
export type HubOptions = {
  /** `owner/name`. */
  repo: string;
  /** Default: model. */
  type?: HubType;
  /** Branch, tag or commit; default `main`. */
  revision?: string;
  /** Which files: `*` stands for any characters but `/`, `**` for any, `?` for one. Default: all. */
  patterns?: readonly string[];
  /** Default: `$HF_HUB_CACHE`, or `hub` in `$HF_HOME`, or `~/.cache/huggingface/hub`, as in Python. */
  cacheDir?: string;
  /** Default: `$HF_ENDPOINT`, or https://huggingface.co. */
  hubUrl?: string;
  /** Look in the cache alone; default: whether `$HF_HUB_OFFLINE` is set. */
  offline?: boolean;
  /** For private and gated repositories; default: `$HF_TOKEN`, or what `hf auth login` left. */
  token?: string;
  signal?: AbortSignal;
  onProgress?: (progress: HubProgress) => void;
  /** Hears that the hub could not be reached and the cached copy is used; default: a process warning. */
  onNotice?: (message: string) => void;
};

/**
 * The files of a repository at one commit, downloaded where they are not in the cache yet. What is downloaded is checked against the hub's
 * own hashes, and a download that was cut short goes on where it stopped.
 *
 * Offline, or where the hub cannot be reached, the cache answers: a branch or tag stands for the commit that it last led to.
 *
 * @returns the snapshot's folder and the commit, 40 hexadecimal digits, that names these very files for ever
 * @throws FileError where there is no way to the files, saying how to place them by hand; ConfigError where the hub knows no such repository,
 *   revision or file; FormatError where what arrived is not what the hub announced
 */
export async function hubSnapshot(options: HubOptions): Promise<{ dir: string; commit: string }> {
  const { repo, type = 'model', revision = 'main', offline = isOffline(), signal } = options;
  if (!/^[\w.-]+\/[\w.-]+$/.test(repo) || repo.split('/').some((part) => /^\.*$/.test(part)))
    throw new ConfigError(`${JSON.stringify(repo)} is no repository of the hub; those are called owner/name`);
  if (!isInside(revision)) throw new ConfigError(`${repo}: ${JSON.stringify(revision)} is no revision; give a branch, a tag or a commit`);
  const place: Place = {
    repo,
    type,
    revision,
    cache: options.cacheDir ?? hubCache(),
    folder: join(options.cacheDir ?? hubCache(), `${type}s--${repo.replace('/', '--')}`),
    hubUrl: (options.hubUrl ?? process.env.HF_ENDPOINT ?? 'https://huggingface.co').replace(/\/+$/, ''),
  };
  if (offline) return cached(place) ?? fail(place, 'this is offline (HF_HUB_OFFLINE, or offline: true)');
  try {
    return await download(place, options);
  } catch (error) {
    if (signal?.aborted) throw new InterruptedError(`${repo}: the download was stopped; what has arrived is kept`);
    const why = unreachable(error);
    if (why === undefined) throw hubError(error, place);
    const found = cached(place);
    if (!found) fail(place, `${place.hubUrl} cannot be reached (${why})`);
    (options.onNotice ?? process.emitWarning)(
      `${place.hubUrl} cannot be reached (${why}); ${repo}@${revision} is taken from the cache: commit ${found!.commit}`,
    );
    return found!;
  }
}

/**
 * `owner/name`, then a file's path and `@revision` if one is named: what a repository or a file in it is called on a command line.
 * `undefined` where the text cannot be such a name.
 */
export function parseHubId(text: string): { repo: string; revision?: string; path?: string } | undefined {
  const [, repo, path, revision] = /^(\w[\w.-]*\/\w[\w.-]*)((?:\/[\w.-]+)*)(?:@([\w./-]+))?$/.exec(text) ?? [];
  if (repo === undefined) return undefined;
  return { repo, ...(revision && { revision }), ...(path && { path: path.slice(1) }) };
}

/** Where Python's hub library keeps its files. */
export function hubCache(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? join(hubHome(), 'hub');
}

type Place = { repo: string; type: HubType; revision: string; cache: string; folder: string; hubUrl: string };
type Entry = { path: string; size: number; hash: string; algorithm: 'sha256' | 'git' };

async function download(place: Place, options: HubOptions): Promise<{ dir: string; commit: string }> {
  const { repo, revision, hubUrl, folder } = place;
  const { signal, onProgress } = options;
  const hub = await import('@huggingface/hub');
  const request = {
    hubUrl,
    accessToken: options.token ?? hubToken(),
    fetch: fetchWith(signal),
  };
  const question = { ...request, name: repo, revision, additionalFields: ['sha' as const] };
  const { sha: commit } = await (place.type === 'model' ? hub.modelInfo(question) : hub.datasetInfo(question));
  if (!isCommit(String(commit)))
    throw new FormatError(`${hubUrl}: ${repo}@${revision} is at commit ${JSON.stringify(commit)}, not 40 hexadecimal digits`);
  const designation = { type: place.type, name: repo } as const;

  const all: Entry[] = [];
  for await (const { type, path, size, oid, lfs } of hub.listFiles({ ...request, repo: designation, recursive: true, revision: commit })) {
    if (type !== 'file') continue;
    if (!isInside(path)) throw new FormatError(`${repo}: the hub lists a file ${JSON.stringify(path)}, which lies outside the repository`);
    const hash = lfs?.oid ?? oid;
    if (typeof hash !== 'string' || !/^[0-9a-f]{40,64}$/.test(hash)) throw new FormatError(`${repo}: the hub gives no hash of ${path}`);
    all.push({ path, size: lfs?.size ?? size, hash, algorithm: lfs ? 'sha256' : 'git' });
  }
  const wanted = options.patterns ? all.filter(({ path }) => matches(path, options.patterns!)) : all;
  if (wanted.length === 0) {
    const names = all.map(({ path }) => path);
    throw new ConfigError(
      `${repo}@${revision} has no file like ${options.patterns?.join(', ') ?? 'any'}; it has ${names.slice(0, 12).join(', ') || 'nothing'}${names.length > 12 ? `, and ${names.length - 12} more` : ''}`,
    );
  }

  const dir = join(folder, 'snapshots', commit);
  const totalBytes = wanted.reduce((sum, { size }) => sum + size, 0);
  let doneBytes = 0;
  for (const entry of wanted) {
    const pointer = join(dir, ...entry.path.split('/'));
    if (!existsSync(pointer)) {
      const blob = join(folder, 'blobs', entry.hash);
      if (!existsSync(blob)) {
        const open = async () => {
          const source = await hub.downloadFile({ ...request, repo: designation, path: entry.path, revision: commit });
          if (!source) throw new ConfigError(`${repo}@${revision} has no file ${entry.path} any more`);
          return source;
        };
        await fetchBlob(open, blob, entry, repo, (fileBytes) =>
          onProgress?.({ file: entry.path, fileBytes, fileTotal: entry.size, doneBytes: doneBytes + fileBytes, totalBytes }),
        );
      }
      await link(blob, pointer);
    }
    doneBytes += entry.size;
    onProgress?.({ file: entry.path, fileBytes: entry.size, fileTotal: entry.size, doneBytes, totalBytes });
  }
  if (revision !== commit) {
    const ref = join(folder, 'refs', ...revision.split('/'));
    await makeFolder(dirname(ref));
    await writeFileAtomic(ref, commit); // last: offline, a branch leads to files that are all there
  }
  return { dir, commit };
}

/** Downloads one file under a temporary name, goes on with what an earlier try left, and renames it once its hash is right. */
async function fetchBlob(
  openSource: () => Promise<Blob>,
  blob: string,
  { path, size, hash, algorithm }: Entry,
  repo: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  await makeFolder(dirname(blob));
  const left = `${blob}.incomplete`;
  const mine = `${blob}.${process.pid}-${randomBytes(4).toString('hex')}.incomplete`;
  await rename(left, mine).catch(() => {}); // ours alone from here on, whoever else downloads
  try {
    for (const last of [false, true]) {
      const file = await open(mine, 'a');
      let have = (await file.stat()).size;
      const resumed = have > 0;
      try {
        if (have < size) {
          const source = await openSource();
          if (source.size !== size) throw new FormatError(`${repo}: ${path} has ${source.size} bytes, but the hub announced ${size}`);
          for await (const chunk of (have > 0 ? source.slice(have) : source).stream() as unknown as AsyncIterable<Uint8Array>) {
            await file.appendFile(chunk);
            have += chunk.length;
            onBytes(Math.min(size, have));
            if (have > size) break;
          }
        }
      } catch (error) {
        throw fileError(error, `cannot write ${mine}`);
      } finally {
        await file.close();
      }
      if (have < size) throw new FileError(`${repo}: ${path} ended after ${have} of ${size} bytes; start again to go on from there`);
      if (have === size && (await hashOf(mine, size, algorithm)) === hash) {
        await rename(mine, blob);
        return;
      }
      await rm(mine, { force: true });
      if (!resumed || last)
        throw new FormatError(`${repo}: ${path} arrived damaged: its ${algorithm} hash is not the ${hash} that the hub announced`);
    }
  } catch (error) {
    await rename(mine, left).catch(() => {});
    throw error;
  }
}

async function hashOf(path: string, size: number, algorithm: Entry['algorithm']): Promise<string> {
  const hash = createHash(algorithm === 'git' ? 'sha1' : 'sha256');
  if (algorithm === 'git') hash.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

/** A relative link, as in Python's cache; where the system allows none, the file itself stands in the snapshot. */
async function link(blob: string, pointer: string): Promise<void> {
  await makeFolder(dirname(pointer));
  await rm(pointer, { force: true }); // a link whose file is gone
  try {
    await symlink(relative(dirname(pointer), blob), pointer);
  } catch (error) {
    if (
      await stat(pointer).then(
        () => true,
        () => false,
      )
    )
      return; // another process was faster
    if (!['EPERM', 'ENOSYS', 'EINVAL', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw fileError(error, `cannot write ${pointer}`);
    await rename(blob, pointer);
  }
}

/** What the cache has of this revision. */
function cached({ folder, revision }: Place): { dir: string; commit: string } | undefined {
  const commit = isCommit(revision) ? revision : readRef(join(folder, 'refs', ...revision.split('/')));
  if (commit === undefined) return undefined;
  const dir = join(folder, 'snapshots', commit);
  return existsSync(dir) && readdirSync(dir).length > 0 ? { dir, commit } : undefined;
}

function readRef(path: string): string | undefined {
  if (!existsSync(path) || !statSync(path).isFile()) return undefined;
  const commit = readFileSync(path, 'utf8').trim();
  return isCommit(commit) ? commit : undefined;
}

function fail({ repo, type, revision, cache, folder, hubUrl }: Place, why: string): never {
  const snapshots = existsSync(join(folder, 'snapshots')) ? readdirSync(join(folder, 'snapshots')) : [];
  const others = snapshots.length > 0 ? ` (it has the commits ${snapshots.slice(0, 4).join(', ')})` : '';
  const kind = type === 'dataset' ? ' --repo-type dataset' : '';
  const site = type === 'dataset' ? `${hubUrl}/datasets/${repo}` : `${hubUrl}/${repo}`;
  throw new FileError(
    `${repo}@${revision} is not in the cache ${cache}${others}, and ${why}. To place it by hand: where there is a network, run ` +
      `\`hf download ${repo}${kind} --revision ${revision}\` and copy the folder ${type}s--${repo.replace('/', '--')} of its cache into this one; ` +
      `or download the files from ${site}/tree/${revision} into any folder, and give that folder in place of the name`,
  );
}

/** Why there was no answer; `undefined` where there was one. Servers' own failures (5xx) and "too many requests" count as none. */
function unreachable(error: unknown): string | undefined {
  if (typeof error === 'string') return error; // what the hub's library makes of a connection that broke
  if (error instanceof PlumblineError || !(error instanceof Error)) return undefined;
  const { statusCode } = error as { statusCode?: number };
  if (statusCode !== undefined) return statusCode >= 500 || statusCode === 429 ? `it answers with status ${statusCode}` : undefined;
  if (error.name === 'TimeoutError') return 'no answer in time';
  if (!(error instanceof TypeError) || !/fetch failed|terminated|network/i.test(error.message)) return undefined;
  const cause = error.cause as { code?: string; message?: string } | undefined;
  return cause?.code ?? cause?.message ?? error.message;
}

function hubError(error: unknown, { repo, revision, type, hubUrl }: Place): unknown {
  const status = (error as { statusCode?: number }).statusCode;
  if (status === undefined) return error;
  const what = `${hubUrl} has no ${type === 'model' ? 'model' : 'data set'} ${repo}@${revision} that may be read`;
  const way =
    status === 401 || status === 403 ? '; a private or gated one needs a token in HF_TOKEN, and its terms accepted on its page' : '';
  return new ConfigError(`${what} (status ${status}: ${firstLine((error as Error).message)})${way}`);
}

const firstLine = (text: string) => text.split('\n')[0].slice(0, 200);

/** Every request ends with `signal`, and where nothing is heard for a while: 20 s for an answer to begin. */
function fetchWith(signal?: AbortSignal): typeof fetch {
  return async (input, init) => {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new DOMException('no answer in time', 'TimeoutError')), 20_000);
    try {
      for (let attempt = 0; ; attempt++) {
        const response = await fetch(input, { ...init, signal: AbortSignal.any([late.signal, ...(signal ? [signal] : [])]) });
        if (attempt >= 2 || !(response.status >= 500 || response.status === 429)) return response;
        await response.body?.cancel();
        const asked = Number(response.headers.get('retry-after'));
        await new Promise((resolve) => setTimeout(resolve, asked > 0 ? Math.min(asked, 5) * 1000 : 250 * 2 ** attempt));
      }
    } finally {
      clearTimeout(timer);
    }
  };
}

function matches(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const source = pattern.replace(/\*\*\/|\*\*|\*|\?|[^\w/]/g, (part) => {
      if (part === '**/') return '(?:.*/)?';
      if (part === '**') return '.*';
      if (part === '*') return '[^/]*';
      return part === '?' ? '[^/]' : `\\${part}`;
    });
    return new RegExp(`^${source}$`, 'u').test(path);
  });
}

const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);

/** A relative path that stays inside its folder, on every system. */
function isInside(path: string): boolean {
  return (
    path !== '' &&
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/[\\:]/.test(part)) &&
    !path.includes('\0')
  );
}

const isOffline = () => ['1', 'on', 'yes', 'true'].includes((process.env.HF_HUB_OFFLINE ?? '').toLowerCase());
const hubHome = () => process.env.HF_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'huggingface');

function hubToken(): string | undefined {
  if (process.env.HF_TOKEN) return process.env.HF_TOKEN.trim();
  const path = process.env.HF_TOKEN_PATH ?? join(hubHome(), 'token');
  const token = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
  return token === '' ? undefined : token;
}
