import { describe, expect, it } from 'vitest';
import { compileRewardProgram } from './program.js';

const shape = { observations: ['x', 'v'], actions: 1 };
const compiled = (code: string, limits = { timeoutMs: 600_000 }) => compileRewardProgram(code, shape, limits);

describe('compileRewardProgram', () => {
  it('gives each row its reward', async () => {
    const program = await compiled('function reward(state, action) { return -state.x * state.x - 0.1 * state.v - action[0]; }');
    const { total, components } = await program.batch([1, 2, 3, 0], [0.5, -1]);
    expect([...total].map((value) => value.toFixed(4))).toEqual(['-1.7000', '-8.0000']);
    expect([program.names, components]).toEqual([[], {}]);
  });
  it('adds components up, or takes a total of their own', async () => {
    const sum = await compiled('const reward = ({ x, v }) => ({ near: -Math.abs(x), slow: -v });');
    expect(sum.names).toEqual(['near', 'slow']);
    const { total, components } = await sum.batch(Float32Array.of(2, 1), [0]);
    expect([total[0], components.near[0], components.slow[0]]).toEqual([-3, -2, -1]);
    const own = await compiled('const reward = ({ x }) => ({ near: x, total: 10 * x });');
    expect(own.names).toEqual(['near']);
    expect((await own.batch([2, 0], [0])).total[0]).toBe(20);
  });
  it('does a thousand rows in one run, and keeps nothing between runs', async () => {
    const program = await compiled('let calls = 0; function reward() { return ++calls; }');
    const { total } = await program.batch(new Float32Array(2000), new Float32Array(1000));
    expect([total[0], total[999]]).toEqual([1, 1000]);
    expect((await program.batch([0, 0], [0])).total[0]).toBe(1);
  });
  it('says why a program is none', async () => {
    await expect(compiled('function reward( {')).rejects.toMatchObject({ kind: 'error', message: expect.stringContaining('SyntaxError') });
    await expect(compiled('const r = 1;')).rejects.toThrow('there is no function reward(state, action)');
    await expect(compiled('function reward() { for (;;); }', { timeoutMs: 50 })).rejects.toMatchObject({ kind: 'timeout' });
    await expect(compiled('function reward() { return "much"; }')).rejects.toThrow('row 0: the reward is "much", not a finite number');
    await expect(compiled('function reward() { return { near: NaN }; }')).rejects.toThrow('the component "near" is "NaN"');
    await expect(compiled('function reward() { return require("fs"); }')).rejects.toMatchObject({ kind: 'error' });
  });
  it('names the row that does not come to a number', async () => {
    const root = await compiled('const reward = ({ x }) => Math.sqrt(x);');
    await expect(root.batch([1, 0, -1, 0], [0, 0])).rejects.toThrow('row 1: the reward is "NaN", not a finite number');
    const changing = await compiled('const reward = ({ x }) => (x > 0 ? { far: x } : { near: x });');
    await expect(changing.batch([1, 0], [0])).rejects.toThrow('the component "far" was not there before; there were near');
    await expect(root.batch([1, 0, 1], [0])).rejects.toThrow('3 numbers of states and 1 of actions; a row has 2 and 1');
  });
  it('names what does not fit', async () => {
    await expect(compileRewardProgram('', { observations: [], actions: 1 })).rejects.toThrow('there are no observations');
    await expect(compileRewardProgram('', { observations: ['a b'], actions: 1 })).rejects.toThrow('"a b" is no name of an observation');
    await expect(compileRewardProgram('', { observations: ['a'], actions: -1 })).rejects.toThrow(
      'actions must be a whole number from 0 on, got -1',
    );
  });
});
