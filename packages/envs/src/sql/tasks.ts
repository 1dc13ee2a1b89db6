/** The test bed of text to SQL: questions to start from, questions to improve on, and questions about databases that nobody has seen. */
import type { Rng } from '@plumbline/core';
import { mixedThemes, openThemes, type SqlQuestion, type SqlTheme, sqlLanguages, sqlQuestions, sqlTemplates, sqlThemes } from './bed.js';
import type { SqlDatabase } from './database.js';
import { mutateSql } from './mutate.js';
import { compareResults } from './results.js';
import { sqlPrompt } from './rewards.js';
import { hasOrder } from './text.js';

/** A question with all that a policy, an encoder or a judge needs to know of it. */
export type SqlTask = SqlQuestion & {
  /** The schema and the question. */
  prompt: string;
  schema: string;
  /** Texts that stand in the column which questions ask about. */
  values: readonly string[];
};

export interface SqlBed {
  /** Of the themes that are trained on. */
  readonly train: readonly SqlTask[];
  /** Of other databases of the same themes: other columns, rows, numbers and texts. */
  readonly test: readonly SqlTask[];
  /** Of the other themes. */
  readonly otherThemes: readonly SqlTask[];
  /** Every database, by `db_id`. */
  readonly databases: ReadonlyMap<string, SqlDatabase>;
  /** `wrongQueries` of a task. */
  negatives(task: SqlTask): string[];
  close(): void;
}

/** Every template in all five languages. */
const everything = Object.keys(sqlTemplates).length * sqlLanguages.length;

/**
 * Twelve themes, of which `otherThemes` are trained on by nobody; each theme is a database a draw, of other columns and rows. Of every database `questions` are asked, templates and languages in turn:
 * 70 are every template in all five languages. The same for the same draw.
 */
export async function sqlBed(
  rng: Rng,
  {
    otherThemes = 4,
    trainDraws = 3,
    testDraws = 1,
    questions = everything,
  }: { otherThemes?: number; trainDraws?: number; testDraws?: number; questions?: number } = {},
): Promise<SqlBed> {
  const order = sqlThemes(rng).map(({ id }) => id);
  const heldOut = new Set(order.slice(0, otherThemes));
  const draws = (name: string, count: number, keep: (id: string) => boolean) =>
    Array.from({ length: count }, (_, d) =>
      sqlThemes(rng.fork(name, d))
        .filter(({ id }) => keep(id))
        .map((theme) => ({ ...theme, id: `${theme.id}_${name}_${d + 1}` })),
    ).flat();
  const train = await asked(
    draws('train', trainDraws, (id) => !heldOut.has(id)),
    rng.fork('train', 'questions'),
    questions,
  );
  const test = await asked(
    draws('test', testDraws, (id) => !heldOut.has(id)),
    rng.fork('test', 'questions'),
    questions,
  );
  const others = await asked(
    draws('other', testDraws, (id) => heldOut.has(id)),
    rng.fork('other', 'questions'),
    questions,
  );
  const databases = new Map([...train.databases, ...test.databases, ...others.databases]);
  return {
    train: train.tasks,
    test: test.tasks,
    otherThemes: others.tasks,
    databases,
    negatives: ({ db_id, query, schema, values, id }) =>
      wrongQueries(databases.get(db_id)!, { query, schema }, rng.fork('negatives', id), { values }),
    close() {
      for (const db of databases.values()) db.close();
    },
  };
}

/**
 * `questions` about each of `databases` databases whose tables are of two themes (`mixedThemes`), other ones each time: what a model begins with that shall know the words and how a schema is
 * read, and have seen no database of `sqlBed`.
 */
export async function mixedTasks(rng: Rng, { databases, questions = 28 }: { databases: number; questions?: number }): Promise<SqlTask[]> {
  const { tasks, databases: opened } = await asked(mixedThemes(rng, databases), rng.fork('questions'), questions);
  for (const db of opened.values()) db.close();
  return tasks;
}

async function asked(themes: readonly SqlTheme[], rng: Rng, count: number) {
  const databases = await openThemes(themes);
  const tasks = themes.flatMap((theme, t) =>
    // where not all is asked, each database is asked other things
    sqlQuestions(theme, databases.get(theme.id)!, rng, { from: count < everything ? t * count : 0, count }).map(
      (question): SqlTask => ({
        ...question,
        prompt: sqlPrompt(theme.schema, question.question),
        schema: theme.schema,
        values: theme.main.text.values,
      }),
    ),
  );
  return { tasks, databases };
}

/**
 * Wrong queries that look like the right one (`mutateSql`), sorted out by running them: each runs and answers otherwise. An answer says nothing on a database `withoutRows`: there, all that run.
 */
export function wrongQueries(
  db: SqlDatabase,
  { query, schema }: { query: string; schema: string },
  rng: Rng,
  { values, withoutRows = false }: { values?: readonly string[]; withoutRows?: boolean } = {},
): string[] {
  const gold = db.run(query);
  const ordered = hasOrder(query);
  return mutateSql(query, schema, rng, { values }).filter((other) => {
    const result = db.run(other);
    return result.ok && (withoutRows || !compareResults(result, gold, { ordered }).equal);
  });
}
