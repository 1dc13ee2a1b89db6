/** What a failure says and answers with, and how long a person is told to wait. */
import { ConfigError, FormatError, InterruptedError } from '@plumbline/core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { reportFailure } from './failure.js';
import { duration } from './progress.js';
import { unlessStopped } from './stop.js';

const said = vi.spyOn(console, 'error').mockImplementation(() => {});
afterEach(() => void said.mockClear());
const aborted = (): AbortSignal => AbortSignal.abort();

describe('a failure', () => {
  it('has an exit code of its own where the command was wrong, and where it was interrupted', () => {
    expect(reportFailure(new ConfigError('--steps must be a number'))).toBe(2);
    expect(reportFailure(new FormatError('a.jsonl: line 1'))).toBe(1);
    expect(reportFailure(new InterruptedError('stopped after step 3'))).toBe(130);
    expect(said.mock.lastCall![0]).toContain('stopped after step 3');
  });

  it('is one line where a signal stopped work that had nothing to save', () => {
    expect(reportFailure(aborted().reason)).toBe(130);
    expect(said.mock.calls).toHaveLength(1);
    expect(said.mock.lastCall![0]).not.toMatch(/\n\s+at /);
  });

  it('names the way on of the command line, not that of a function', () => {
    reportFailure(new FormatError("a.jsonl: 3 rows could not be read (badRows: 'skip' leaves such rows out)"));
    expect(said.mock.lastCall![0]).toContain(
      'a.jsonl: 3 rows could not be read (`plumb data convert SOURCE OUT --skip-bad` writes the others)',
    );
  });
});

describe('work that is stopped', () => {
  it('is interrupted, whatever came of it, and else what it is', async () => {
    await expect(unlessStopped(aborted(), Promise.resolve(1))).rejects.toThrow(InterruptedError);
    await expect(unlessStopped(aborted(), Promise.reject(new Error('half a file')))).rejects.toThrow(InterruptedError);
    const { signal } = new AbortController();
    await expect(unlessStopped(signal, Promise.resolve(1))).resolves.toBe(1);
    await expect(unlessStopped(signal, Promise.reject(new Error('half a file')))).rejects.toThrow('half a file');
  });
});

it('rounds what is left to what a clock can show', () => {
  expect([8.2, 59.7, 125, 3599.6, 3 * 3600 + 59.6 * 60].map(duration)).toEqual(['8 s', '1 min 0 s', '2 min 5 s', '1 h 0 min', '4 h 0 min']);
});
