import { rng } from '@plumbline/core';
import { afterAll, describe, expect, it } from 'vitest';
import { judgeSql, openThemes, sqlLanguages, sqlQuestions, sqlTemplates, sqlThemes } from './bed.js';
import { mutateSql } from './mutate.js';

const themes = sqlThemes(rng(1));
const databases = await openThemes(themes);
afterAll(() => {
  for (const db of databases.values()) db.close();
});
const templates = Object.keys(sqlTemplates).length;
const questions = themes.flatMap((theme) =>
  sqlQuestions(theme, databases.get(theme.id)!, rng(2), { count: templates * sqlLanguages.length }),
);

describe('the generated databases', () => {
  it('are twelve of other themes, with 20 to 60 rows a table, the same for the same draw', () => {
    expect(new Set(themes.map(({ id }) => id)).size).toBe(12);
    expect(sqlThemes(rng(1))).toEqual(themes);
    for (const { id, main, each, schema } of themes) {
      expect(databases.get(id)!.schema).toBe(schema);
      for (const table of [main.table, each.table]) {
        const result = databases.get(id)!.run(`SELECT count(*) FROM ${table}`);
        const rows = result.ok ? (result.rows[0][0] as number) : 0;
        expect(rows).toBeGreaterThanOrEqual(20);
        expect(rows).toBeLessThanOrEqual(60);
      }
    }
    expect(() => sqlThemes(rng(0), 13)).toThrow('1 to 12, not 13');
  });
});

describe('the questions', () => {
  it('cover every template in every language, each with a query that runs and has rows', () => {
    expect(new Set(questions.map(({ template, language }) => `${template} ${language}`)).size).toBe(templates * sqlLanguages.length);
    for (const { db_id, query } of questions) {
      expect(judgeSql(databases.get(db_id)!, query, query)).toEqual({ runs: true, right: true });
      const result = databases.get(db_id)!.run(query);
      expect(result.ok && result.rows.length > 0).toBe(true);
    }
  });
  it('leave no slot open and differ between languages', () => {
    for (const { question } of questions) expect(question).not.toMatch(/undefined|NaN|\$\{/);
    const count = questions.filter(({ template, db_id }) => template === 'none' && db_id === themes[0].id);
    expect(new Set(count.map(({ question }) => question)).size).toBe(sqlLanguages.length);
  });
});

describe('judgeSql', () => {
  const { id, main } = themes[0];
  const db = databases.get(id)!;
  const gold = `SELECT name FROM ${main.table}`;
  it.each([
    [`\`\`\`sql\nselect name from ${main.table} order by name\n\`\`\``, { runs: true, right: true }],
    [`SELECT id FROM ${main.table}`, { runs: true, right: false, why: 'other rows' }],
    ['SELECT 1', { runs: true, right: false }],
    ['SELECT x FROM nowhere', { runs: false, right: false, why: 'no such table: nowhere' }],
    ['I do not know.', { runs: false, right: false, why: 'there is no query' }],
    [`DROP TABLE ${main.table}`, { runs: false, right: false, why: 'there is no query' }],
  ])('%j', (completion, verdict) => expect(judgeSql(db, gold, completion)).toMatchObject(verdict));
  it('asks for the order where the right query has one', () => {
    const top = `SELECT name FROM ${main.table} ORDER BY name LIMIT 3`;
    expect(judgeSql(db, top, `SELECT * FROM (${top}) ORDER BY name DESC`)).toMatchObject({ runs: true, right: false });
  });
});

describe('mutateSql', () => {
  it('makes queries that all run, differ from the source, and mostly answer otherwise', () => {
    let changed = 0;
    let all = 0;
    for (const theme of themes) {
      const db = databases.get(theme.id)!;
      for (const { query } of questions.filter(({ db_id, language }) => db_id === theme.id && language === 'en')) {
        const mutations = mutateSql(query, theme.schema, rng(3), { values: theme.main.text.values });
        expect(mutations.length, query).toBeGreaterThan(1);
        expect(new Set(mutations).size).toBe(mutations.length);
        expect(mutations).not.toContain(query);
        for (const mutation of mutations) {
          const { runs, right, why } = judgeSql(db, query, mutation);
          expect(runs, `${query}\n${mutation}\n${why}`).toBe(true);
          all++;
          if (!right) changed++;
        }
      }
    }
    expect(changed / all).toBeGreaterThan(0.8);
  });
  it('is the same for the same draw', () => {
    const [{ query }] = questions;
    expect(mutateSql(query, themes[0].schema, rng(4))).toEqual(mutateSql(query, themes[0].schema, rng(4)));
  });
});
