/** What a query earns: whether it runs, and whether it answers as the right one does. */
import type { Candidate, RewardFunction } from '@plumbline/data';
import { textOf } from '@plumbline/data';
import { judgeSql } from './bed.js';
import type { SqlDatabase } from './database.js';
import { sqlTokens } from './text.js';

/** A question behind the schema of its database, as a policy sees it: the completion is the query. */
export const sqlPrompt = (schema: string, question: string): string => `${schema}\n-- ${question}\n`;

/**
 * 1 where the completion's query runs on its database (`executes`), or gives the rows that the right query gives (`right`), else 0. The database is that of `meta.db_id`, the right query
 * `meta.query`; it abstains where they are not known.
 */
export function sqlReward(databases: ReadonlyMap<string, SqlDatabase>, what: 'executes' | 'right'): RewardFunction {
  return {
    name: what,
    async score(batch) {
      const scores = new Float32Array(batch.length);
      const abstained = new Uint8Array(batch.length);
      batch.forEach(({ completion, meta }: Candidate, i) => {
        const db = databases.get(String(meta?.db_id));
        if (!db || (what === 'right' && typeof meta?.query !== 'string')) {
          abstained[i] = 1;
          return;
        }
        const { runs, right } = judgeSql(db, what === 'right' ? (meta!.query as string) : 'SELECT 1', textOf(completion));
        scores[i] = Number(what === 'right' ? right : runs);
      });
      return { scores, ...(abstained.includes(1) && { abstained }) };
    },
  };
}

/** Whether a query reads any table: `SELECT 1` runs on every database and answers nothing. */
export const readsTable = (sql: string): boolean =>
  sqlTokens(sql).some(({ kind, text }) => kind === 'word' && text.toUpperCase() === 'FROM');
