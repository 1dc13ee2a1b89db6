import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { registerTensorflowBackend, tensorflowAvailable } from './backend.js';
import { TensorflowError } from './errors.js';
import { findTensorflow, libraryNames } from './find.js';
import { places, writeWhole } from './store.js';

const { framework, cc } = libraryNames();
const machines: Record<string, number> = { x64: 0x3e, arm64: 0xb7 };
const other = process.arch === 'x64' ? 'arm64' : 'x64';

/** The first bytes of a shared library of this processor. */
function header(arch: string): Buffer {
  const bytes = Buffer.alloc(64);
  if (process.platform === 'darwin') {
    bytes.writeUInt32LE(0xfeedfacf, 0);
    bytes.writeUInt32LE(arch === 'x64' ? 0x01000007 : 0x0100000c, 4);
    return bytes;
  }
  bytes.writeUInt32BE(0x7f454c46, 0);
  bytes[4] = 2;
  bytes.writeUInt16LE(machines[arch], 18);
  return bytes;
}

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plumbline-tensorflow-'));
  for (const name of ['PLUMB_TENSORFLOW', 'VIRTUAL_ENV', 'CONDA_PREFIX']) vi.stubEnv(name, '');
  vi.stubEnv('PLUMB_TENSORFLOW_HOME', join(folder, 'home'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

/** A Python environment whose TensorFlow is two headers long. */
function environment(distribution: string, at = join(folder, 'venv'), arch: string = process.arch): string {
  const packages = join(at, 'lib', 'python3.12', 'site-packages');
  mkdirSync(join(packages, 'tensorflow'), { recursive: true });
  mkdirSync(join(packages, `${distribution}.dist-info`), { recursive: true });
  for (const name of [framework, cc]) writeFileSync(join(packages, 'tensorflow', name), header(arch));
  return at;
}
const why = (path?: string): string => {
  const found = findTensorflow({ path });
  return 'why' in found ? found.why : 'found';
};

describe('finding TensorFlow', () => {
  it('says how to get one where there is none', () => {
    expect(why()).toBe('no TensorFlow found (optional); `plumb gpu setup` installs one');
  });
  it('takes an environment, the folder in it, or a library, and reads the version beside it', () => {
    const venv = environment('tensorflow_cpu-2.21.0');
    const inside = join(venv, 'lib', 'python3.12', 'site-packages', 'tensorflow');
    for (const path of [venv, join(inside, '..'), inside, join(inside, cc)])
      expect(findTensorflow({ path })).toMatchObject({ folder: inside, version: '2.21.0', cuda: false, from: 'option' });
  });
  it('prefers the option to PLUMB_TENSORFLOW, that to what setup stored, and that to the active environment', () => {
    const from = (path?: string): unknown => (findTensorflow({ path }) as { from?: string }).from;
    vi.stubEnv('VIRTUAL_ENV', environment('tensorflow_cpu-2.21.0', join(folder, 'active')));
    expect(from()).toBe('python');
    const stored = environment('tensorflow_cpu-2.21.0', join(folder, 'stored'));
    writeWhole(places().record, JSON.stringify({ format: 1, tensorflow: stored, version: '2.21.0' }));
    expect(from()).toBe('setup');
    vi.stubEnv('PLUMB_TENSORFLOW', environment('tensorflow_cpu-2.21.0', join(folder, 'named')));
    expect(from()).toBe('PLUMB_TENSORFLOW');
    expect(from(stored)).toBe('option');
  });
  it('does not look further where what was named is wrong', () => {
    vi.stubEnv('VIRTUAL_ENV', environment('tensorflow_cpu-2.21.0'));
    vi.stubEnv('PLUMB_TENSORFLOW', join(folder, 'gone'));
    expect(why()).toMatch(/^PLUMB_TENSORFLOW names .*gone: there is no such file or folder$/);
    expect(why(folder)).toMatch(/it holds neither libtensorflow_framework.* nor libtensorflow_cc/);
  });
  it('names the library that is missing', () => {
    const venv = environment('tensorflow_cpu-2.21.0');
    rmSync(join(venv, 'lib', 'python3.12', 'site-packages', 'tensorflow', cc));
    expect(why(venv)).toMatch(new RegExp(`has no ${cc.replaceAll('.', '\\.')}: library missing`));
  });
  it('refuses libraries of another processor, cut short, or no libraries at all', () => {
    expect(why(environment('tensorflow-2.21.0', join(folder, 'other'), other))).toContain(
      `is built for ${other}, and this Node runs on ${process.arch}`,
    );
    const venv = environment('tensorflow-2.21.0');
    const file = join(venv, 'lib', 'python3.12', 'site-packages', 'tensorflow', framework);
    writeFileSync(file, 'short');
    expect(why(venv)).toContain('is 5 bytes long: cut short');
    writeFileSync(file, 'version https://git-lfs.github.com/spec/v1');
    expect(why(venv)).toContain('is not a shared library');
  });
  it('refuses a version without the C++ library', () => {
    expect(why(environment('tensorflow-2.9.3'))).toContain('TensorFlow 2.9.3 is too old');
  });
  it('says that an environment has moved, and that a setup was not finished', () => {
    writeWhole(places().unfinished, '{}');
    expect(why()).toContain('its setup was not finished; run `plumb gpu setup` again');
    writeWhole(places().record, JSON.stringify({ format: 1, tensorflow: join(folder, 'moved'), version: '2.21.0' }));
    expect(why()).toMatch(/moved is gone or has moved; run `plumb gpu setup` again/);
  });
  it('takes a record that cannot be read for none', () => {
    writeWhole(places().record, '{"format": 1, "tens');
    expect(why()).toContain('no TensorFlow found');
  });
});

describe('what doctor prints', () => {
  it('is that the binding is missing, where there is a TensorFlow without setup', () => {
    vi.stubEnv('PLUMB_TENSORFLOW', environment('tensorflow_cpu-2.21.0'));
    expect(tensorflowAvailable()).toEqual({
      ok: false,
      why: expect.stringMatching(/^TensorFlow 2\.21\.0 is in .*, but its binding is not built; run `plumb gpu setup`$/),
    });
  });
  it('is thrown as it stands by a start', () => {
    expect(() => registerTensorflowBackend()).toThrow(TensorflowError);
    expect(() => registerTensorflowBackend()).toThrow('no TensorFlow found (optional); `plumb gpu setup` installs one');
  });
});
