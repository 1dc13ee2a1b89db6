import { afterEach, expect, it, vi } from 'vitest';
import { card, list, train } from './zoo.js';

afterEach(() => vi.restoreAllMocks());
const printed = () => {
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  return lines;
};

it('lists each model with its size and what it is', async () => {
  const lines = printed();
  await list();
  expect(lines.find((line) => line.startsWith('zoo:words-1m '))).toMatch(/2\.1 MB {2}A decoder of 1\.07 million parameters/);
});

it('prints the card of a model, by its name with or without zoo:', async () => {
  const lines = printed();
  await card('words-1m');
  await card('zoo:words-1m');
  expect(lines[0]).toContain('# words-1m');
  expect(lines[0]).toContain('bits per byte');
  expect(lines[1]).toBe(lines[0]);
});

it('says what there is where a name is wrong', async () => {
  await expect(card('words-2m')).rejects.toThrow(/no zoo:words-2m; there are .*words-1m/);
  await expect(card('../zoo')).rejects.toThrow(/there are/);
  await expect(train('words-2m', {})).rejects.toThrow(/no recipe for "words-2m"; there are words-1m, words-6m/);
});
