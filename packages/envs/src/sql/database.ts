/** Real SQLite as something that may be asked and not changed. */
import { ConfigError } from '@plumbline/core';
import init, { type Database, type Sqlite3Static } from '@sqlite.org/sqlite-wasm';
import { sqlStatements } from './text.js';

export type SqlValue = number | bigint | string | null | Uint8Array;
export type SqlRows = {
  ok: true;
  columns: string[];
  rows: SqlValue[][];
  /** There were more rows than the limit. */
  truncated: boolean;
};
export type SqlResult = SqlRows | { ok: false; error: string };

export type SqlLimits = {
  /** Instructions of SQLite's virtual machine, rounded up to the next thousand: unlike a time it cuts the same query on every machine. 5 million by default. */
  maxSteps?: number;
  /** Milliseconds, for a query whose instructions are slow. 5,000 by default. */
  timeoutMs?: number;
  /** Rows that are kept. 1,000 by default. */
  maxRows?: number;
};

export interface SqlDatabase {
  /** CREATE statements of its tables and views, as they were written. */
  readonly schema: string;
  /** One query. What is wrong with it is in the result, in SQLite's words; nothing is thrown. */
  run(sql: string, limits?: SqlLimits): SqlResult;
  close(): void;
}

/**
 * A database in memory, from the statements that make it or from the bytes of a database file. Once it is made, it can only be read: no statement that
 * writes, attaches or sets anything is authorised, and no function that draws at random.
 *
 * @throws ConfigError with SQLite's words where the statements fail or the bytes are no database
 */
export async function openSql(source: string | Uint8Array): Promise<SqlDatabase> {
  const sqlite = await load();
  const { capi } = sqlite;
  const db = new sqlite.oo1.DB(':memory:');
  try {
    // as SQLite has it where it is not built otherwise: "text" that names no column is text, as in the queries of Spider
    capi.sqlite3_db_config(db, capi.SQLITE_DBCONFIG_DQS_DML, 1, 0);
    if (typeof source === 'string') db.exec(source);
    else restore(sqlite, db, source);
    const schema = (db.selectValues("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'") as string[])
      .map((statement) => `${statement};`)
      .join('\n');
    capi.sqlite3_set_authorizer(db, (_, action, __, name) => (allowed(capi, action, name) ? capi.SQLITE_OK : capi.SQLITE_DENY), 0);
    return { schema, run: (sql, limits) => run(sqlite, db, sql, limits), close: () => db.close() };
  } catch (error) {
    db.close();
    throw new ConfigError(`openSql: ${message(error)}`, { cause: error });
  }
}

let loaded: Promise<Sqlite3Static> | undefined;
const load = () =>
  (loaded ??= init({ print: () => {}, printErr: () => {} }).then((sqlite) => {
    const { config } = sqlite as unknown as { config: { warn: () => void } };
    config.warn = () => {}; // a query that is stopped is no news
    return sqlite;
  }));

function restore({ capi, wasm }: Sqlite3Static, db: Database, bytes: Uint8Array): void {
  if (new TextDecoder().decode(bytes.subarray(0, 15)) !== 'SQLite format 3') throw new Error('these bytes are no SQLite database');
  const data = wasm.allocFromTypedArray(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)); // a Buffer it would refuse
  const flags = capi.SQLITE_DESERIALIZE_FREEONCLOSE | capi.SQLITE_DESERIALIZE_RESIZEABLE;
  db.checkRc(capi.sqlite3_deserialize(db, 'main', data, bytes.length, bytes.length, flags));
}

const unrepeatable = new Set(['random', 'randomblob']);
function allowed(capi: Sqlite3Static['capi'], action: number, name: string | 0): boolean {
  if (action === capi.SQLITE_FUNCTION) return !unrepeatable.has(String(name).toLowerCase());
  return action === capi.SQLITE_SELECT || action === capi.SQLITE_READ || action === capi.SQLITE_RECURSIVE;
}

function run(
  { capi }: Sqlite3Static,
  db: Database,
  sql: string,
  { maxSteps = 5_000_000, timeoutMs = 5000, maxRows = 1000 }: SqlLimits = {},
): SqlResult {
  const statements = sqlStatements(sql);
  if (statements.length !== 1)
    return { ok: false, error: statements.length === 0 ? 'there is no statement' : 'there is more than one statement' };
  const end = performance.now() + timeoutMs;
  let left = Math.ceil(maxSteps / 1000);
  let stopped: string | undefined;
  capi.sqlite3_progress_handler(
    db,
    1000,
    () => {
      if (--left < 0) stopped = `stopped after ${maxSteps} instructions`;
      else if (performance.now() > end) stopped = `stopped after ${timeoutMs} ms`;
      return stopped === undefined ? 0 : 1;
    },
    0,
  );
  let statement: ReturnType<Database['prepare']> | undefined;
  try {
    statement = db.prepare(statements[0]);
    const columns = statement.columnCount > 0 ? (statement.getColumnNames([]) as string[]) : [];
    const rows: SqlValue[][] = [];
    while (statement.step()) {
      if (rows.length === maxRows) return { ok: true, columns, rows, truncated: true };
      rows.push(statement.get([]) as SqlValue[]);
    }
    return { ok: true, columns, rows, truncated: false };
  } catch (error) {
    return { ok: false, error: stopped ?? message(error) };
  } finally {
    statement?.finalize();
    capi.sqlite3_progress_handler(db, 0, 0, 0);
  }
}

/** SQLite's own words, without the name of the error code. */
const message = (error: unknown) =>
  (error instanceof Error ? error.message : String(error)).replace(/^SQLITE_\w+: sqlite3 result code \d+: /, '');
