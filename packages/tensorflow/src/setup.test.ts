import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { tensorflowAvailable } from './backend.js';
import { cards } from './card.js';
import { findAddons, findCompiler } from './compile.js';
import { findTensorflow } from './find.js';
import { explain, removeSetup, setupTensorflow } from './setup.js';
import { places, readSetup } from './store.js';
import { unzip, zipEntries } from './zip.js';

const set = readSetup();
const found = findTensorflow();
const compiler = findCompiler();
const reason = !process.env.PLUMB_FULL
  ? 'PLUMB_FULL=1 runs it where TensorFlow is set up'
  : 'why' in found
    ? found.why
    : 'why' in compiler
      ? compiler.why
      : set
        ? ''
        : 'plumb gpu setup has not run';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-setup-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  for (const name of ['PLUMB_TENSORFLOW', 'VIRTUAL_ENV', 'CONDA_PREFIX']) vi.stubEnv(name, '');
  vi.stubEnv('PLUMB_TENSORFLOW_HOME', join(folder, 'home'));
});
afterEach(() => vi.unstubAllEnvs());

describe('setup stops, and says what to do', () => {
  it('without a compiler', async () => {
    vi.stubEnv('CXX', 'nocxx');
    await expect(setupTensorflow()).rejects.toThrow(/no C\+\+ compiler: CXX is "nocxx".*Ways to get one: /);
    expect(existsSync(places().record)).toBe(false);
  });
  it.skipIf('why' in compiler)('but takes a compiler that is a command with arguments', () => {
    const program = 'command' in compiler ? compiler.command[0] : '';
    vi.stubEnv('CXX', `${program} -O1`);
    expect(findCompiler()).toEqual({ command: [program, '-O1'] });
  });
  it.skipIf(cards().length > 0 || 'why' in compiler)('without a card, where the CUDA build was asked for', async () => {
    await expect(setupTensorflow({ flavour: 'cuda' })).rejects.toThrow(/CUDA build|No NVIDIA card/);
  });
  it.skipIf('why' in compiler)('at a path that is wrong, and remembers that it was not finished', async () => {
    await expect(setupTensorflow({ flavour: 'cpu', path: join(folder, 'nothing') })).rejects.toThrow('there is no such file or folder');
    expect(tensorflowAvailable()).toMatchObject({ ok: false, why: expect.stringContaining('its setup was not finished') });
    expect(removeSetup()).toBe(join(folder, 'home'));
    expect(removeSetup()).toBeNull();
  });
  it.skipIf('why' in compiler)('where its folder cannot be', async () => {
    writeFileSync(join(folder, 'file'), '');
    vi.stubEnv('PLUMB_TENSORFLOW_HOME', join(folder, 'file', 'home'));
    await expect(setupTensorflow({ flavour: 'cpu' })).rejects.toThrow('cannot be written to. Set PLUMB_TENSORFLOW_HOME');
  });
  it('on a full disk, whoever noticed it', () => {
    const full = /The disk of .* is full.*run `plumb gpu setup` again, it goes on where it stopped/;
    expect(explain(Object.assign(new Error('write'), { code: 'ENOSPC' })).message).toMatch(full);
    expect(explain(new Error('installing TensorFlow: ERROR: [Errno 28] No space left on device')).message).toMatch(full);
  });
});

describe('a jar', () => {
  /** A zip archive of two files, the first deflated. */
  function archive(): Buffer {
    const [parts, directory]: Buffer[][] = [[], []];
    let offset = 0;
    for (const [name, text, method] of [
      ['a/libtensorflow_cc.so.2', 'library '.repeat(1000), 8],
      ['stored', 'as it is', 0],
    ] as const) {
      const data = method === 8 ? deflateRawSync(text) : Buffer.from(text);
      const local = Buffer.alloc(30);
      local.writeUInt32LE(0x04034b50, 0);
      local.writeUInt16LE(name.length, 26);
      const entry = Buffer.alloc(46);
      entry.writeUInt32LE(0x02014b50, 0);
      entry.writeUInt16LE(method, 10);
      entry.writeUInt32LE(data.length, 20);
      entry.writeUInt32LE(text.length, 24);
      entry.writeUInt16LE(name.length, 28);
      entry.writeUInt32LE(offset, 42);
      parts.push(local, Buffer.from(name), data);
      directory.push(entry, Buffer.from(name));
      offset += 30 + name.length + data.length;
    }
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt32LE(Buffer.concat(directory).length, 12);
    end.writeUInt32LE(offset, 16);
    return Buffer.concat([...parts, ...directory, end]);
  }
  it('is unpacked file by file', async () => {
    const path = join(folder, 'a.jar');
    writeFileSync(path, archive());
    const entries = await zipEntries(path);
    expect(entries.map(({ name, size }) => [name, size])).toEqual([
      ['a/libtensorflow_cc.so.2', 8000],
      ['stored', 8],
    ]);
    for (const entry of entries) await unzip(path, entry, join(folder, 'out'));
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('as it is');
    await unzip(path, entries[0], join(folder, 'out'));
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('library '.repeat(1000));
  });
  it('that was cut short is named', async () => {
    const path = join(folder, 'short.jar');
    writeFileSync(path, archive().subarray(0, 100));
    await expect(zipEntries(path)).rejects.toThrow('short.jar is no whole zip archive; was the download cut short?');
  });
});

describe.skipIf(reason)(`setup with a TensorFlow${reason && ` (not run: ${reason})`}`, () => {
  const yours = 'folder' in found ? found.folder : '';

  it('compiles, tests and remembers; a second run does not compile again; a moved environment is noticed', async () => {
    const moved = join(folder, 'environment');
    mkdirSync(moved, { recursive: true });
    for (const name of readdirSync(yours).filter((file) => file.startsWith('libtensorflow')))
      symlinkSync(join(yours, name), join(moved, name));
    mkdirSync(places().tfjsNode, { recursive: true });
    cpSync(set!.tfjsNode, join(places().tfjsNode, 'package'), { recursive: true }); // so that nothing is fetched
    const lines: string[] = [];
    const made = await setupTensorflow({ flavour: 'cpu', path: moved, say: (line) => lines.push(line) });
    expect(made).toMatchObject({ format: 1, origin: 'yours', tensorflow: moved, device: 'CPU' });
    expect(made.gflops).toBeGreaterThan(0);
    expect(lines.join('\n')).toMatch(/Compiled in \d+ s/);
    expect(readSetup()).toEqual(made);
    expect(findAddons()!.opener).toContain(join(folder, 'home'));
    expect(tensorflowAvailable()).toMatchObject({ ok: true, device: 'CPU', gpu: false });

    lines.length = 0;
    await setupTensorflow({ flavour: 'cpu', path: moved, say: (line) => lines.push(line) });
    expect(lines).toContain('It is there already');

    renameSync(moved, `${moved}-elsewhere`);
    expect(tensorflowAvailable()).toMatchObject({
      ok: false,
      why: expect.stringContaining('is gone or has moved; run `plumb gpu setup` again'),
    });
  });
});
