/** Queries that look alike and ask for something else: hard negatives for an embedding of SQL. */
import type { Rng } from '@plumbline/core';
import { type SqlToken, sqlTokens } from './text.js';

const aggregates = ['count', 'sum', 'avg', 'min', 'max'];
const opposite: Record<string, string> = { '>': '<', '<': '>', '>=': '<', '<=': '>', '=': '<>', '==': '<>', '<>': '=', '!=': '=' };

/**
 * Every query that differs from `sql` in one place: another column of the tables it names, another aggregate, comparison, number, text, direction of an order, IN for NOT IN, or without its
 * condition. In an order drawn from `rng`, no two the same. They parse; whether their answer differs, a database says.
 *
 * @param schema CREATE TABLE statements, from which the columns are read
 * @param values texts that may stand for a text of the query, such as those of its column
 */
export function mutateSql(sql: string, schema: string, rng: Rng, { values = [] as readonly string[] } = {}): string[] {
  const tokens = sqlTokens(sql).filter(({ kind }) => kind !== 'comment');
  const tables = columnsOf(schema);
  const scopes = scopesOf(tokens);
  const namedAt = (at: number) =>
    tokens.flatMap(({ kind, text }, i) => (kind === 'word' && scopes[i] === scopes[at] && tables.get(text.toLowerCase())) || []);
  const mutations: string[] = [];
  const replace = (at: number, text: string, until = at + 1) =>
    mutations.push(
      [...tokens.slice(0, at), { kind: 'word', text } as SqlToken, ...tokens.slice(until)]
        .map((token) => token.text)
        .join('')
        .trim(),
    );
  tokens.forEach(({ kind, text }, at) => {
    const lower = text.toLowerCase();
    const named = namedAt(at);
    const [a, b, c] = tokens.slice(at + 1).filter((next) => next.kind !== 'space');
    if (kind === 'word' && aggregates.includes(lower) && a?.text === '(') {
      const star = b?.text === '*' && c?.text === ')';
      const end = tokens.findIndex((next, i) => i > at && next.text === ')') + 1;
      if (star) for (const column of new Set(named)) replace(at, `max(${column})`, end);
      else for (const other of aggregates) if (other !== lower) replace(at, other);
    } else if (kind === 'word' && named.includes(lower)) {
      const own = qualifiedBy(tokens, at, tables);
      for (const other of new Set(own ?? named)) if (other !== lower) replace(at, other);
    } else if (kind === 'word' && (lower === 'desc' || lower === 'asc')) replace(at, lower === 'desc' ? 'ASC' : 'DESC');
    else if (kind === 'word' && lower === 'not' && a?.text.toLowerCase() === 'in') replace(at, '');
    else if (kind === 'word' && lower === 'where') replace(at, '', endOfWhere(tokens, at));
    else if (kind === 'symbol' && opposite[text] && !isJoin(tokens, at)) replace(at, opposite[text]);
    else if (kind === 'number') {
      const n = Number(text);
      const by = 1 + rng.fork('number', at).below(Math.max(3, Math.ceil(n / 4)));
      replace(at, String(n + by));
      if (n - by > 0) replace(at, String(n - by));
    } else if (kind === 'string') for (const value of values) if (`'${value}'` !== text) replace(at, `'${value.replaceAll("'", "''")}'`);
  });
  const different = [...new Set(mutations.map((mutation) => mutation.replace(/\s+/g, ' ')))].filter(
    (mutation) => mutation !== sql.replace(/\s+/g, ' ').trim(),
  );
  return Array.from(rng.fork('order').permutation(different.length), (i) => different[i]);
}

/** Columns by table, in small letters. */
function columnsOf(schema: string): Map<string, string[]> {
  const tables = new Map<string, string[]>();
  for (const [, name, body] of schema.matchAll(/create\s+table\s+["`[]?(\w+)["`\]]?\s*\(([\s\S]*?)\)\s*(?:;|$)/gi)) {
    const columns = body.split(',').map((part) => /^\s*["`[]?(\w+)/.exec(part)?.[1].toLowerCase());
    tables.set(
      name.toLowerCase(),
      columns.filter(
        (column) => column !== undefined && !['primary', 'foreign', 'unique', 'check', 'constraint'].includes(column),
      ) as string[],
    );
  }
  return tables;
}

/** Of each token the parenthesis that opened its SELECT, or -1 outside of all. */
function scopesOf(tokens: readonly SqlToken[]): number[] {
  const open = [-1];
  return tokens.map(({ text }, i) => {
    if (text === '(') {
      const selects =
        tokens
          .slice(i + 1)
          .find(({ kind }) => kind !== 'space')
          ?.text.toLowerCase() === 'select';
      open.push(selects ? i : open.at(-1)!);
    }
    const own = open.at(-1)!;
    if (text === ')' && open.length > 1) open.pop();
    return own;
  });
}

/** Columns of the table that `alias.column` belongs to; undefined where the column stands alone. */
function qualifiedBy(tokens: readonly SqlToken[], at: number, tables: Map<string, string[]>): string[] | undefined {
  if (tokens[at - 1]?.text !== '.') return undefined;
  const qualifier = tokens[at - 2]?.text.toLowerCase();
  const words = tokens.filter(({ kind }) => kind === 'word').map(({ text }) => text.toLowerCase());
  const found = words.findIndex((word, i) => word === qualifier && tables.has(words[i - (words[i - 1] === 'as' ? 2 : 1)]));
  return tables.get(qualifier) ?? (found < 0 ? undefined : tables.get(words[found - (words[found - 1] === 'as' ? 2 : 1)]));
}

/** An equality of two columns: turned round it would join everything with everything. */
const isJoin = (tokens: readonly SqlToken[], at: number) => {
  const next = tokens.slice(at + 1).filter(({ kind }) => kind !== 'space');
  return next[0]?.kind === 'word' && next[1]?.text === '.';
};

function endOfWhere(tokens: readonly SqlToken[], at: number): number {
  let depth = 0;
  const end = tokens.findIndex(({ kind, text }, i) => {
    if (i <= at) return false;
    if (text === '(') depth++;
    if (text === ')') depth--;
    return depth < 0 || (depth === 0 && kind === 'word' && /^(group|order|limit|having|union|except|intersect)$/i.test(text));
  });
  return end < 0 ? tokens.length : end;
}
