import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rng } from '@plumbline/core';
import { judgeSql, mutateSql } from '@plumbline/envs';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { loadSpider, openSpider, spiderPairs, text2sqlReport } from './text2sql.js';

const folder = 'test/fixtures/spider';

describe('loadSpider', () => {
  const spider = loadSpider(folder);
  it('reads the official files: questions, tables, and which databases are there', () => {
    expect(spider.questions[1]).toEqual({
      id: 'dev_2',
      db_id: 'lake_boats',
      language: 'en',
      question: 'Names of the boats longer than 6?',
      query: 'SELECT Name FROM boat WHERE Length  >  6',
    });
    expect([spider.questions.length, spider.skipped.length]).toEqual([4, 0]);
    expect(spider.schemas.get('lake_boats')).toBe(
      'CREATE TABLE boat (Boat_ID NUMERIC, Name TEXT, Length NUMERIC, PRIMARY KEY (Boat_ID));\n' +
        'CREATE TABLE trip (Trip_ID NUMERIC, Boat_ID NUMERIC, "Home Port" TEXT, PRIMARY KEY (Trip_ID), FOREIGN KEY (Boat_ID) REFERENCES boat(Boat_ID));',
    );
    expect(spider.schemas.get('corner_shop')).toBe(
      'CREATE TABLE orders ("order" NUMERIC, day TEXT, paid NUMERIC, PRIMARY KEY ("order", day));',
    );
    expect([...spider.files]).toEqual([['lake_boats', join(folder, 'database/lake_boats/lake_boats.sqlite')]]);
  });
  it('reads a language of MultiSpider, and a file of questions that is named', () => {
    const german = loadSpider(folder, { language: 'de' });
    expect(german.questions.map(({ id, language }) => `${id} ${language}`)).toEqual(['dev_1 de', 'dev_2 de']);
    expect(loadSpider(join(folder, 'dev_de.json')).questions[0]).toMatchObject({ language: 'de', question: 'Wie viele Boote gibt es?' });
    expect(() => loadSpider(folder, { language: 'vi' })).toThrow(`${folder} has no dev_vi.json`);
  });

  const changed = (change: (dir: string) => void, read: (dir: string) => void) => {
    const dir = mkdtempSync(join(tmpdir(), 'plumbline-spider-'));
    try {
      cpSync(folder, dir, { recursive: true });
      change(dir);
      read(dir);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  };
  const edited = (file: string, edit: (value: Record<string, unknown>[]) => unknown) => (dir: string) => {
    const path = join(dir, file);
    writeFileSync(path, JSON.stringify(edit(JSON.parse(readFileSync(path, 'utf8')))));
  };
  it('leaves out rows that are no questions, and says which and why', () => {
    const edit = edited('dev.json', (rows) => [{ ...rows[0], db_id: 'nowhere' }, { ...rows[1], query: undefined }, rows[2], null]);
    changed(edit, (dir) => {
      const { questions, skipped } = loadSpider(dir);
      expect(questions.map(({ id }) => id)).toEqual(['dev_3']);
      expect(skipped.map(({ row, reason }) => `${row} ${reason}`)).toEqual([
        '1 no database "nowhere" in tables.json',
        expect.stringMatching(/^2 query: /),
        expect.stringMatching(/^4 row: /),
      ]);
    });
  });
  it.each<[string, (dir: string) => void, RegExp]>([
    ['a missing folder', (dir) => rmSync(dir, { recursive: true }), /has no dev.json, dev.jsonl, dev_en.json/],
    ['missing tables', (dir) => rmSync(join(dir, 'tables.json')), /has no tables.json, tables.jsonl/],
    ['a file that was cut', (dir) => writeFileSync(join(dir, 'dev.json'), '[{"db_id": "la'), /dev.json is no JSON/],
    ['an object for a list', (dir) => writeFileSync(join(dir, 'tables.json'), '{}'), /tables.json holds no list/],
    ['a table without columns', edited('tables.json', ([one]) => [{ ...one, column_names_original: 'none' }]), /tables.json, database 1: /],
    [
      'a key that is no column',
      edited('tables.json', ([one]) => [{ ...one, foreign_keys: [[5, 99]] }]),
      /"lake_boats": a key names column 99/,
    ],
    ['no questions at all', edited('dev.json', () => []), /dev.json has no questions/],
  ])('says what is wrong with %s', (_, change, message) => changed(change, (dir) => expect(() => loadSpider(dir)).toThrow(message)));
  it('says so where a database file is none', async () => {
    const { schemas } = spider;
    await expect(openSpider({ schemas, files: new Map([['lake_boats', join(folder, 'dev.json')]]) }, ['lake_boats'])).rejects.toThrow(
      /dev.json: openSql: these bytes are no SQLite database/,
    );
    await expect(openSpider(spider, ['nowhere'])).rejects.toThrow('there is no database "nowhere"');
  });
});

describe('spiderPairs', () => {
  it('sets each right query over one that runs and answers otherwise', async () => {
    const { records, skipped } = await spiderPairs(folder);
    expect([records.length, skipped.length]).toEqual([4, 0]);
    const { databases } = await openSpider(loadSpider(folder));
    for (const { chosen, rejected, meta } of records) {
      const verdict = judgeSql(databases.get(meta!.db_id as string)!, chosen as string, rejected as string);
      expect(verdict.runs).toBe(true);
      if (meta!.database) expect(verdict.right).toBe(false);
      expect(rejected).not.toBe(chosen);
    }
    const [first] = records;
    expect(first.prompt).toBe(`${first.meta!.schema}\n-- How many boats are there?\n`);
    expect(records[3].meta!.database).toBeUndefined();
    for (const db of databases.values()) db.close();
  });
});

describe('text2sqlReport', () => {
  it('judges on real rows where the database is there, and whether a query runs where its tables alone are known', async () => {
    const { questions, ...spider } = loadSpider(folder);
    const all = [...questions, ...loadSpider(folder, { language: 'de' }).questions];
    const opened = await openSpider(spider);
    const predictions = [
      'select COUNT(*) from boat', // exact, right
      'SELECT Name FROM boat', // runs, wrong
      'SELECT Name FROM boat WHERE Boat_ID IN (SELECT Boat_ID FROM trip WHERE "Home Port" = \'Nord\')', // right
      'SELECT count(*) FROM orders', // runs; nobody knows
      'SELECT 3', // right by chance
      'SELECT Nome FROM boat', // does not run
    ];
    const report = text2sqlReport(all, predictions, opened);
    expect(report).toMatchObject({ questions: 6, right: 3 / 5, unusable: [] });
    expect(report.runs).toBeCloseTo(5 / 6, 12);
    expect(report.exact).toBeCloseTo(1 / 6, 12);
    expect(report.byLanguage.en).toEqual({ questions: 4, runs: 1, right: 2 / 3, exact: 1 / 4 });
    expect(report.byLanguage.de).toEqual({ questions: 2, runs: 0.5, right: 0.5, exact: 0 });
    expect(report.gap).toBeCloseTo(1 / 6, 12);
    expect(() => text2sqlReport(all, ['SELECT 1'], opened)).toThrow('6 questions and 1 predictions');
    const broken = all.map((question, i) => (i === 0 ? { ...question, query: 'SELECT x FROM boat' } : question));
    expect(() => text2sqlReport(broken, predictions, opened)).toThrow('the right query of 1 of 6 questions does not run (dev_1)');
    for (const db of opened.databases.values()) db.close();
  });
});

const real = dataPath('spider/dev.jsonl');
describe.skipIf(!real || !existsSync(real))("Spider's own dev set", () => {
  it('has 1,034 questions whose right queries run on empty databases of their tables, and wrong ones that run too', async () => {
    const spider = loadSpider(real!);
    expect([spider.questions.length, spider.schemas.size, spider.files.size, spider.skipped.length]).toEqual([1034, 166, 0, 0]);
    const { databases } = await openSpider(
      spider,
      spider.questions.map(({ db_id }) => db_id),
    );
    const failing = spider.questions.filter(({ db_id, query }) => !judgeSql(databases.get(db_id)!, query, query).runs);
    expect(failing.map(({ query }) => query)).toEqual([]);
    let [ran, made] = [0, 0];
    for (const { db_id, query } of spider.questions.filter((_, i) => i % 10 === 0))
      for (const wrong of mutateSql(query, spider.schemas.get(db_id)!, rng(0))) {
        made++;
        if (judgeSql(databases.get(db_id)!, wrong, wrong).runs) ran++;
      }
    expect(made).toBeGreaterThan(500);
    expect(ran / made).toBeGreaterThan(0.9);
    for (const db of databases.values()) db.close();
  });
});
