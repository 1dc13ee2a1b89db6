/** Settings from a schema's defaults, a YAML file, `--set key=value` and `--key value`, later ones winning; a wrong key or value names itself. */
import { readFileSync } from 'node:fs';
import { ConfigError } from '@plumbline/core';
import { parse as parseYaml } from 'yaml';
import type { z } from 'zod';

export type SettingSources = { config?: string; set?: readonly string[]; flags?: Record<string, unknown> };

/** @throws ConfigError naming the key, what it held and what it may hold */
export function readSettings<S extends z.ZodObject>(
  schema: S,
  { config, set = [], flags = {} }: SettingSources,
  preset: Record<string, unknown> = {},
): z.infer<S> {
  const settings: Record<string, unknown> = structuredClone(preset);
  if (config) merge(settings, readYaml(config));
  merge(settings, parseSettings(set));
  merge(settings, flags);
  spellOut(settings, schema);
  const result = schema.safeParse(settings);
  if (result.success) return result.data;
  throw new ConfigError(result.error.issues.map((issue) => describe(issue, settings, schema)).join('; '));
}

/** The settings of `--set` flags: `['dpo.steps=40']` as `{ dpo: { steps: 40 } }`. Values are read as YAML. */
export function parseSettings(set: readonly string[]): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const one of set) {
    const [, path, text] = /^([^=]+)=(.*)$/s.exec(one) ?? [];
    if (path === undefined || text === undefined) throw new ConfigError(`--set ${one}: expected key=value, for instance grpo.steps=40`);
    merge(settings, nested(path, parseYaml(text)));
  }
  return settings;
}

/**
 * The settings of flags: `['--lora.r', '8', '--gradientCheckpointing']` as `{ lora: { r: 8 }, gradientCheckpointing: true }`. Values are read as YAML;
 * several in a row make a list, none is true. `--learning-rate` is `learningRate`.
 */
export function parseFlags(args: readonly string[]): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (let i = 0; i < args.length; ) {
    const [, name, inline] = /^--([A-Za-z][\w.-]*)(?:=(.*))?$/s.exec(args[i]) ?? [];
    if (name === undefined) throw new ConfigError(`unexpected "${args[i]}"; settings are given as --key value, for instance --steps 40`);
    const values = inline === undefined ? [] : [inline];
    for (i++; inline === undefined && i < args.length && !/^--[A-Za-z]/.test(args[i]); i++) values.push(args[i]);
    const read = values.map((value) => parseYaml(value) as unknown);
    const key = name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    merge(settings, nested(key, read.length === 0 ? true : read.length === 1 ? read[0] : read));
  }
  return settings;
}

/** A line for each setting of a schema: its flag, its default and what it does. */
export function settingsHelp(schema: z.ZodObject, prefix = '--'): string {
  const lines = (object: z.ZodObject, at: string): [string, string][] =>
    Object.entries(object.shape).flatMap(([key, field]): [string, string][] => {
      const inner = unwrap(field) as { shape?: object };
      if (inner.shape) return lines(inner as unknown as z.ZodObject, `${at}${key}.`);
      const preset = defaultOf(field);
      const about = (field as z.ZodType).description ?? (inner as unknown as z.ZodType).description ?? '';
      return [
        [`${at}${key}`, `${about}${preset === undefined ? '' : ` (${typeof preset === 'string' ? preset : JSON.stringify(preset)})`}`],
      ];
    });
  const all = lines(schema, prefix);
  const width = Math.max(...all.map(([flag]) => flag.length));
  return all.map(([flag, about]) => `  ${flag.padEnd(width)}  ${about}`).join('\n');
}

function defaultOf(schema: unknown): unknown {
  for (let at = schema as { def?: { defaultValue?: unknown; innerType?: unknown } }; at?.def; at = at.def.innerType as typeof at)
    if (at.def.defaultValue !== undefined) return at.def.defaultValue;
  return undefined;
}

const nested = (path: string, value: unknown): Record<string, unknown> =>
  path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Record<string, unknown>;

/** A whole number at least `least` from a flag. @throws ConfigError naming the flag and what it held */
export function wholeNumber(flag: string, text: string, least = 0): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= Number.MAX_SAFE_INTEGER))
    throw new ConfigError(`${flag} must be a whole number, ${least} or more, got "${text}"`);
  return value;
}

function readYaml(path: string): Record<string, unknown> {
  const value: unknown = parseYaml(readFileSync(path, 'utf8'));
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new ConfigError(`${path}: expected settings by name, found ${JSON.stringify(value)}`);
  return value as Record<string, unknown>;
}

function merge(into: Record<string, unknown>, from: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(from)) {
    const old = into[key];
    if (isRecord(old) && isRecord(value)) merge(old, value);
    else into[key] = value;
  }
}

/** `true` for a group of settings is its defaults, and a word for one of several kinds is that kind: `--referenceSync`, `--divergence js_divergence`. */
function spellOut(settings: Record<string, unknown>, schema: z.ZodObject): void {
  for (const [key, value] of Object.entries(settings)) {
    const { def, shape } = (unwrap(schema.shape[key]) ?? {}) as { def?: { discriminator?: string }; shape?: object };
    if (value === true && shape) settings[key] = {};
    if (typeof value === 'string' && def?.discriminator) settings[key] = { [def.discriminator]: value };
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function describe(issue: z.core.$ZodIssue, settings: unknown, schema: z.ZodObject): string {
  const at = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(shapeAt(schema, issue.path));
    const meant = [...new Set(issue.keys.flatMap((key) => nearest(key, known) ?? []))];
    const guess = meant.length > 0 ? ` (did you mean ${meant.map((name) => `${at ? `${at}.` : ''}${name}`).join(', ')}?)` : '';
    return `${issue.keys.map((key) => `"${at ? `${at}.` : ''}${key}"`).join(', ')} is not a setting${at ? ` of ${at}` : ''}${guess}; there are ${known.join(', ')}`;
  }
  const held = issue.path.reduce<unknown>((value, key) => (isRecord(value) ? value[String(key)] : undefined), settings);
  return `setting ${at} holds ${JSON.stringify(held)}: ${issue.message}`;
}

/** The name that takes the fewest changes to, where they are few for its length. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const best = names
    .map((name) => ({ name, changes: changesBetween(word.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.changes - b.changes)[0];
  return best && best.changes <= Math.max(1, Math.floor(word.length / 3)) ? best.name : undefined;
}

/** Letters to insert, to leave out or to exchange (Levenshtein). */
function changesBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length];
}

function shapeAt(schema: z.ZodObject, path: readonly PropertyKey[]): Record<string, unknown> {
  let at: unknown = schema;
  for (const key of path) at = unwrap((unwrap(at) as z.ZodObject).shape[String(key)]);
  return (unwrap(at) as z.ZodObject).shape;
}

/** What stands inside `.default()` and the like. */
function unwrap(schema: unknown): unknown {
  let at = schema as { def?: { innerType?: unknown } };
  while (at?.def?.innerType) at = at.def.innerType as typeof at;
  return at;
}
