import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { rewardFromText } from './adapters.js';
import { combine, shapedReward, tiltedPolicy } from './combine.js';
import { centered, identity, lengthPenalty, logSigmoidCentered } from './shaping.js';
import { Abstain, verifier } from './verifiers/verifier.js';

const number = (name: string, column: number) => rewardFromText(name, (text) => Number(text.split(' ')[column]));
const rows = (completions: string[], meta?: Record<string, unknown>) =>
  completions.map((completion) => ({ prompt: '', completion, ...(meta && { meta }) }));
const ctx = { rng: rng(0) };

describe('combine', () => {
  it('is a conjunction with log-sigmoids: good in one cannot buy bad in the other', async () => {
    const parts = [number('a', 0), number('b', 1)].map((reward) => ({
      reward,
      shaper: logSigmoidCentered({ estimate: 'empirical' }),
      references: 'zero',
    }));
    const { scores } = await combine(parts).score(rows(['5 -3', '0.5 0.5'], { zero: [0] }), ctx);
    expect(scores[0]).toBeCloseTo(-3.055303, 5);
    expect(scores[1]).toBeCloseTo(-0.948154, 5);
    expect(Math.exp(scores[0])).toBeCloseTo(0.047108, 5);
    expect(Math.exp(scores[1])).toBeCloseTo(0.387456, 5);
    const raw = await combine(parts.map(({ reward }) => ({ reward }))).score(rows(['5 -3', '0.5 0.5']), ctx);
    expect([...raw.scores]).toEqual([2, 1]);
  });
  it('weighs parts, and keeps what each of them was', async () => {
    const whole = combine([{ reward: number('a', 0), weight: 2 }, { reward: number('b', 1), shaper: centered({ maxReferences: 2 }), weight: -1 }]); // biome-ignore format: two parts
    const { scores, components } = await whole.score(rows(['3 5'], { reference_rewards: [1, 3] }), ctx);
    expect(scores[0]).toBe(2 * 3 - (5 - 2));
    expect(components!.b[0]).toBe(3);
    expect(whole.name).toBe('a and b');
    expect(() => combine([])).toThrow('there are no parts');
  });
});

describe('shapedReward', () => {
  it('leaves out rows that the reward abstains on, and shows the raw score', async () => {
    const sometimes = verifier('sometimes', 'score', (text) => {
      if (text === '?') throw new Abstain('no number');
      return Number(text);
    });
    const seen: number[] = [];
    const apply = ({ rewards }: { rewards: Float32Array }) => {
      seen.push(...rewards);
      return rewards.map((reward) => reward + 1);
    };
    const noting = { ...identity(), apply };
    const { scores, abstained, components } = await shapedReward(sometimes, noting).score(rows(['1', '?', '3']), ctx);
    expect(seen).toEqual([1, 3]);
    expect([...scores]).toEqual([2, 0, 4]);
    expect([...abstained!]).toEqual([0, 1, 0]);
    expect([...components!['sometimes/raw']]).toEqual([1, 0, 3]);
  });
  it('counts lengths in characters unless told how', async () => {
    const shaper = lengthPenalty({ validLength: 2, perToken: 1 });
    const by = async (lengthOf?: () => number) =>
      (await shapedReward(number('a', 0), shaper, { lengthOf }).score(rows(['1234']), ctx)).scores[0];
    expect((await by(() => 2)) - (await by())).toBe(2);
  });
  it('names a column that holds no numbers', async () => {
    await expect(shapedReward(number('a', 0), centered()).score(rows(['1'], { reference_rewards: 'none' }), ctx)).rejects.toThrow(
      'a: "reference_rewards" of candidate 0 is no list of numbers',
    );
  });
});

describe('tiltedPolicy', () => {
  const base = [0.5, 0.3, 0.2];
  const raw = [0, 1, 3];
  const centredAtOne = raw.map((r) => -Math.log1p(Math.exp(1 - r)));
  const close = (ours: ArrayLike<number>, theirs: number[]) => theirs.forEach((value, i) => void expect(ours[i]).toBeCloseTo(value, 6));
  it('has the values of the card, for raw rewards and log-sigmoids', () => {
    const soft = tiltedPolicy(base, centredAtOne, 1);
    close(soft.probabilities, [0.291928, 0.325641, 0.382431]);
    expect(soft.kl).toBeCloseTo(0.117524, 6);
    const plain = tiltedPolicy(base, raw, 1);
    close(plain.probabilities, [0.093763, 0.152925, 0.753312]);
    expect(plain.kl).toBeCloseTo(0.739024, 6);
    close(tiltedPolicy(base, centredAtOne, 0.5).probabilities, [0.135792, 0.28161, 0.582598]);
    close(tiltedPolicy(base, centredAtOne, 2).probabilities, [0.393393, 0.321836, 0.284771]);
  });
  it('is the base for an endless penalty, the best output for none, and Bayes at gamma 1', () => {
    close(tiltedPolicy(base, raw, 1e9).probabilities, base);
    close(tiltedPolicy(base, raw, 1e-3).probabilities, [0, 0, 1]);
    const posterior = base.map((p, i) => p / (1 + Math.exp(1 - raw[i])));
    const total = posterior.reduce((a, b) => a + b, 0);
    tiltedPolicy(base, centredAtOne, 1).probabilities.forEach((p, i) => void expect(p).toBeCloseTo(posterior[i] / total, 12));
  });
  it('names what does not fit', () => {
    expect(() => tiltedPolicy(base, raw, 0)).toThrow('gamma must be > 0, got 0');
    expect(() => tiltedPolicy([0.5], raw, 1)).toThrow('1 probabilities and 3 utilities');
    expect(() => tiltedPolicy([0.5, 0.1, 0.1], raw, 1)).toThrow('add up to 0.7');
  });
});
