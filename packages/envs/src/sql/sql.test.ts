import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  compareResults,
  extractSql,
  hasOrder,
  normalizeSql,
  openSql,
  resultsEqual,
  type SqlResult,
  sqlStatements,
  sqlTokens,
} from './index.js';

const schema = `CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, country TEXT);
CREATE TABLE concert (id INTEGER PRIMARY KEY, singer_id INTEGER, year INTEGER, price REAL);`;
const db = await openSql(`${schema}
INSERT INTO singer VALUES (1, 'Ada', 30, 'France'), (2, 'Bo', 41, 'Japan'), (3, 'Cy', 25, 'France'), (4, 'Di', NULL, 'Spain');
INSERT INTO concert VALUES (1, 1, 2019, 10.5), (2, 1, 2020, 20), (3, 2, 2020, 5);`);
afterAll(() => db.close());
const rows = (sql: string) => {
  const result = db.run(sql);
  if (!result.ok) throw new Error(result.error);
  return result.rows;
};
const answer = (rows: (number | string | null)[][], columns = rows[0]?.map((_, i) => `c${i}`) ?? ['c0']): SqlResult => ({
  ok: true,
  columns,
  rows,
  truncated: false,
});

describe('openSql', () => {
  it('answers queries with columns and rows, and knows its schema', () => {
    expect(db.run('SELECT name, age FROM singer WHERE age > 28 ORDER BY age;')).toEqual({
      ok: true,
      columns: ['name', 'age'],
      rows: [
        ['Ada', 30],
        ['Bo', 41],
      ],
      truncated: false,
    });
    expect(db.schema).toBe(schema);
    expect(
      rows(
        "WITH a AS (SELECT singer_id s, sum(price) p FROM concert GROUP BY 1) SELECT name, p FROM singer JOIN a ON s = id WHERE country <> 'x'",
      ),
    ).toEqual([
      ['Ada', 30.5],
      ['Bo', 5],
    ]);
  });
  it.each([
    'DELETE FROM singer',
    'INSERT INTO singer VALUES (9, 1, 1, 1)',
    'UPDATE singer SET age = 1',
    'DROP TABLE singer',
    'CREATE TABLE t (a)',
    'CREATE TEMP TABLE t (a)',
    "ATTACH 'x.db' AS x",
    'PRAGMA writable_schema = 1',
    'BEGIN',
    'SELECT random()',
    'SELECT name FROM singer WHERE randomblob(4) > id',
  ])('does not authorise %s', (sql) => {
    const result = db.run(sql);
    expect(result.ok).toBe(false);
    expect((result as { error: string }).error).toMatch(/not authorized|prohibited/);
    expect(rows('SELECT count(*) FROM singer')).toEqual([[4]]);
  });
  it("keeps SQLite's words for what is wrong", () => {
    expect(db.run('SELECT nme FROM singer')).toEqual({ ok: false, error: 'no such column: nme' });
    expect(db.run('SELECT FROM')).toEqual({ ok: false, error: 'near "FROM": syntax error' });
    expect(db.run(' -- nothing\n')).toEqual({ ok: false, error: 'there is no statement' });
    expect(db.run('SELECT 1; DELETE FROM singer')).toEqual({ ok: false, error: 'there is more than one statement' });
  });
  it('takes text in double quotes, and the bytes of a file as Node reads them', async () => {
    expect(rows('SELECT count(*) FROM singer WHERE country = "France"')).toEqual(
      rows("SELECT count(*) FROM singer WHERE country = 'France'"),
    );
    expect(rows('SELECT "name" FROM singer LIMIT 1')).toEqual(rows('SELECT name FROM singer LIMIT 1'));
    await expect(openSql(Buffer.alloc(100))).rejects.toThrow('these bytes are no SQLite database');
  });
  it('stops a query without end after its instructions, or after its time, and goes on', () => {
    const endless = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n';
    expect(db.run(endless, { maxSteps: 100_000 })).toEqual({ ok: false, error: 'stopped after 100000 instructions' });
    expect(db.run(endless, { maxSteps: Infinity, timeoutMs: 20 })).toEqual({ ok: false, error: 'stopped after 20 ms' });
    expect(rows('SELECT 1')).toEqual([[1]]);
  });
  it('says where rows were cut, and such an answer equals nothing', () => {
    const cut = db.run('SELECT id FROM singer', { maxRows: 2 });
    expect(cut).toMatchObject({ ok: true, rows: [[1], [2]], truncated: true });
    expect(compareResults(cut, cut)).toEqual({ equal: false, reason: 'more than 2 rows' });
    expect(db.run('SELECT id FROM singer', { maxRows: 4 })).toMatchObject({ truncated: false });
  });
  it('says what is wrong with statements that make no database, and with bytes that are none', async () => {
    await expect(openSql('CREATE TABLE a (')).rejects.toThrow('openSql: incomplete input');
    await expect(openSql(new Uint8Array(100))).rejects.toThrow('openSql: these bytes are no SQLite database');
  });
});

describe('resultsEqual', () => {
  it('ignores the order of rows unless it was asked for', () => {
    const [a, b] = [answer([[1], [2]]), answer([[2], [1]])];
    expect(resultsEqual(a, b)).toBe(true);
    expect(resultsEqual(a, b, { ordered: true })).toBe(false);
    expect(resultsEqual(a, a, { ordered: true })).toBe(true);
  });
  it('compares values, not types of numbers or names of columns', () => {
    expect(resultsEqual(db.run('SELECT 1 AS a'), db.run('SELECT 1.0 AS b'))).toBe(true);
    expect(resultsEqual(answer([[0.1 + 0.2]]), answer([[0.3]]))).toBe(true);
    expect(resultsEqual(answer([[0.3001]]), answer([[0.3]]))).toBe(false);
    expect(resultsEqual(answer([[null]]), answer([[null]]))).toBe(true);
    expect(resultsEqual(answer([[null]]), answer([[0]]))).toBe(false);
    expect(resultsEqual(answer([['1']]), answer([[1]]))).toBe(false);
  });
  it('counts rows that are there twice, and columns', () => {
    expect(resultsEqual(answer([[1], [1], [2]]), answer([[1], [2], [2]]))).toBe(false);
    expect(compareResults(answer([[1, 2]]), answer([[1]]))).toEqual({ equal: false, reason: '2 and 1 columns' });
    expect(resultsEqual(answer([]), answer([]))).toBe(true);
  });
  it('finds the same rows where numbers within the tolerance would sort them differently', () => {
    const [a, b] = [answer([[1, 'x'], [1 + 1e-9, 'a']]), answer([[1, 'a'], [1 + 1e-9, 'x']])]; // biome-ignore format: rows
    expect(resultsEqual(a, b)).toBe(true);
  });
  it('does not take a failure for an answer', () => {
    expect(compareResults(answer([[1]]), { ok: false, error: 'no such column: x' })).toEqual({ equal: false, reason: 'no such column: x' });
  });
});

describe('extractSql', () => {
  it.each([
    ['```sql\nSELECT a FROM t;\n```', 'SELECT a FROM t'],
    ['First:\n```\nSELECT 1\n```\nBetter:\n```sql\nSELECT 2;\n```\nDone.', 'SELECT 2'],
    ['SELECT 1; SELECT 2;', 'SELECT 2'],
    ['SELECT a FROM t; This gives all of a.', 'SELECT a FROM t'],
    ['SELECT a\nFROM t\n\nThis gives all of a.', 'SELECT a\nFROM t'],
    ['The query is: select "a;b" from t', 'select "a;b" from t'],
    ["SELECT ';' FROM t", "SELECT ';' FROM t"],
    ['WITH x AS (SELECT 1) SELECT * FROM x', 'WITH x AS (SELECT 1) SELECT * FROM x'],
    ['With this question we are done.', null],
    ['I do not know.', null],
    ['', null],
    ['```sql\n-- nothing\n```', null],
  ])('%j: %j', (text, sql) => expect(extractSql(text)).toBe(sql));
});

describe('normalizeSql', () => {
  it('leaves the meaning and takes comments, case, spaces and the names of aliases away', () => {
    const wanted =
      "SELECT a1 . name , count ( * ) AS a2 FROM singer AS a1 JOIN concert AS a3 ON a1 . id = a3 . singer_id WHERE a1 . country = 'FRance' ORDER BY a2";
    const numbered = normalizeSql(wanted);
    for (const sql of [
      "select s.Name, count(*) AS n from Singer AS s join concert c on s.id = c.singer_id where s.country = 'FRance' order by n;",
      'SELECT T1.name , COUNT( * ) as total -- the number\nFROM singer T1 JOIN "concert" AS T2 ON T1.id=T2.singer_id /* x */ WHERE T1.country=\'FRance\' ORDER BY total',
    ])
      expect(normalizeSql(sql)).toBe(numbered);
    expect(numbered).toContain("'FRance'");
  });
  it('leaves casts, and names that must be quoted', () => {
    expect(normalizeSql('select cast(age as text) from singer')).toBe('SELECT CAST ( age AS text ) FROM singer');
    expect(normalizeSql('select "first name", "order" from t')).toBe('SELECT "first name" , "order" FROM t');
  });
  it('changes nothing the second time', () => {
    const piece = fc.constantFrom(
      'SELECT',
      'a',
      'b',
      'FROM',
      't',
      'AS',
      'JOIN',
      'x',
      ',',
      '(',
      ')',
      '.',
      '=',
      "'S;'",
      '"Q q"',
      '1',
      '1.5',
      'ON',
      'WHERE',
      '--c\n',
      ';',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const once = normalizeSql(pieces.join(' '));
        expect(normalizeSql(once)).toBe(once);
      }),
    );
  });
  it('takes a comment away without changing what a query answers', () => {
    const sql = "SELECT name /* ' */ FROM singer -- all; of them\nWHERE country = 'France'";
    expect(resultsEqual(db.run(sql), db.run(normalizeSql(sql)))).toBe(true);
  });
});

describe('the tokens of SQL', () => {
  it('are the text again when joined, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'aA1 \n\'"`[];-/*.é(') }), (sql) => {
        expect(
          sqlTokens(sql)
            .map(({ text }) => text)
            .join(''),
        ).toBe(sql);
      }),
    );
  });
  it('know where statements end, and an order that was asked for', () => {
    expect(sqlStatements("SELECT ';' ; -- a;b\n SELECT 2;;")).toEqual(["SELECT ';'", '-- a;b\n SELECT 2']);
    expect(hasOrder('SELECT a FROM t ORDER BY a')).toBe(true);
    expect(hasOrder("SELECT 'order' FROM (SELECT a FROM t ORDER BY a)")).toBe(false);
  });
});
