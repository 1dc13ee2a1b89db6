import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { sentiment, wordsOf } from './sentiment.js';
import { differentStories, storyGenerator } from './stories.js';
import * as vocabulary from './vocabulary.js';

const stories = differentStories(rng(0).fork('stories'), 40_000);

describe('the story generator', () => {
  it('tells 40,000 different stories', () => {
    expect(new Set(stories).size).toBe(40_000);
  });

  it('tells the same story for the same seed and index, whatever was told before', () => {
    const story = storyGenerator(rng(7));
    const later = story(123);
    expect(storyGenerator(rng(7))(123)).toBe(later);
    expect(story(0)).not.toBe(later);
    expect(storyGenerator(rng(8))(123)).not.toBe(later);
  });

  it('keeps stories between 40 and 100 words, longer than what the bed shows and asks for', () => {
    for (const story of stories) {
      const { length } = story.split(' ');
      expect(length).toBeGreaterThanOrEqual(38);
      expect(length).toBeLessThan(100);
    }
  });

  it('writes sentences: capitals at the start, a mark at the end, quotes that close, no doubled words or spaces', () => {
    for (const story of stories.slice(0, 10_000)) {
      expect(story).toMatch(/^[A-Z].*[.!?]"?$/);
      expect(story).not.toMatch(/[.!?]"? [a-z]| {2}|\.\.|,,| ,| \.|undefined|NaN|\[object/);
      expect((story.match(/"/g) ?? []).length % 2).toBe(0);
      expect(story).not.toMatch(/\b(\w+) \1\b/i);
    }
  });

  it('writes "an" before vowels and "a" before consonants', () => {
    for (const story of stories.slice(0, 10_000)) {
      expect(story).not.toMatch(/\ba [aeiou]/i);
      expect(story).not.toMatch(/\ban (?!hour)[^aeiou]/i);
    }
  });

  it('is about its hero: the first name comes back, and the other gender has no pronoun unless someone of it is there', () => {
    const girls = new Set(vocabulary.girlNames);
    const men = /\b(brother|father|grandfather|uncle|man|cousin|neighbor|teacher|classmate|boy|sailor|farmer|stranger|he)\b/i;
    let named = 0;
    for (const story of stories.slice(0, 5000)) {
      const names = (story.match(/[A-Z]\w+/g) ?? []).filter((word) => vocabulary.characterNames.includes(word));
      const [hero] = names;
      expect(hero).toBeDefined();
      named += names.filter((name) => name === hero).length;
      const companions = names.filter((name) => name !== hero);
      if (girls.has(hero) && companions.length === 0 && !men.test(story)) expect(story).not.toMatch(/\b(he|him|his)\b/i);
    }
    expect(named / 5000).toBeGreaterThan(2.5);
  });

  it('goes on well or badly about as often: 30-word windows have VADER mean near 0 and deviation near 0.7', () => {
    const draws = rng(1).uniform(3000);
    const scores = stories.slice(0, 3000).map((story, i) => {
      const words = story.split(' ');
      const from = Math.floor(draws[i] * Math.max(1, words.length - 30));
      return sentiment(words.slice(from, from + 30).join(' '));
    });
    const mean = scores.reduce((a, b) => a + b, 0) / scores.length;
    const deviation = Math.sqrt(scores.reduce((a, b) => a + (b - mean) ** 2, 0) / scores.length);
    expect(Math.abs(mean)).toBeLessThan(0.12);
    expect(deviation).toBeGreaterThan(0.6);
    expect(deviation).toBeLessThan(0.8);
  });

  it('is wider than the grammar it replaces, whose continuations had .28 different word pairs a pair', () => {
    const pairs = stories.slice(0, 384).flatMap((story) => {
      const words = wordsOf(story).slice(14, 40);
      return words.slice(1).map((word, i) => `${words[i]} ${word}`);
    });
    expect(new Set(pairs).size / pairs.length).toBeGreaterThan(0.4);
  });
});

describe('the word lists', () => {
  it('have no sentiment but in the lists of moods, traits and days, whose words all have theirs', () => {
    for (const [name, list] of Object.entries(vocabulary)) {
      if (!Array.isArray(list)) continue;
      const sign = name.startsWith('good') ? 1 : name.startsWith('bad') ? -1 : 0;
      for (const entry of list as unknown[]) {
        const word = typeof entry === 'string' ? entry : Array.isArray(entry) ? (entry[0] as string) : (entry as { place: string }).place;
        expect([name, word, Math.sign(sentiment(word))]).toEqual([name, word, sign]);
      }
    }
  });

  it('have no word twice', () => {
    for (const list of Object.values(vocabulary))
      if (Array.isArray(list)) expect(new Set(list.map((entry) => JSON.stringify(entry))).size).toBe(list.length);
  });
});
