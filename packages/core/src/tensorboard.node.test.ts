import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { commitOf } from './commit.node.js';
import { openRun } from './run.node.js';
import { symptomsOf } from './symptoms.js';
import { crc32c, maskedCrc32c, openEventFile } from './tensorboard.node.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-events-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Fields = [field: number, value: number | Buffer][];
/** A protocol-buffer message, field by field: written here a second time, from the format. */
function fields(bytes: Buffer): Fields {
  const out: Fields = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key % 8;
    const take = (size: number) => {
      at += size;
      return at - size;
    };
    if (wire === 0) out.push([key >> 3, varint()]);
    else if (wire === 1) out.push([key >> 3, bytes.readDoubleLE(take(8))]);
    else if (wire === 5) out.push([key >> 3, bytes.readFloatLE(take(4))]);
    else {
      const size = varint();
      const from = take(size);
      out.push([key >> 3, bytes.subarray(from, at)]);
    }
  }
  return out;
}
function events(path: string): { step: number; values: Record<string, number>; version?: string; start?: boolean }[] {
  const file = readFileSync(path);
  const out = [];
  for (let at = 0; at < file.length; ) {
    const size = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(maskedCrc32c(file.subarray(at, at + 8)));
    const body = file.subarray(at + 12, at + 12 + size);
    expect(file.readUInt32LE(at + 12 + size)).toBe(maskedCrc32c(body));
    at += size + 16;
    const event = Object.fromEntries(fields(body)) as Record<number, number | Buffer>;
    const values = event[5] ? fields(event[5] as Buffer).map(([, value]) => Object.fromEntries(fields(value as Buffer))) : [];
    out.push({
      step: (event[2] as number) ?? 0,
      values: Object.fromEntries(values.map((v) => [String(v[1]), v[2] as number])),
      ...(event[3] !== undefined && { version: String(event[3]) }),
      ...(event[7] !== undefined && { start: true }),
    });
  }
  return out;
}

describe('CRC-32C', () => {
  it('is that of the published test vectors', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa); // RFC 3720, B.4
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(maskedCrc32c(Buffer.from('123456789'))).toBe((((0xe3069283 >>> 15) | (0xe3069283 << 17)) + 0xa282ead8) >>> 0);
  });
});

describe('event files', () => {
  it('hold a version, a start and the scalars of each step, under the checksums that TensorBoard checks', () => {
    const file = openEventFile(folder, 300);
    file.scalars(300, { loss: 0.5, 'rewards/margin': -2.25 });
    file.scalars(70_000, { loss: Number.NaN });
    file.close();
    const [version, start, first, second] = events(file.path);
    expect(version).toMatchObject({ version: 'brain.Event:2' });
    expect(start).toMatchObject({ start: true, step: 300 });
    expect(first).toMatchObject({ step: 300, values: { loss: 0.5, 'rewards/margin': -2.25 } });
    expect(second).toMatchObject({ step: 70_000, values: { loss: Number.NaN } });
  });

  it('are written beside metrics.jsonl, a new one each time that the run goes on', async () => {
    const dir = join(folder, 'run');
    const open = () => openRun({ dir, config: {}, seed: 1, saveEvery: 1, onWarning: () => {} });
    const part = { save: async () => ({ tensors: {}, json: null }), load: async () => {} };
    for (const [from, to] of [
      [0, 2],
      [2, 3],
    ]) {
      const run = await open();
      expect(await run.restore({ part })).toBe(from);
      for (let step = from; step < to; step++) {
        run.log(step, { loss: step });
        await run.save(step + 1, { part });
      }
      await run.close();
    }
    const files = readdirSync(dir)
      .filter((name) => name.startsWith('events.out.tfevents.'))
      .sort();
    expect(files).toHaveLength(2);
    expect(
      files.map((name) =>
        events(join(dir, name))
          .slice(1)
          .map(({ step }) => step),
      ),
    ).toEqual([
      [0, 0, 1],
      [2, 2],
    ]);
    const environment = JSON.parse(readFileSync(join(dir, 'environment.json'), 'utf8'));
    expect(environment).toMatchObject({ versions: { node: process.versions.node }, commit: commitOf(process.cwd()) });
  });
});

describe('symptoms', () => {
  const steps = (count: number, values: object) => Array.from({ length: count }, (_, step) => ({ step, ...values }));
  it('are told once, when they have lasted', () => {
    expect(symptomsOf(steps(19, { loss: Math.LN2, 'rewards/margin': 0 }))).toEqual([]);
    expect(symptomsOf(steps(60, { loss: Math.LN2, 'rewards/margin': 0 }))).toMatchObject([{ name: 'loss still ln 2', step: 19 }]);
    expect(symptomsOf(steps(60, { loss: Math.LN2 }))).toEqual([]); // not a loss of pairs
    expect(symptomsOf(steps(3, { 'groups/withoutDeviation': 1 }))[0].hint).toMatch(/every group's rewards were all equal/);
    expect(symptomsOf(steps(3, { 'groups/withoutDeviation': 1, 'advantages/std': 0.5 }))).toEqual([]); // compared with other prompts, or a teacher
    expect(symptomsOf(steps(3, { 'completions/finished': 0 }))[0].hint).toMatch(/no completion came to its end/);
    expect(symptomsOf(steps(5, { gradNorm: 0 }))).toMatchObject([{ name: 'no gradient' }]);
  });
  it('begin anew where a step is healthy', () => {
    const mixed = [0, 1, 2, 3, 4, 5].map((step) => ({ step, 'completions/finished': step === 2 || step === 5 ? 0.1 : 0 }));
    expect(symptomsOf(mixed)).toEqual([]);
  });
  it('are not told where they are the design', async () => {
    const lines: string[] = [];
    const expected = ['all completions truncated'];
    const run = await openRun({ dir: join(folder, 'expected'), config: {}, seed: 1, expected, onWarning: (line) => lines.push(line) });
    for (let step = 0; step < 4; step++) run.log(step, { 'completions/finished': 0, 'groups/withoutDeviation': 1 });
    await run.close();
    expect(lines.length).toBe(1);
    expect(lines[0]).toMatch(/every group's rewards/);
    await expect(openRun({ dir: join(folder, 'none'), config: {}, seed: 1, expected: ['boredom'] })).rejects.toThrow(
      /no symptom "boredom"; there are loss still ln 2, /,
    );
  });
  it('are printed while a run is logged', async () => {
    const lines: string[] = [];
    const run = await openRun({ dir: join(folder, 'hints'), config: {}, seed: 1, onWarning: (line) => lines.push(line) });
    for (let step = 0; step < 4; step++) run.log(step, { 'groups/withoutDeviation': 1 });
    await run.close();
    expect(lines).toEqual([expect.stringMatching(/^hint: step 2: in 3 steps every group's rewards/)]);
  });
});
