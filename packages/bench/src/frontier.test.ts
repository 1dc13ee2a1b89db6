import { expect, it } from 'vitest';
import { frontier, frontierGap, peak } from './frontier.js';

const rising = [
  { kl: 0, score: 0.5 },
  { kl: 4, score: 0.9 },
  { kl: 1, score: 0.7 },
  { kl: 9, score: 0.6 },
];

it('keeps the best score for no more KL, in the order of KL', () => {
  expect(frontier(rising)).toEqual([
    { kl: 0, score: 0.5 },
    { kl: 1, score: 0.7 },
    { kl: 4, score: 0.9 },
  ]);
  expect(peak(rising)).toEqual({ kl: 4, score: 0.9 });
});

it('is 0 between a set and itself, and the shift where one is the other shifted', () => {
  expect(frontierGap([rising], [rising]).mean).toBe(0);
  const above = rising.map(({ kl, score }) => ({ kl, score: score + 0.1 }));
  expect(frontierGap([above, above, above], [rising, rising, rising])).toMatchObject({
    n: 3,
    perRun: [expect.closeTo(0.1, 12), expect.closeTo(0.1, 12), expect.closeTo(0.1, 12)],
  });
});

it('compares over the KL that both reached alone: half the slope gives half the height there', () => {
  const steep = [
    { kl: 0, score: 0 },
    { kl: 4, score: 4 },
  ];
  const flat = [
    { kl: 0, score: 0 },
    { kl: 1, score: 0.5 },
  ];
  // the mean of kl/2 over a grid that is even in √kl up to 1 is (1/2)·(1/3)
  expect(frontierGap([steep], [flat]).mean).toBeCloseTo(1 / 6, 3);
});

it('states both ranges where they do not meet, and refuses too few checkpoints', () => {
  const far = [
    { kl: 20, score: 1 },
    { kl: 30, score: 1.5 },
  ];
  expect(() => frontierGap([rising], [far])).toThrow('share no KL: 0.00 to 9.00 nats, and 20.0 to 30.0');
  expect(() => frontier([{ kl: 1, score: 1 }])).toThrow('1 checkpoints; needs at least 2');
  expect(() =>
    frontier([
      { kl: 1, score: 1 },
      { kl: Number.NaN, score: 1 },
    ]),
  ).toThrow('KL NaN');
  expect(() => frontierGap([rising], [])).toThrow('1 and 0 runs');
});
