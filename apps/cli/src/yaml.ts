/** YAML from files and flags. A slip in it is the user's: one line that says where, no stack. */
import { readFileSync } from 'node:fs';
import { ConfigError } from '@plumbline/core';
import { parse, YAMLParseError } from 'yaml';

/** The value of a file. @throws ConfigError naming the file, the line and the column */
export const readYaml = (path: string): unknown => yamlOf(readFileSync(path, 'utf8'), path);

/** The value of a text; `where` is what to call it in errors. */
export function yamlOf(text: string, where: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    throw new ConfigError(`${where} is not YAML: ${error.message.split('\n')[0].replace(/:$/, '')}`); // the other lines show the place
  }
}
