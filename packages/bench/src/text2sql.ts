/** Text to SQL on Spider and MultiSpider: the official files as they are, and how predictions do on them. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ConfigError, type Rng, rng } from '@plumbline/core';
import type { PreferenceRecord } from '@plumbline/data';
import { judgeSql, normalizeSql, openSql, type SqlDatabase, sqlPrompt, wrongQueries } from '@plumbline/envs';
import { z } from 'zod';

export type SpiderQuestion = { id: string; db_id: string; language: string; question: string; query: string };
export type Spider = {
  questions: SpiderQuestion[];
  /** CREATE TABLE statements of each database, from `tables.json`. */
  schemas: Map<string, string>;
  /** Where the database files are that are there. */
  files: Map<string, string>;
  /** Rows that are no questions, and why. */
  skipped: { row: number; reason: string }[];
};

const Question = z.object({ db_id: z.string().min(1), question: z.string().min(1), query: z.string().min(1) });
const Column = z.tuple([z.int(), z.string()]);
const Tables = z.object({
  db_id: z.string().min(1),
  table_names_original: z.array(z.string().min(1)).min(1),
  column_names_original: z.array(Column),
  column_types: z.array(z.string()),
  primary_keys: z.array(z.union([z.int(), z.array(z.int())])).default([]),
  foreign_keys: z.array(z.tuple([z.int(), z.int()])).default([]),
});

/**
 * A folder as Spider (Yu et al. 2018, arXiv:1809.08887) and MultiSpider (Dou et al. 2022, arXiv:2212.13492) are given out: `tables.json`, questions as `dev.json`, `train_spider.json` or
 * `dev_de.json`, and `database/ID/ID.sqlite`. JSON lines (`.jsonl`) are read as well; databases may be missing.
 *
 * @param dir      the folder, or a file of questions in it
 * @param split    the file's name without its ending, `dev` unless said otherwise
 * @param language of MultiSpider: reads `dev_de` for `de`, and notes it with each question; `en` unless said otherwise
 * @throws ConfigError for a missing or damaged file, naming it and the row
 */
export function loadSpider(dir: string, { split = 'dev', language = 'en' }: { split?: string; language?: string } = {}): Spider {
  const file = /\.jsonl?$/.exec(dir);
  const folder = file ? join(dir, '..') : dir;
  const name = file ? basename(dir, file[0]) : split;
  const questionsFile = file
    ? dir
    : find(folder, language === 'en' ? [name, `${name}_en`] : [`${name}_${language}`, `${name}-${language}`]);
  const tablesFile = find(folder, ['tables']);
  const schemas = new Map<string, string>();
  rows(tablesFile).forEach((row, i) => {
    const parsed = Tables.safeParse(row);
    if (!parsed.success) throw new ConfigError(`${tablesFile}, database ${i + 1}: ${z.prettifyError(parsed.error)}`);
    schemas.set(parsed.data.db_id, createStatements(parsed.data, tablesFile));
  });
  const questions: SpiderQuestion[] = [];
  const skipped: Spider['skipped'] = [];
  rows(questionsFile).forEach((row, i) => {
    const parsed = Question.safeParse(row);
    if (!parsed.success) {
      const [{ path, message }] = parsed.error.issues;
      skipped.push({ row: i + 1, reason: `${path.join('.') || 'row'}: ${message}` });
    } else if (!schemas.has(parsed.data.db_id))
      skipped.push({ row: i + 1, reason: `no database "${parsed.data.db_id}" in ${basename(tablesFile)}` });
    else
      questions.push({
        id: `${name}_${i + 1}`,
        language: (name.match(/[_-](en|de|fr|es|ja|zh|vi)$/)?.[1] ?? language) as string,
        ...parsed.data,
      });
  });
  if (questions.length === 0)
    throw new ConfigError(`${questionsFile} has no questions${skipped[0] ? `; row ${skipped[0].row}: ${skipped[0].reason}` : ''}`);
  const files = new Map(
    [...schemas.keys()]
      .map((id) => [id, ['database', 'test_database'].map((at) => join(folder, at, id, `${id}.sqlite`)).find((path) => existsSync(path))])
      .filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  return { questions, schemas, files, skipped };
}

/**
 * The databases of these questions: from their files, or empty ones of the same tables where there is no file, on which a query can run and answers nothing.
 * @returns `filled`: ids of those with rows, where an answer can be right or wrong; the caller closes all
 */
export async function openSpider(
  { schemas, files }: Pick<Spider, 'schemas' | 'files'>,
  ids: Iterable<string> = schemas.keys(),
): Promise<{ databases: Map<string, SqlDatabase>; filled: Set<string> }> {
  const databases = new Map<string, SqlDatabase>();
  const filled = new Set<string>();
  for (const id of new Set(ids)) {
    const file = files.get(id);
    const schema = schemas.get(id);
    if (file === undefined && schema === undefined) throw new ConfigError(`openSpider: there is no database "${id}"`);
    try {
      databases.set(id, await openSql(file ? readFileSync(file) : schema!));
    } catch (error) {
      throw new ConfigError(`${file ?? `the tables of "${id}"`}: ${(error as Error).message}`, { cause: error });
    }
    if (file) filled.add(id);
  }
  return { databases, filled };
}

/**
 * Preference pairs of a Spider folder (`loadSpider`): the right query over one that looks like it and answers otherwise, or is at least another query where the database has no rows
 * (`mutateSql`). Prompts are `sqlPrompt`; `meta` keeps the question with its schema, and the database's file where there is one. Questions without such a query, or whose own does not run,
 * are among `skipped`.
 */
export async function spiderPairs(
  dir: string,
  seed: Rng = rng(0),
): Promise<{ records: PreferenceRecord[]; skipped: { line: number; reason: string }[] }> {
  const spider = loadSpider(dir);
  const { databases, filled } = await openSpider(spider, spider.questions.map(({ db_id }) => db_id)); // biome-ignore format: one line
  const skipped = spider.skipped.map(({ row, reason }) => ({ line: row, reason }));
  const records = spider.questions.flatMap(({ id, db_id, language, question, query }): PreferenceRecord[] => {
    const db = databases.get(db_id)!;
    const schema = spider.schemas.get(db_id)!;
    const skip = (reason: string) => {
      skipped.push({ line: Number(id.slice(id.lastIndexOf('_') + 1)), reason });
      return [];
    };
    if (!judgeSql(db, query, query).runs) return skip('its right query does not run');
    const [wrong] = wrongQueries(db, { query, schema }, seed.fork('wrong', id), { withoutRows: !filled.has(db_id) });
    if (wrong === undefined) return skip('no query was found that looks like the right one and answers otherwise');
    const meta = { db_id, language, question, query, schema, ...(filled.has(db_id) && { database: spider.files.get(db_id)! }) };
    return [{ id, prompt: sqlPrompt(schema, question), chosen: query, rejected: wrong, meta }];
  });
  for (const db of databases.values()) db.close();
  return { records, skipped };
}

export type Text2SqlScores = {
  questions: number;
  /** Share whose query runs. */
  runs: number;
  /** Share whose result is the right query's, of the questions about databases with rows; null where there are none. */
  right: number | null;
  /** Share that is the right query but for case, spaces, comments and names of aliases. */
  exact: number;
};

/**
 * How predictions do: in all, by language, and English minus the mean of the other languages (`gap`, of `right`).
 *
 * Questions whose right query does not run are left out and counted. @throws RangeError where they are more than 2%, or the numbers differ
 */
export function text2sqlReport(
  questions: readonly SpiderQuestion[],
  predictions: readonly string[],
  { databases, filled }: { databases: ReadonlyMap<string, SqlDatabase>; filled: ReadonlySet<string> },
): Text2SqlScores & { byLanguage: Record<string, Text2SqlScores>; gap: number | null; unusable: string[] } {
  if (predictions.length !== questions.length)
    throw new RangeError(`text2sqlReport: ${questions.length} questions and ${predictions.length} predictions`);
  const unusable: string[] = [];
  const judged = questions.flatMap(({ id, db_id, language, query }, i) => {
    const db = databases.get(db_id);
    if (!db) throw new RangeError(`text2sqlReport: question ${id} is about "${db_id}", which is not open`);
    if (!judgeSql(db, query, query).runs) {
      unusable.push(id);
      return [];
    }
    const { runs, right } = judgeSql(db, query, predictions[i]);
    return [{ language, runs, right: filled.has(db_id) ? right : undefined, exact: normalizeSql(predictions[i]) === normalizeSql(query) }];
  });
  if (unusable.length > 0.02 * questions.length)
    throw new RangeError(
      `text2sqlReport: the right query of ${unusable.length} of ${questions.length} questions does not run (${unusable.slice(0, 3).join(', ')})`,
    );
  const scores = (rows: typeof judged): Text2SqlScores => {
    const share = (of: readonly (boolean | undefined)[]) => of.filter(Boolean).length / of.length;
    const known = rows.flatMap(({ right }) => (right === undefined ? [] : [right]));
    return {
      questions: rows.length,
      runs: share(rows.map(({ runs }) => runs)),
      right: known.length > 0 ? share(known) : null,
      exact: share(rows.map(({ exact }) => exact)),
    };
  };
  const languages = [...new Set(judged.map(({ language }) => language))];
  const byLanguage = Object.fromEntries(languages.map((one) => [one, scores(judged.filter(({ language }) => language === one))]));
  const others = Object.entries(byLanguage).flatMap(([language, { right }]) => (language === 'en' || right === null ? [] : [right]));
  const english = byLanguage.en?.right ?? null;
  const gap = english === null || others.length === 0 ? null : english - others.reduce((a, b) => a + b, 0) / others.length;
  return { ...scores(judged), byLanguage, gap, unusable };
}

function find(folder: string, names: readonly string[]): string {
  const tried = names.flatMap((name) => [`${name}.json`, `${name}.jsonl`]);
  const found = tried.map((name) => join(folder, name)).find((path) => existsSync(path));
  if (!found)
    throw new ConfigError(`${folder} has no ${tried.join(', ')}; a Spider folder holds tables.json and questions such as dev.json`);
  return found;
}

function rows(file: string): unknown[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError(`${file}: ${(error as NodeJS.ErrnoException).code ?? error}`, { cause: error });
  }
  const lines = file.endsWith('l') ? text.split('\n').filter((line) => line.trim() !== '') : [text];
  const values = lines.map((line, i) => {
    try {
      return JSON.parse(line) as unknown;
    } catch (error) {
      throw new ConfigError(`${file}${lines.length > 1 ? `, line ${i + 1}` : ''} is no JSON: ${(error as Error).message}`, {
        cause: error,
      });
    }
  });
  if (file.endsWith('l')) return values;
  if (!Array.isArray(values[0])) throw new ConfigError(`${file} holds no list`);
  return values[0];
}

const types: Record<string, string> = { text: 'TEXT', number: 'NUMERIC', time: 'TEXT', boolean: 'NUMERIC' };
const quoted = (name: string) =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) &&
  !/^(order|group|index|table|from|to|by|all|transaction|values|check|references|default|unique|primary|foreign|case|when|then|end|limit|join|match|set|select|where)$/i.test(
    name,
  )
    ? name
    : `"${name.replaceAll('"', '""')}"`;

/** What `tables.json` says of a database, as the statements that make it. */
function createStatements(tables: z.infer<typeof Tables>, file: string): string {
  const { db_id, table_names_original: names, column_names_original: columns, column_types, primary_keys, foreign_keys } = tables;
  const column = (at: number) => {
    const found = columns[at];
    if (!found || found[0] < 0)
      throw new ConfigError(`${file}, database "${db_id}": a key names column ${at}; there are ${columns.length}`);
    return found;
  };
  const keys = primary_keys.map((key) => (typeof key === 'number' ? [key] : key));
  return names
    .flatMap((name, t) => {
      if (/^sqlite_/i.test(name)) return []; // SQLite makes these itself
      const own = columns.flatMap(([table, text], c) => (table === t ? [`${quoted(text)} ${types[column_types[c]] ?? 'TEXT'}`] : []));
      const primary = keys
        .filter(([key]) => column(key)[0] === t)
        .flat()
        .map((key) => quoted(column(key)[1]));
      const foreign = foreign_keys
        .filter(([from]) => column(from)[0] === t)
        .map(
          ([from, to]) => `FOREIGN KEY (${quoted(column(from)[1])}) REFERENCES ${quoted(names[column(to)[0]])}(${quoted(column(to)[1])})`,
        );
      return `CREATE TABLE ${quoted(name)} (${[...own, ...(primary.length > 0 ? [`PRIMARY KEY (${primary.join(', ')})`] : []), ...foreign].join(', ')});`;
    })
    .join('\n');
}
