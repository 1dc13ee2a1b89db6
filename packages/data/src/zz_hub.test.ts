import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hubSnapshot, parseHubId } from './hub.node.js';

const first = 'a'.repeat(40);
const second = 'b'.repeat(40);
const big = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251));
type Files = Record<string, { data: Buffer; lfs?: boolean; oid?: string }>;
const text = (data: string) => ({ data: Buffer.from(data) });

/** As much of the hub as a download needs. */
const hub = {
  refs: { main: first, v1: first, 'refs/pr/1': second } as Record<string, string>,
  commits: {} as Record<string, Files>,
  requests: [] as string[],
  authorization: new Set<string | undefined>(),
  /** Bytes after which a download breaks off. */
  cutAt: Infinity,
  status: 200,
};

function answer(request: IncomingMessage, response: ServerResponse): unknown {
  const url = new URL(request.url!, 'http://hub');
  hub.requests.push(`${url.pathname}${request.headers.range ? ` ${request.headers.range}` : ''}`);
  hub.authorization.add(request.headers.authorization);
  const json = (value: unknown, status = 200) =>
    void response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value));
  if (hub.status !== 200) return json({ error: 'made to fail' }, hub.status);
  const path = decodeURIComponent(url.pathname);
  const info = /^\/api\/(?:models|datasets)\/owner\/tiny\/revision\/(.+)$/.exec(path);
  if (info) {
    const sha = hub.refs[info[1]] ?? (hub.commits[info[1]] ? info[1] : undefined);
    return sha ? json({ _id: '1', id: 'owner/tiny', sha, private: false }) : json({ error: 'Invalid rev id' }, 404);
  }
  const tree = /^\/api\/(?:models|datasets)\/owner\/tiny\/tree\/(\w+)$/.exec(path);
  if (tree) {
    return json(
      Object.entries(hub.commits[tree[1]]).map(([path, { data, lfs, oid }]) => ({
        type: 'file',
        path,
        size: data.length,
        oid: oid ?? createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex'),
        ...(lfs && { lfs: { oid: createHash('sha256').update(data).digest('hex'), size: data.length, pointerSize: 134 } }),
      })),
    );
  }
  const file = /^\/(?:datasets\/)?owner\/tiny\/resolve\/(\w+)\/(.+)$/.exec(path);
  const data = file && hub.commits[file[1]]?.[file[2]]?.data;
  if (!data) return json({ error: 'Repository not found' }, 401);
  const [, from = '0', to = String(data.length - 1)] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const part = data.subarray(Number(from), Number(to) + 1);
  response.writeHead(request.headers.range ? 206 : 200, {
    ETag: '"x"',
    'Content-Length': part.length,
    ...(request.headers.range && { 'Content-Range': `bytes ${from}-${to}/${data.length}` }),
  });
  if (Number(from) + part.length > hub.cutAt) {
    response.write(part.subarray(0, hub.cutAt - Number(from)), () => setTimeout(() => response.destroy(), 20));
    return undefined;
  }
  return response.end(part);
}

describe('a repository of the hub', () => {
  let server: Server;
  let hubUrl: string;
  let cacheDir: string;
  const folders: string[] = [];
  beforeAll(async () => {
    server = createServer((request, response) => void answer(request, response)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    hubUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    for (const folder of folders) rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    cacheDir = '/tmp/hubcache';
    
    hub.requests.length = 0;
    hub.authorization.clear();
    hub.cutAt = Infinity;
    hub.status = 200;
    hub.refs.main = first;
    hub.commits = {
      [first]: { 'config.json': text('{"a":1}'), 'model.safetensors': { data: big, lfs: true }, 'onnx/model.onnx': text('x') },
      [second]: { 'config.json': text('{"a":2}'), 'model.safetensors': { data: big, lfs: true } },
    };
  });
  const get = (more: Partial<Parameters<typeof hubSnapshot>[0]> = {}) =>
    hubSnapshot({ repo: 'owner/tiny', cacheDir, hubUrl, offline: false, token: 'hf_test', ...more });

  it("lies in Python's cache layout, with the branch's commit written down", async () => {
    const progress: number[] = [];
    const { dir, commit } = await get({ onProgress: ({ doneBytes }) => progress.push(doneBytes) });
    const folder = join(cacheDir, 'models--owner--tiny');
    expect(commit).toBe(first);
    expect(dir).toBe(join(folder, 'snapshots', first));
    expect(readFileSync(join(folder, 'refs', 'main'), 'utf8')).toBe(first);
    const sha = createHash('sha256').update(big).digest('hex');
    expect(readlinkSync(join(dir, 'model.safetensors'))).toBe(join('..', '..', 'blobs', sha));
    expect(lstatSync(join(folder, 'blobs', sha)).size).toBe(big.length);
    expect(readFileSync(join(dir, 'model.safetensors')).equals(big)).toBe(true);
    expect(readFileSync(join(dir, 'config.json'), 'utf8')).toBe('{"a":1}');
    expect(readFileSync(join(dir, 'onnx', 'model.onnx'), 'utf8')).toBe('x');
    expect(progress.at(-1)).toBe(big.length + 8);
    expect([...hub.authorization]).toEqual(['Bearer hf_test']);
  });

  it('takes the files that the patterns name, and does not ask for them twice', async () => {
    const { dir } = await get({ patterns: ['*.json', 'onnx/**'] });
    expect(existsSync(join(dir, 'config.json'))).toBe(true);
    expect(existsSync(join(dir, 'onnx', 'model.onnx'))).toBe(true);
    expect(existsSync(join(dir, 'model.safetensors'))).toBe(false);
    hub.requests.length = 0;
    await get({ patterns: ['*.json'] });
    expect(hub.requests.filter((path) => path.includes('resolve'))).toEqual([]);
    await expect(get({ patterns: ['*.gguf'] })).rejects.toThrow(
      'no file like *.gguf; it has config.json, model.safetensors, onnx/model.onnx',
    );
  });

  it('is pinned by a tag or a commit, and a data set has a folder of its own', async () => {
    expect((await get({ revision: second })).commit).toBe(second);
    expect(existsSync(join(cacheDir, 'models--owner--tiny', 'refs'))).toBe(false); // a commit needs no reference
    expect((await get({ revision: 'refs/pr/1', type: 'dataset' })).dir).toBe(join(cacheDir, 'datasets--owner--tiny', 'snapshots', second));
    expect(readFileSync(join(cacheDir, 'datasets--owner--tiny', 'refs', 'refs', 'pr', '1'), 'utf8')).toBe(second);
  });

  it('shares a file between commits', async () => {
    await get();
    hub.refs.main = second;
    hub.requests.length = 0;
    const { dir } = await get();
    expect(hub.requests.filter((path) => path.includes('model.safetensors'))).toEqual([]);
    expect(readFileSync(join(dir, 'config.json'), 'utf8')).toBe('{"a":2}');
    expect(readFileSync(join(cacheDir, 'models--owner--tiny', 'refs', 'main'), 'utf8')).toBe(second);
  });

  it('is read from the cache offline, by branch, tag or commit', async () => {
    await get({ revision: 'v1' });
    await get();
    hub.requests.length = 0;
    for (const revision of ['main', 'v1', first]) expect((await get({ revision, offline: true })).commit).toBe(first);
    expect(hub.requests).toEqual([]);
  });

  it('is read from the cache, and says so, where the hub cannot be reached', async () => {
    await get();
    const notices: string[] = [];
    const { commit } = await get({ hubUrl: 'http://127.0.0.1:9', onNotice: (message) => notices.push(message) });
    expect(commit).toBe(first);
    hub.status = 503;
    await get({ onNotice: (message) => notices.push(message) });
    expect(notices).toEqual([
      expect.stringMatching(/^http:\/\/127.0.0.1:9 cannot be reached \(.+\); owner\/tiny@main is taken from the cache: commit a{40}$/),
      expect.stringContaining('(it answers with status 503)'),
    ]);
  });

  it('says how to place the files by hand where there is no way to them', async () => {
    const hand = 'run `hf download owner/tiny --revision main` and copy the folder models--owner--tiny';
    await expect(get({ offline: true })).rejects.toThrow(`owner/tiny@main is not in the cache ${cacheDir}, and this is offline`);
    await expect(get({ offline: true })).rejects.toThrow(hand);
    await expect(get({ hubUrl: 'http://127.0.0.1:9' })).rejects.toThrow(hand);
    await expect(get({ hubUrl: 'http://127.0.0.1:9' })).rejects.toThrow('http://127.0.0.1:9/owner/tiny/tree/main');
    await get();
    await expect(get({ offline: true, revision: second })).rejects.toThrow(`it has the commits ${first}`);
  });

  it('goes on where a download broke off', async () => {
    hub.cutAt = 120_000;
    await expect(get()).rejects.toThrow('cannot be reached');
    const left = join(cacheDir, 'models--owner--tiny', 'blobs', `${createHash('sha256').update(big).digest('hex')}.incomplete`);
    expect(statSync(left).size).toBeLessThanOrEqual(120_000);
    expect(existsSync(join(cacheDir, 'models--owner--tiny', 'refs'))).toBe(false);
    hub.cutAt = Infinity;
    hub.requests.length = 0;
    const { dir } = await get();
    expect(hub.requests.some((request) => /model\.safetensors bytes=[1-9]\d*-299999$/.test(request))).toBe(true);
    expect(readFileSync(join(dir, 'model.safetensors')).equals(big)).toBe(true);
  });

  it('is downloaded anew where what was left is damaged, and refused where the file itself is', async () => {
    const sha = createHash('sha256').update(big).digest('hex');
    hub.cutAt = 120_000;
    await get().catch(() => {});
    hub.cutAt = Infinity;
    const left = join(cacheDir, 'models--owner--tiny', 'blobs', `${sha}.incomplete`);
    writeFileSync(left, 'damage'.repeat(1000));
    expect(readFileSync(join((await get()).dir, 'model.safetensors')).equals(big)).toBe(true);
    hub.commits[first]['config.json'].oid = 'c'.repeat(40);
    await expect(get({ cacheDir: join(cacheDir, 'other') })).rejects.toThrow(
      `config.json arrived damaged: its git hash is not the ${'c'.repeat(40)}`,
    );
  });

  it('names what the hub does not have, and stops on request', async () => {
    await expect(get({ revision: 'nowhere' })).rejects.toThrow(
      /has no model owner\/tiny@nowhere that may be read \(status 404: Invalid rev id/,
    );
    hub.status = 403;
    await expect(get()).rejects.toThrow('needs a token in HF_TOKEN');
    await expect(get({ signal: AbortSignal.abort() })).rejects.toThrow('stopped');
    await expect(get({ repo: '../x' })).rejects.toThrow('"../x" is no repository of the hub');
    await expect(get({ revision: '../../x' })).rejects.toThrow('is no revision');
  });

  it('never writes outside its folder', async () => {
    hub.commits[first] = { '../../escape': text('x') };
    await expect(get()).rejects.toThrow('lies outside the repository');
  });
});

describe('what a repository is called', () => {
  it('is owner/name, with a path and a revision if wanted', () => {
    expect(parseHubId('owner/name')).toEqual({ repo: 'owner/name' });
    expect(parseHubId('owner/name@v1.0')).toEqual({ repo: 'owner/name', revision: 'v1.0' });
    expect(parseHubId('owner/name/q4/model.gguf@refs/pr/2')).toEqual({ repo: 'owner/name', path: 'q4/model.gguf', revision: 'refs/pr/2' });
    for (const other of ['name', './a/b', '/a/b', '../a', 'zoo:x', 'a/b c', '']) expect(parseHubId(other)).toBeUndefined();
  });
});
