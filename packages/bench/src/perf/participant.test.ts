import { describe, expect, it } from 'vitest';
import { startParticipant } from './participant.js';

const node = (script: string) => startParticipant(process.execPath, ['-e', script], process.env);
const ready = `console.log('{"name":"x"}');`;

describe('a measuring process', () => {
  it('answers line by line and ends when it is stopped', async () => {
    const one = await node(
      `${ready} require('readline').createInterface({ input: process.stdin }).on('line', () => console.log('{"seconds":2}'))`,
    );
    expect(one.name).toBe('x');
    expect(await one.ask({ calls: 1 })).toEqual({ seconds: 2 });
    await one.stop();
  });

  it('passes on why it cannot start', async () => {
    await expect(node(`console.log('{"error":"no such backend"}')`)).rejects.toThrow('no such backend');
    await expect(node(`console.error('ImportError: no libfoo'); process.exit(1)`)).rejects.toThrow('no libfoo');
    await expect(startParticipant('./no-such-program', [], process.env)).rejects.toThrow('no-such-program');
  });

  it('says how it died in the middle', async () => {
    const one = await node(`${ready} process.stdin.once('data', () => process.kill(process.pid, 'SIGKILL'))`);
    await expect(one.ask({ calls: 1 })).rejects.toThrow('SIGKILL');
    await one.stop();
  });
});
