/** SQL as text: tokens, statements, the query in an answer, and a form in which queries are compared. */

export type SqlToken = { kind: 'space' | 'comment' | 'string' | 'quoted' | 'number' | 'word' | 'symbol'; text: string };

const lexer =
  /(?<space>\s+)|(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<string>'(?:[^']|'')*(?:'|$))|(?<quoted>"(?:[^"]|"")*(?:"|$)|`[^`]*(?:`|$)|\[[^\]]*(?:\]|$))|(?<number>\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)|(?<word>[\p{L}_][\p{L}\p{N}_$]*)|(?<symbol>\|\||<>|<=|>=|==|!=|<<|>>|->>|->|[\s\S])/giuy;

/** Every character is in one token: joined they are the text again. What is opened and never closed reaches to the end. */
export function sqlTokens(sql: string): SqlToken[] {
  return Array.from(sql.matchAll(lexer), ({ groups }) => {
    const [kind, text] = Object.entries(groups!).find(([, found]) => found !== undefined)!;
    return { kind: kind as SqlToken['kind'], text };
  });
}

/** Statements without their semicolons, trimmed; those of comments and spaces alone are left out. */
export function sqlStatements(sql: string): string[] {
  const statements: string[] = [];
  let text = '';
  let empty = true;
  const end = () => {
    if (!empty) statements.push(text.trim());
    text = '';
    empty = true;
  };
  for (const token of sqlTokens(sql)) {
    if (token.kind === 'symbol' && token.text === ';') end();
    else {
      text += token.text;
      empty &&= token.kind === 'space' || token.kind === 'comment';
    }
  }
  end();
  return statements;
}

const query = /(?:^|[\n;:])\s*((?:select\b|with\s+(?:recursive\s+)?\w+\s*(?:\([^)]*\)\s*)?as\b)[\s\S]*)/i;

/**
 * The query that an answer offers: the last statement of the last fenced block, or of the text from the first line that begins with SELECT or WITH to the
 * next empty line. Null where there is none.
 */
export function extractSql(text: string): string | null {
  const fence = [...text.matchAll(/```[^\S\n]*\w*[^\S\n]*\n?([\s\S]*?)(?:```|$)/g)].at(-1);
  if (fence) return sqlStatements(fence[1]).at(-1) ?? null;
  const bare = query.exec(text)?.[1];
  if (bare === undefined) return null;
  const paragraph = bare.split(/\n\s*\n/)[0];
  return sqlStatements(paragraph).findLast((statement) => query.test(statement)) ?? null;
}

const keywords = new Set(
  `ALL AND AS ASC BETWEEN BY CASE CAST COLLATE CROSS DESC DISTINCT ELSE END ESCAPE EXCEPT EXISTS FILTER FROM FULL GLOB GROUP HAVING IN INDEXED INNER INTERSECT IS ISNULL JOIN
  LEFT LIKE LIMIT MATCH NATURAL NOT NOTNULL NULL OFFSET ON OR ORDER OUTER OVER PARTITION RECURSIVE REGEXP RIGHT SELECT THEN UNION USING VALUES WHEN WHERE WINDOW WITH`.split(
    /\s+/,
  ),
);
const isKeyword = ({ kind, text }: SqlToken) => kind === 'word' && keywords.has(text.toUpperCase());
const isName = (token: SqlToken | undefined) =>
  token !== undefined && (token.kind === 'word' || token.kind === 'quoted') && !isKeyword(token);

/**
 * A query without comments, its keywords in capitals, names in small letters and without quotes that they do not need, aliases numbered a1, a2, ... in the order
 * in which they are given, and one space between tokens. Two queries of one meaning need not become equal; what differs in these things alone does. It
 * is for comparing and embedding, not for running: an alias with the name of a column takes the column with it. Applied twice it changes nothing more.
 */
export function normalizeSql(sql: string): string {
  const tokens = sqlTokens(sql)
    .filter(({ kind }) => kind !== 'space' && kind !== 'comment')
    .map((token): SqlToken => {
      if (isKeyword(token)) return { kind: 'word', text: token.text.toUpperCase() };
      if (token.kind === 'word') return { kind: 'word', text: token.text.toLowerCase() };
      const plain = token.kind === 'quoted' ? token.text.slice(1, -1).toLowerCase() : '';
      if (/^[a-z_][a-z0-9_]*$/.test(plain) && !keywords.has(plain.toUpperCase())) return { kind: 'word', text: plain };
      return token;
    });
  while (tokens.at(-1)?.text === ';') tokens.pop();
  const aliases = new Map<string, string>();
  const named: SqlToken[] = [];
  const casts: boolean[] = []; // of each open parenthesis, whether it is a cast's
  const tables: boolean[] = [false]; // of each level, whether names of tables stand here
  tokens.forEach((token, i) => {
    const before = tokens[i - 1];
    if (token.text === '(') {
      casts.push(before?.text === 'CAST');
      tables.push(false);
    } else if (token.text === ')') {
      casts.pop();
      if (tables.length > 1) tables.pop();
    } else if (isKeyword(token)) {
      if (token.text === 'FROM' || token.text === 'JOIN') tables[tables.length - 1] = true;
      else if (!['AS', 'LEFT', 'INNER', 'OUTER', 'CROSS', 'NATURAL', 'RIGHT', 'FULL'].includes(token.text))
        tables[tables.length - 1] = false;
    }
    const explicit = before?.text === 'AS' && isKeyword(before) && !casts.at(-1);
    const implicit = tables.at(-1) && before !== undefined && (isName(before) || before.text === ')') && tokens[i - 2]?.text !== 'AS';
    if (isName(token) && (explicit || implicit) && before?.text !== '.') {
      if (!aliases.has(token.text)) aliases.set(token.text, `a${aliases.size + 1}`);
      if (!explicit) named.push({ kind: 'word', text: 'AS' });
    }
    named.push(token);
  });
  return named.map((token, i) => (isName(token) && named[i - 1]?.text !== '.' && aliases.get(token.text)) || token.text).join(' ');
}

/** Whether the rows of a query come in an order that it asks for: an ORDER BY outside of parentheses. */
export function hasOrder(sql: string): boolean {
  let depth = 0;
  return sqlTokens(sql).some((token) => {
    if (token.kind === 'symbol') depth += token.text === '(' ? 1 : token.text === ')' ? -1 : 0;
    return depth === 0 && token.kind === 'word' && token.text.toUpperCase() === 'ORDER';
  });
}
