import { rng } from '@plumbline/core';
import { afterAll, describe, expect, it } from 'vitest';
import { judgeSql, mixedThemes, sqlLanguages, sqlTemplates, sqlThemes } from './bed.js';
import { readsTable, sqlPrompt, sqlReward } from './rewards.js';
import { mixedTasks, sqlBed } from './tasks.js';

const bed = await sqlBed(rng(5), { trainDraws: 1, testDraws: 2 });
const start = await mixedTasks(rng(5), { databases: 15, questions: 14 });
afterAll(() => bed.close());
const ctx = { rng: rng(0) };
const templates = Object.keys(sqlTemplates).length;
/** Both tables of a schema. */
const tables = (schema: string) => [...schema.matchAll(/CREATE TABLE (\w+)/g)].map(([, name]) => name).join(' and ');

describe('sqlBed', () => {
  it('asks about 8 themes, about other databases of these, about 4 others, and about mixtures that are none of the twelve', () => {
    const asked = [start, bed.train, bed.test, bed.otherThemes];
    expect(asked.map((tasks) => tasks.length)).toEqual([15 * 14, 8 * templates * 5, 8 * 2 * templates * 5, 4 * 2 * templates * 5]);
    const of = (tasks: typeof bed.train) => new Set(tasks.map(({ schema }) => tables(schema)));
    expect([of(bed.train).size, of(bed.otherThemes).size]).toEqual([8, 4]);
    expect(of(bed.test)).toEqual(of(bed.train));
    expect(new Set(bed.test.map(({ schema }) => schema)).size).toBeGreaterThan(8);
    const own = new Set(sqlThemes(rng(0)).map(({ schema }) => tables(schema)));
    for (const pair of [...of(bed.train), ...of(bed.otherThemes)]) expect(own).toContain(pair);
    for (const pair of of(bed.otherThemes)) expect(of(bed.train)).not.toContain(pair);
    for (const pair of of(start)) expect(own).not.toContain(pair);
  });
  it('has every template in every language, of every database where all is asked and over all where it is not', () => {
    for (const tasks of [bed.test, start])
      expect(new Set(tasks.map(({ template, language }) => `${template} ${language}`)).size).toBe(templates * sqlLanguages.length);
  });
  it('has right queries that run, under ids that no two share', () => {
    const all = [...bed.train, ...bed.test, ...bed.otherThemes];
    expect(new Set(start.map(({ id }) => id)).size).toBe(start.length);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    for (const { db_id, query, prompt, schema, question } of all) {
      expect(judgeSql(bed.databases.get(db_id)!, query, query)).toEqual({ runs: true, right: true });
      expect(prompt).toBe(sqlPrompt(schema, question));
    }
  });
  it('finds wrong queries by running them: every one runs and answers otherwise', () => {
    for (const task of bed.test.filter((_, i) => i % 9 === 0)) {
      const wrong = bed.negatives(task);
      expect(wrong.length, task.query).toBeGreaterThan(0);
      for (const query of wrong)
        expect(judgeSql(bed.databases.get(task.db_id)!, task.query, query)).toMatchObject({ runs: true, right: false });
    }
  });
  it('is the same for the same draw, and another for another', async () => {
    const again = await sqlBed(rng(5), { trainDraws: 1, testDraws: 2 });
    expect(again.test).toEqual(bed.test);
    expect(again.negatives(again.train[3])).toEqual(bed.negatives(bed.train[3]));
    again.close();
    expect(mixedThemes(rng(1), 3)).not.toEqual(mixedThemes(rng(2), 3));
  });
});

describe('sqlReward', () => {
  const [task] = bed.test.filter(({ template }) => template === 'count');
  const asked = (completion: string, meta: Record<string, unknown> = task) => ({ prompt: task.prompt, completion, meta });
  it('pays for running and for the right rows', async () => {
    const batch = [task.query, 'SELECT 1', 'SELECT x FROM nowhere', 'I do not know'].map((text) => asked(text));
    expect([...(await sqlReward(bed.databases, 'executes').score(batch, ctx)).scores]).toEqual([1, 1, 0, 0]);
    expect([...(await sqlReward(bed.databases, 'right').score(batch, ctx)).scores]).toEqual([1, 0, 0, 0]);
  });
  it('abstains without the database, and on what is right without the right query', async () => {
    const { db_id } = task;
    const batch = [asked('SELECT 1', {}), asked('SELECT 1', { db_id }), asked('SELECT 1')];
    expect((await sqlReward(bed.databases, 'executes').score(batch, ctx)).abstained).toEqual(Uint8Array.of(1, 0, 0));
    expect((await sqlReward(bed.databases, 'right').score(batch, ctx)).abstained).toEqual(Uint8Array.of(1, 1, 0));
  });
});

describe('readsTable', () => {
  it.each([
    ['SELECT 1', false],
    ["SELECT 'from'", false],
    ['select count(*) from singers', true],
  ])('%s: %s', (sql, reads) => expect(readsTable(sql)).toBe(reads));
});
