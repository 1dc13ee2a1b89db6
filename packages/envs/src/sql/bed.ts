/**
 * Generated databases with questions in five languages and the queries that answer them: a test bed for text to SQL. Every query runs and has rows, so that
 * whether an answer is right is known by running it.
 */
import type { Rng } from '@plumbline/core';
import { openSql, type SqlDatabase } from './database.js';
import { compareResults } from './results.js';
import { extractSql, hasOrder } from './text.js';

export const sqlLanguages = ['en', 'de', 'fr', 'es', 'ro'] as const;
export type SqlLanguage = (typeof sqlLanguages)[number];

type Words = Readonly<Record<SqlLanguage, string>>;
const words = (en: string, de: string, fr: string, es: string, ro: string): Words => ({ en, de, fr, es, ro });

/** What rows of the first table are; `each` are those of the second, which belong to one of the first. */
const themes: readonly { table: string; of: Words; each: string; eachOf: Words }[] = [
  { table: 'singers', of: words('singers', 'Sänger', 'chanteurs', 'cantantes', 'cântăreți'), each: 'concerts', eachOf: words('concerts', 'Konzerte', 'concerts', 'conciertos', 'concerte') },
  { table: 'teachers', of: words('teachers', 'Lehrer', 'professeurs', 'profesores', 'profesori'), each: 'courses', eachOf: words('courses', 'Kurse', 'cours', 'cursos', 'cursuri') },
  { table: 'doctors', of: words('doctors', 'Ärzte', 'médecins', 'médicos', 'medici'), each: 'visits', eachOf: words('visits', 'Besuche', 'visites', 'visitas', 'vizite') },
  { table: 'farmers', of: words('farmers', 'Bauern', 'fermiers', 'granjeros', 'fermieri'), each: 'fields', eachOf: words('fields', 'Felder', 'champs', 'campos', 'câmpuri') },
  { table: 'drivers', of: words('drivers', 'Fahrer', 'conducteurs', 'conductores', 'șoferi'), each: 'trips', eachOf: words('trips', 'Fahrten', 'trajets', 'viajes', 'curse') },
  { table: 'painters', of: words('painters', 'Maler', 'peintres', 'pintores', 'pictori'), each: 'pictures', eachOf: words('pictures', 'Bilder', 'tableaux', 'cuadros', 'tablouri') },
  { table: 'players', of: words('players', 'Spieler', 'joueurs', 'jugadores', 'jucători'), each: 'games', eachOf: words('games', 'Spiele', 'matchs', 'partidos', 'meciuri') },
  { table: 'writers', of: words('writers', 'Schriftsteller', 'écrivains', 'escritores', 'scriitori'), each: 'books', eachOf: words('books', 'Bücher', 'livres', 'libros', 'cărți') },
  { table: 'cooks', of: words('cooks', 'Köche', 'cuisiniers', 'cocineros', 'bucătari'), each: 'meals', eachOf: words('meals', 'Mahlzeiten', 'repas', 'comidas', 'mese') },
  { table: 'pilots', of: words('pilots', 'Piloten', 'pilotes', 'pilotos', 'piloți'), each: 'flights', eachOf: words('flights', 'Flüge', 'vols', 'vuelos', 'zboruri') },
  { table: 'students', of: words('students', 'Studenten', 'étudiants', 'estudiantes', 'studenți'), each: 'exams', eachOf: words('exams', 'Prüfungen', 'examens', 'exámenes', 'examene') },
  { table: 'workers', of: words('workers', 'Arbeiter', 'ouvriers', 'obreros', 'muncitori'), each: 'tasks', eachOf: words('tasks', 'Aufgaben', 'tâches', 'tareas', 'sarcini') },
]; // biome-ignore format: a table

type Column = { name: string; word: Words };
/** Text columns of the first table, with their values; numbers of the first and of the second table. */
const texts: readonly (Column & { values: readonly string[] })[] = [
  { name: 'city', word: words('city', 'Stadt', 'ville', 'ciudad', 'oraș'), values: ['Paris', 'Rome', 'Berlin', 'Madrid', 'Vienna'] },
  { name: 'country', word: words('country', 'Land', 'pays', 'país', 'țară'), values: ['France', 'Italy', 'Spain', 'Japan', 'Peru'] },
  { name: 'team', word: words('team', 'Mannschaft', 'équipe', 'equipo', 'echipă'), values: ['red', 'blue', 'green', 'white', 'black'] },
];
const numbers: readonly (Column & { from: number; to: number })[] = [
  { name: 'age', word: words('age', 'Alter', 'âge', 'edad', 'vârstă'), from: 18, to: 70 },
  { name: 'height', word: words('height', 'Größe', 'taille', 'altura', 'înălțime'), from: 150, to: 200 },
  { name: 'salary', word: words('salary', 'Gehalt', 'salaire', 'salario', 'salariu'), from: 10, to: 99 },
];
const amounts: readonly (Column & { from: number; to: number })[] = [
  { name: 'price', word: words('price', 'Preis', 'prix', 'precio', 'preț'), from: 5, to: 90 },
  { name: 'length', word: words('length', 'Länge', 'longueur', 'longitud', 'lungime'), from: 10, to: 60 },
  { name: 'rating', word: words('rating', 'Bewertung', 'note', 'nota', 'notă'), from: 1, to: 10 },
];
const firstNames = ['Ada', 'Bo', 'Cy', 'Di', 'Ed', 'Flo', 'Gus', 'Hal', 'Ivy', 'Jo', 'Kai', 'Lea', 'Max', 'Nia', 'Ole', 'Pia', 'Quin', 'Ray', 'Sue', 'Tom', 'Una', 'Vic', 'Wes', 'Xia', 'Yan', 'Zed']; // biome-ignore format: one list

export type SqlTheme = {
  id: string;
  /** The statements that make the database, for `openSql`. */
  script: string;
  /** CREATE statements alone, for a prompt. */
  schema: string;
  main: { table: string; of: Words; text: Column & { values: readonly string[] }; number: Column & { from: number; to: number } };
  each: { table: string; of: Words; amount: Column & { from: number; to: number }; key: string };
};

/** `count` databases of two tables with 20 to 60 rows each, at most twelve, each of another theme. @throws RangeError for more */
export function sqlThemes(rng: Rng, count = themes.length): SqlTheme[] {
  if (!(Number.isInteger(count) && count > 0 && count <= themes.length))
    throw new RangeError(`sqlThemes: there are 1 to ${themes.length}, not ${count}`);
  return Array.from(rng.fork('themes').permutation(themes.length).subarray(0, count), (t, i) =>
    database(themes[t], rng.fork('database', i)),
  );
}

/**
 * `count` databases whose second table is another theme's: words and columns of every theme, and no theme as it is. Who learned on these knows the words, as a pretrained model does, and
 * has seen none of the databases of `sqlThemes`.
 */
export function mixedThemes(rng: Rng, count: number): SqlTheme[] {
  return Array.from({ length: count }, (_, i) => {
    const own = rng.fork('mixed', i);
    const [first, second] = own.permutation(themes.length);
    const { table, of } = themes[first];
    const { each, eachOf } = themes[second];
    return { ...database({ table, of, each, eachOf }, own.fork('database')), id: `${table}_${each}_${i + 1}` };
  });
}

function database({ table, of, each, eachOf }: (typeof themes)[number], own: Rng): SqlTheme {
  const [text, number, amount] = [texts, numbers, amounts].map((from) => from[own.below(from.length)]) as [
    (typeof texts)[number],
    (typeof numbers)[number],
    (typeof amounts)[number],
  ];
  const key = `${table.slice(0, -1)}_id`;
  const schema = [
    `CREATE TABLE ${table} (id INTEGER, name TEXT, ${text.name} TEXT, ${number.name} INTEGER);`,
    `CREATE TABLE ${each} (id INTEGER, ${key} INTEGER, year INTEGER, ${amount.name} INTEGER);`,
  ].join('\n');
  const between = ({ from, to }: { from: number; to: number }) => from + own.below(to - from + 1);
  const names = Array.from(own.permutation(firstNames.length), (n) => firstNames[n]).slice(0, 20 + own.below(7));
  const first = names.map((name, n) => `(${n + 1}, '${name}', '${text.values[own.below(text.values.length)]}', ${between(number)})`);
  const second = Array.from({ length: 30 + own.below(31) }, (_, n) => {
    const owner = 1 + own.below(Math.ceil(names.length * 0.7)); // the others have none
    return `(${n + 1}, ${owner}, ${2015 + own.below(10)}, ${between(amount)})`;
  });
  const script = `${schema}\nINSERT INTO ${table} VALUES ${first.join(', ')};\nINSERT INTO ${each} VALUES ${second.join(', ')};`;
  return { id: table, script, schema, main: { table, of, text, number }, each: { table: each, of: eachOf, amount, key } };
}

type Slots = { of: string; each: string; text: string; number: string; amount: string; value: string; n: number; year: number; k: number };
type Sentence = (slots: Slots) => string;
type Template = { query: (theme: SqlTheme, slots: Slots) => string; ask: Record<SqlLanguage, Sentence> };

/** What can be asked. The texts name columns in their own language, so that a question and its query share few letters but in English. */
export const sqlTemplates = {
  project: {
    query: ({ main }) => `SELECT ${main.text.name} FROM ${main.table}`,
    ask: {
      en: ({ of, text }) => `What is the ${text} of all ${of}?`,
      de: ({ of, text }) => `${text} aller ${of}?`,
      fr: ({ of, text }) => `${text} de tous les ${of} ?`,
      es: ({ of, text }) => `¿${text} de todos los ${of}?`,
      ro: ({ of, text }) => `${text} pentru toți: ${of}?`,
    },
  },
  project2: {
    query: ({ main }) => `SELECT name, ${main.number.name} FROM ${main.table}`,
    ask: {
      en: ({ of, number }) => `Show name and ${number} of all ${of}.`,
      de: ({ of, number }) => `Zeige Name und ${number} aller ${of}.`,
      fr: ({ of, number }) => `Montre nom et ${number} de tous les ${of}.`,
      es: ({ of, number }) => `Muestra nombre y ${number} de todos los ${of}.`,
      ro: ({ of, number }) => `Arată nume și ${number} pentru toți: ${of}.`,
    },
  },
  equal: {
    query: ({ main }, { value }) => `SELECT name FROM ${main.table} WHERE ${main.text.name} = '${value}'`,
    ask: {
      en: ({ of, text, value }) => `Names of ${of} with ${text} ${value}?`,
      de: ({ of, text, value }) => `Namen der ${of} mit ${text} ${value}?`,
      fr: ({ of, text, value }) => `Noms des ${of} avec ${text} ${value} ?`,
      es: ({ of, text, value }) => `¿Nombres de ${of} con ${text} ${value}?`,
      ro: ({ of, text, value }) => `Nume de ${of} cu ${text} ${value}?`,
    },
  },
  above: {
    query: ({ main }, { n }) => `SELECT name FROM ${main.table} WHERE ${main.number.name} > ${n}`,
    ask: {
      en: ({ of, number, n }) => `Names of ${of} with ${number} above ${n}?`,
      de: ({ of, number, n }) => `Namen der ${of} mit ${number} über ${n}?`,
      fr: ({ of, number, n }) => `Noms des ${of} avec ${number} au-dessus de ${n} ?`,
      es: ({ of, number, n }) => `¿Nombres de ${of} con ${number} por encima de ${n}?`,
      ro: ({ of, number, n }) => `Nume de ${of} cu ${number} peste ${n}?`,
    },
  },
  twoFilters: {
    query: ({ main }, { value, n }) => `SELECT name FROM ${main.table} WHERE ${main.text.name} = '${value}' AND ${main.number.name} < ${n}`,
    ask: {
      en: ({ of, text, number, value, n }) => `Names of ${of} with ${text} ${value} and ${number} below ${n}?`,
      de: ({ of, text, number, value, n }) => `Namen der ${of} mit ${text} ${value} und ${number} unter ${n}?`,
      fr: ({ of, text, number, value, n }) => `Noms des ${of} avec ${text} ${value} et ${number} au-dessous de ${n} ?`,
      es: ({ of, text, number, value, n }) => `¿Nombres de ${of} con ${text} ${value} y ${number} por debajo de ${n}?`,
      ro: ({ of, text, number, value, n }) => `Nume de ${of} cu ${text} ${value} și ${number} sub ${n}?`,
    },
  },
  count: {
    query: ({ main }) => `SELECT count(*) FROM ${main.table}`,
    ask: {
      en: ({ of }) => `How many ${of} are there?`,
      de: ({ of }) => `Wie viele ${of} gibt es?`,
      fr: ({ of }) => `Combien de ${of} y a-t-il ?`,
      es: ({ of }) => `¿Cuántos ${of} hay?`,
      ro: ({ of }) => `Câți ${of} sunt?`,
    },
  },
  countEqual: {
    query: ({ main }, { value }) => `SELECT count(*) FROM ${main.table} WHERE ${main.text.name} = '${value}'`,
    ask: {
      en: ({ of, text, value }) => `How many ${of} have ${text} ${value}?`,
      de: ({ of, text, value }) => `Wie viele ${of} haben ${text} ${value}?`,
      fr: ({ of, text, value }) => `Combien de ${of} ont ${text} ${value} ?`,
      es: ({ of, text, value }) => `¿Cuántos ${of} tienen ${text} ${value}?`,
      ro: ({ of, text, value }) => `Câți ${of} au ${text} ${value}?`,
    },
  },
  sum: {
    query: ({ each }) => `SELECT sum(${each.amount.name}) FROM ${each.table}`,
    ask: {
      en: ({ each, amount }) => `What is the total ${amount} of all ${each}?`,
      de: ({ each, amount }) => `Wie hoch ist die Summe von ${amount} aller ${each}?`,
      fr: ({ each, amount }) => `Quelle est la somme de ${amount} de tous les ${each} ?`,
      es: ({ each, amount }) => `¿Cuál es la suma de ${amount} de todos los ${each}?`,
      ro: ({ each, amount }) => `Care este suma de ${amount} pentru toate: ${each}?`,
    },
  },
  average: {
    query: ({ main }) => `SELECT avg(${main.number.name}) FROM ${main.table}`,
    ask: {
      en: ({ of, number }) => `What is the average ${number} of the ${of}?`,
      de: ({ of, number }) => `Was ist der Durchschnitt von ${number} der ${of}?`,
      fr: ({ of, number }) => `Quelle est la moyenne de ${number} des ${of} ?`,
      es: ({ of, number }) => `¿Cuál es la media de ${number} de los ${of}?`,
      ro: ({ of, number }) => `Care este media de ${number} pentru ${of}?`,
    },
  },
  top: {
    query: ({ main }, { k }) => `SELECT name FROM ${main.table} ORDER BY ${main.number.name} DESC, name LIMIT ${k}`,
    ask: {
      en: ({ of, number, k }) => `Names of the ${k} ${of} with the highest ${number}, then by name?`,
      de: ({ of, number, k }) => `Namen der ${k} ${of} mit dem höchsten Wert von ${number}, dann nach Name?`,
      fr: ({ of, number, k }) => `Noms des ${k} ${of} avec ${number} maximal, puis par nom ?`,
      es: ({ of, number, k }) => `¿Nombres de los ${k} ${of} con mayor ${number}, luego por nombre?`,
      ro: ({ of, number, k }) => `Nume de ${k} ${of} cu ${number} maxim, apoi după nume?`,
    },
  },
  group: {
    query: ({ main }) => `SELECT ${main.text.name}, count(*) FROM ${main.table} GROUP BY ${main.text.name}`,
    ask: {
      en: ({ of, text }) => `How many ${of} are there for each ${text}?`,
      de: ({ of, text }) => `Wie viele ${of} gibt es je ${text}?`,
      fr: ({ of, text }) => `Combien de ${of} y a-t-il par ${text} ?`,
      es: ({ of, text }) => `¿Cuántos ${of} hay por ${text}?`,
      ro: ({ of, text }) => `Câți ${of} sunt pentru fiecare ${text}?`,
    },
  },
  join: {
    query: ({ main, each }) =>
      `SELECT m.name, e.${each.amount.name} FROM ${main.table} AS m JOIN ${each.table} AS e ON m.id = e.${each.key}`,
    ask: {
      en: ({ of, each, amount }) => `Show the names of ${of} with the ${amount} of their ${each}.`,
      de: ({ of, each, amount }) => `Zeige die Namen der ${of} mit ${amount} ihrer ${each}.`,
      fr: ({ of, each, amount }) => `Montre les noms des ${of} avec ${amount} de leurs ${each}.`,
      es: ({ of, each, amount }) => `Muestra los nombres de ${of} con ${amount} de sus ${each}.`,
      ro: ({ of, each, amount }) => `Arată nume de ${of} cu ${amount} pentru ale lor ${each}.`,
    },
  },
  joinFilter: {
    query: ({ main, each }, { year }) =>
      `SELECT DISTINCT m.name FROM ${main.table} AS m JOIN ${each.table} AS e ON m.id = e.${each.key} WHERE e.year >= ${year}`,
    ask: {
      en: ({ of, each, year }) => `Which ${of} have ${each} since ${year}?`,
      de: ({ of, each, year }) => `Welche ${of} haben ${each} seit ${year}?`,
      fr: ({ of, each, year }) => `Quels ${of} ont des ${each} depuis ${year} ?`,
      es: ({ of, each, year }) => `¿Qué ${of} tienen ${each} desde ${year}?`,
      ro: ({ of, each, year }) => `Care ${of} au ${each} din ${year}?`,
    },
  },
  none: {
    query: ({ main, each }) => `SELECT name FROM ${main.table} WHERE id NOT IN (SELECT ${each.key} FROM ${each.table})`,
    ask: {
      en: ({ of, each }) => `Which ${of} have no ${each}?`,
      de: ({ of, each }) => `Welche ${of} haben keine ${each}?`,
      fr: ({ of, each }) => `Quels ${of} n'ont pas de ${each} ?`,
      es: ({ of, each }) => `¿Qué ${of} no tienen ${each}?`,
      ro: ({ of, each }) => `Care ${of} nu au ${each}?`,
    },
  },
} as const satisfies Record<string, Template>;
export type SqlTemplateName = keyof typeof sqlTemplates;

export type SqlQuestion = {
  id: string;
  db_id: string;
  template: SqlTemplateName;
  language: SqlLanguage;
  question: string;
  /** The query that is right. */
  query: string;
};

/**
 * `count` questions about a database, templates and languages in turn from number `from` on; numbers and values are such that the query has rows. What a question is depends on
 * its number alone.
 */
export function sqlQuestions(
  theme: SqlTheme,
  db: SqlDatabase,
  rng: Rng,
  { count, from = 0, languages = sqlLanguages }: { count: number; from?: number; languages?: readonly SqlLanguage[] },
): SqlQuestion[] {
  const names = Object.keys(sqlTemplates) as SqlTemplateName[];
  return Array.from({ length: count }, (_, n) => {
    const i = from + n;
    const template = names[i % names.length];
    const language = languages[Math.floor(i / names.length) % languages.length];
    const own = rng.fork(theme.id, i);
    const { query, ask }: Template = sqlTemplates[template];
    for (let tries = 0; tries < 100; tries++) {
      const { main, each } = theme;
      const slots: Slots = {
        of: main.of[language],
        each: each.of[language],
        text: main.text.word[language],
        number: main.number.word[language],
        amount: each.amount.word[language],
        value: main.text.values[own.below(main.text.values.length)],
        n: main.number.from + own.below(main.number.to - main.number.from),
        year: 2016 + own.below(8),
        k: 1 + own.below(4),
      };
      const sql = query(theme, slots);
      const result = db.run(sql);
      if (!result.ok) throw new RangeError(`sqlQuestions: ${sql}: ${result.error}`);
      if (result.rows.length > 0)
        return { id: `${theme.id}_${i}`, db_id: theme.id, template, language, question: ask[language](slots), query: sql };
    }
    throw new RangeError(`sqlQuestions: no ${template} with rows in ${theme.id} in 100 tries`);
  });
}

/** How a completion does: whether its query runs, and whether it answers as the right query does. */
export function judgeSql(db: SqlDatabase, gold: string, completion: string): { runs: boolean; right: boolean; why?: string } {
  const sql = extractSql(completion);
  if (sql === null) return { runs: false, right: false, why: 'there is no query' };
  const result = db.run(sql);
  if (!result.ok) return { runs: false, right: false, why: result.error };
  const same = compareResults(result, db.run(gold), { ordered: hasOrder(gold) });
  return same.equal ? { runs: true, right: true } : { runs: true, right: false, why: same.reason };
}

/** The databases of themes, open, by their names. */
export const openThemes = async (all: readonly SqlTheme[]): Promise<Map<string, SqlDatabase>> =>
  new Map(await Promise.all(all.map(async ({ id, script }) => [id, await openSql(script)] as const)));
