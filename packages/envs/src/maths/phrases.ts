/** The words of the maths bed: who, what, and how each operation is told. */
import type { Op } from './problem.js';

export const people = [
  'Anna', 'Ben', 'Clara', 'Dan', 'Ella', 'Finn', 'Grace', 'Hugo', 'Ida', 'Jack', 'Kate', 'Leo', 'Mia', 'Nick', 'Olga', 'Paul', 'Rosa', 'Sam', 'Tina',
  'Uma', 'Vera', 'Will', 'Yara', 'Zoe',
]; // biome-ignore format: one list

export const items = [
  'apples', 'balls', 'beads', 'books', 'boxes', 'buttons', 'cards', 'coins', 'cups', 'eggs', 'flowers', 'keys', 'lamps', 'lemons', 'marbles', 'nuts',
  'plates', 'plums', 'ropes', 'shells', 'spoons', 'stamps', 'stones', 'toys',
]; // biome-ignore format: one list

/** What others have: no item of a problem is among these, so that a number is a distractor's or it is not. */
export const otherThings = ['pencils', 'hats', 'chairs', 'birds', 'shoes', 'maps', 'bottles', 'candles'];

type Telling = (words: { who: string; item: string; n: number }) => string;

/** Six ways to tell each operation; `n` is the right operand. The text of a solution names the operation in its own words (`thoughts`). */
export const tellings: Readonly<Record<Op, readonly Telling[]>> = {
  '+': [
    ({ who, item, n }) => `${who} buys ${n} more ${item}.`,
    ({ who, item, n }) => `${who} finds ${n} ${item}.`,
    ({ who, item, n }) => `A friend gives ${who} ${n} ${item}.`,
    ({ who, item, n }) => `${who} gets ${n} more ${item}.`,
    ({ who, item, n }) => `${who} wins ${n} ${item}.`,
    ({ who, item, n }) => `${who} picks up ${n} more ${item}.`,
  ],
  '-': [
    ({ who, item, n }) => `${who} gives away ${n} ${item}.`,
    ({ who, item, n }) => `${who} loses ${n} ${item}.`,
    ({ who, item, n }) => `${who} sells ${n} of the ${item}.`,
    ({ who, item, n }) => `${who} drops ${n} ${item} into the river.`,
    ({ item, n }) => `A thief takes ${n} of the ${item}.`,
    ({ who, item, n }) => `${who} lends ${n} ${item} to a friend.`,
  ],
  '*': [
    ({ item, n }) => `The ${item} grow to ${n} times as many.`,
    ({ who, item, n }) => `${who} swaps them for ${n} times as many ${item}.`,
    ({ who, item, n }) => `Soon ${who} has ${n} times as many ${item}.`,
    ({ item, n }) => `The number of ${item} is multiplied by ${n}.`,
    ({ who, item, n }) => `A trick leaves ${who} with ${n} times the ${item}.`,
    ({ item, n }) => `By evening there are ${n} times as many ${item}.`,
  ],
  '/': [
    ({ who, item, n }) => `${who} shares the ${item} equally among ${n} friends and keeps one share.`,
    ({ who, item, n }) => `${who} makes ${n} equal piles of the ${item} and keeps one pile.`,
    ({ who, item, n }) => `${who} splits the ${item} into ${n} equal parts and keeps one part.`,
    ({ item, n }) => `The ${item} are divided by ${n}, and one part stays.`,
    ({ who, item, n }) => `${who} packs the ${item} evenly into ${n} bags and keeps one bag.`,
    ({ who, item, n }) => `${who} deals the ${item} evenly to ${n} children and gets one share back.`,
  ],
};

export const openings: readonly Telling[] = [
  ({ who, item, n }) => `${who} has ${n} ${item}.`,
  ({ who, item, n }) => `${who} starts with ${n} ${item}.`,
  ({ who, item, n }) => `There are ${n} ${item} on the table of ${who}.`,
  ({ who, item, n }) => `${who} owns ${n} ${item}.`,
  ({ who, item, n }) => `In the morning ${who} has ${n} ${item}.`,
  ({ who, item, n }) => `${who} keeps ${n} ${item} at home.`,
];

/** The last step of a tree: what happens between the two who were counted apart. */
export const meetings: Readonly<Record<'+' | '-', readonly ((words: { who: string; other: string; item: string }) => string)[]>> = {
  '+': [
    ({ who, other, item }) => `${other} gives all those ${item} to ${who}.`,
    ({ who, other, item }) => `${who} takes over all ${item} of ${other}.`,
  ],
  '-': [
    ({ who, other, item }) => `${who} gives away as many ${item} as ${other} has.`,
    ({ who, other, item }) => `${who} loses as many ${item} as ${other} has.`,
  ],
};

export const distractor: Telling = ({ who, item, n }) => `${who} has ${n} ${item}.`;
export const question = ({ who, item }: { who: string; item: string }): string => `How many ${item} does ${who} have now?`;

/** How a step of a solution says what it does; the first is what is written where nothing is drawn. */
export const thoughts: Readonly<Record<Op, readonly ((n: number) => string)[]>> = {
  '+': [(n) => `add ${n}`, (n) => `${n} more`],
  '-': [(n) => `take away ${n}`, (n) => `${n} less`],
  '*': [(n) => `times ${n}`, (n) => `${n} times as many`],
  '/': [(n) => `divide by ${n}`, (n) => `one of ${n} shares`],
};

/** The operation and number that a thought names, or null. */
export function readThought(text: string): { op: Op; n: number } | null {
  for (const [op, forms] of Object.entries(patterns) as [Op, RegExp[]][])
    for (const form of forms) {
      const match = form.exec(text);
      if (match) return { op, n: Number(match[1]) };
    }
  return null;
}

const patterns: Record<Op, RegExp[]> = {
  '+': [/\badd (\d+)/, /\b(\d+) more\b/],
  '-': [/\btake away (\d+)/, /\b(\d+) less\b/],
  '*': [/\btimes (\d+)/, /\b(\d+) times as many/],
  '/': [/\bdivide by (\d+)/, /\bone of (\d+) shares/],
};
