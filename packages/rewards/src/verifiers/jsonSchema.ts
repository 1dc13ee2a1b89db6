import { ConfigError } from '@plumbline/core/light';
import type { ValidateFunction } from 'ajv';
import { Abstain, knownOf, lastFence, type Verifier, verifier } from './verifier.js';

type Compiler = { compile(schema: object): ValidateFunction };
let compiler: Promise<Compiler> | undefined;

/**
 * 1 where the completion is JSON that a schema (draft 2020-12, with formats) accepts, else 0; text that is not JSON is 0. The schema is one for all, or stands in
 * `column` of each candidate's `meta`, as an object or as text; a row whose schema is missing or is none is abstained on.
 *
 * `from`: `'text'` (the whole text, or the one fenced block that is all of it), `'fence'` (the last fenced block), `'any'` (a fenced block, else what stands from the first brace
 * or bracket to the last).
 *
 * @throws ConfigError on first use where the one schema is none
 */
export function jsonSchema({
  schema,
  column = 'schema',
  from = 'any',
}: {
  schema?: object;
  column?: string;
  from?: 'text' | 'fence' | 'any';
} = {}): Verifier {
  const compiled = new Map<string, ValidateFunction | Error>();
  const validatorOf = async (wanted: object): Promise<ValidateFunction> => {
    const key = JSON.stringify(wanted);
    let found = compiled.get(key);
    if (!found) {
      compiler ??= loadCompiler();
      const { compile } = await compiler;
      try {
        found = compile(wanted);
      } catch (error) {
        found = error as Error;
      }
      if (compiled.size >= 1000) compiled.delete(compiled.keys().next().value!);
      compiled.set(key, found);
    }
    if (found instanceof Error) throw found;
    return found;
  };
  return verifier('JSON Schema', 'binary', async (text, candidate) => {
    let validate: ValidateFunction;
    try {
      validate = await validatorOf(schema ?? schemaOf(knownOf(candidate, column)));
    } catch (error) {
      if (error instanceof Abstain) throw error;
      if (schema) throw new ConfigError(`jsonSchema: the schema is none: ${(error as Error).message}`);
      throw new Abstain(`"${column}" is no JSON Schema`);
    }
    const value = jsonIn(text, from);
    if (value === undefined) return 0;
    try {
      return validate(value.json) === true;
    } catch (error) {
      throw new Abstain(`the schema breaks off: ${(error as Error).message}`); // one that refers to itself without end
    }
  });
}

async function loadCompiler(): Promise<Compiler> {
  const [{ Ajv2020 }, formats] = await Promise.all([import('ajv/dist/2020.js'), import('ajv-formats')]);
  // Keywords that we do not know are the schema's own business, and an $id may come twice.
  const ajv = new Ajv2020({ strict: false, logger: false, addUsedSchema: false });
  (formats.default as unknown as (ajv: unknown) => void)(ajv);
  return {
    compile(schema) {
      try {
        return ajv.compile(schema);
      } finally {
        ajv.removeSchema(schema);
      }
    },
  };
}

function schemaOf(value: unknown): object {
  const parsed: unknown = typeof value === 'string' ? JSON.parse(value) : value;
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new TypeError('it is not an object');
  return parsed;
}

/** The JSON value that a text holds, or undefined. */
export function jsonIn(text: string, from: 'text' | 'fence' | 'any'): { json: unknown } | undefined {
  const parse = (piece: string | undefined): { json: unknown } | undefined => {
    if (piece === undefined) return undefined;
    try {
      return { json: JSON.parse(piece) };
    } catch {
      return undefined;
    }
  };
  const whole = text.trim();
  const fence = lastFence(`${whole}\n`);
  if (from === 'fence') return parse(fence);
  const fenced = /^```[^\n]*\n([\s\S]*?)```$/.exec(whole)?.[1];
  const direct = parse(whole) ?? parse(fenced);
  if (direct || from === 'text') return direct;
  const start = whole.search(/[[{]/);
  const end = Math.max(whole.lastIndexOf('}'), whole.lastIndexOf(']'));
  return parse(fence) ?? (start >= 0 && end > start ? parse(whole.slice(start, end + 1)) : undefined);
}
