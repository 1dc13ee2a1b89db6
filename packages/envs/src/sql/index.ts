/** Real SQLite: queries run against a database, and their answers compared. */
export type { SqlLanguage, SqlQuestion, SqlTemplateName, SqlTheme } from './bed.js';
export { judgeSql, mixedThemes, openThemes, sqlLanguages, sqlQuestions, sqlTemplates, sqlThemes } from './bed.js';
export type { SqlDatabase, SqlLimits, SqlResult, SqlRows, SqlValue } from './database.js';
export { openSql } from './database.js';
export { mutateSql } from './mutate.js';
export { compareResults, resultsEqual } from './results.js';
export { readsTable, sqlPrompt, sqlReward } from './rewards.js';
export type { SqlBed, SqlTask } from './tasks.js';
export { mixedTasks, sqlBed, wrongQueries } from './tasks.js';
export type { SqlToken } from './text.js';
export { extractSql, hasOrder, normalizeSql, sqlStatements, sqlTokens } from './text.js';
