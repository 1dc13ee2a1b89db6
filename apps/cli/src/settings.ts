/** Settings from a schema's defaults, a YAML file, `--set key=value` and `--key value`, later ones winning; a wrong key or value names itself. */
import { ConfigError } from '@plumbline/core';
import { z } from 'zod';
import { readYaml, yamlOf } from './yaml.js';

export type SettingSources = { config?: string; set?: readonly string[]; flags?: Record<string, unknown> };

/** @throws ConfigError naming the key, what it held and what it may hold */
export function readSettings<S extends z.ZodObject>(
  schema: S,
  { config, set = [], flags = {} }: SettingSources,
  preset: Record<string, unknown> = {},
): z.infer<S> {
  const settings: Record<string, unknown> = structuredClone(preset);
  if (config) merge(settings, settingsIn(config));
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
    merge(settings, nested(path, yamlOf(text, `--set ${one}`)));
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
    const read = values.map((value) => yamlOf(value, `--${name} ${value}`));
    const key = name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    merge(settings, nested(key, read.length === 0 ? true : read.length === 1 ? read[0] : read));
  }
  return settings;
}

/** What `--help` says of the settings, where they are flags. */
export const settingsSection = (schema: z.ZodObject): string =>
  `\nSettings, as flags or in the YAML file of --config:\n${settingsHelp(schema)}\n`;

/** A line for each setting of a schema: its flag, what it does, what it may hold and its default; of one of several kinds also a line for each part. */
export function settingsHelp(schema: z.ZodObject, prefix = '--'): string {
  const line = (flag: string, field: unknown, kinds = ''): [string, string] => {
    const inner = unwrap(field) as z.ZodType;
    const about = (field as z.ZodType).description ?? inner.description ?? '';
    return [flag, [about, choicesOf(kindsIn(inner) ?? inner), shownDefault(field), kinds].filter(Boolean).join(' ')];
  };
  const lines = (object: z.ZodObject, at: string): [string, string][] =>
    Object.entries(object.shape).flatMap(([key, field]): [string, string][] => {
      const inner = unwrap(field) as { shape?: object };
      if (inner.shape) return lines(inner as unknown as z.ZodObject, `${at}${key}.`);
      const kinds = kindsIn(inner);
      const parts = kinds ? partsOf(kinds) : [];
      return [line(`${at}${key}`, field), ...parts.map(({ name, field: part, of }) => line(`${at}${key}.${name}`, part, of))];
    });
  const all = lines(schema, prefix);
  const width = Math.max(...all.map(([flag]) => flag.length));
  const room = Math.max(40, (process.stdout.isTTY ? process.stdout.columns : 120) - width - 4);
  const indented = (about: string) =>
    about.replace(new RegExp(`(?![^\\n]{1,${room}}$)([^\\n]{1,${room}})\\s`, 'g'), `$1\n${' '.repeat(width + 4)}`);
  return all.map(([flag, about]) => `  ${flag.padEnd(width)}  ${indented(about)}`.trimEnd()).join('\n');
}

/** A line for each of several losses: its name, and the options that it has, with their defaults. */
export function lossesHelp(losses: Readonly<Record<string, { options: z.ZodType }>>): string {
  const width = Math.max(...Object.keys(losses).map(({ length }) => length));
  const lines = Object.entries(losses).map(([name, { options }]) => {
    const all = Object.entries(shapeOf(options)).map(([key, field]) => [key, shownDefault(field)].filter(Boolean).join(' '));
    return `  ${name.padEnd(width)}  ${all.join(', ')}`.trimEnd();
  });
  return `The losses, and what each has as --lossOptions.NAME:\n${lines.join('\n')}\n`;
}

/** @throws ConfigError naming the options that a loss does not have, with those that it has */
export function refuseUnknownOptions(loss: string, { options }: { options: z.ZodType }, given: object): void {
  const known = Object.keys(shapeOf(options));
  const other = Object.keys(given).filter((key) => !known.includes(key));
  if (other.length === 0) return;
  const meant = [...new Set(other.flatMap((key) => nearest(key, known) ?? []))];
  throw new ConfigError(
    `the loss ${loss} has no option ${other.map((key) => `"${key}"`).join(', ')}${meant.length > 0 ? ` (did you mean ${meant.join(', ')}?)` : ''}; ${known.length > 0 ? `there are ${known.join(', ')}` : 'it has none'}`,
  );
}

const shapeOf = (schema: z.ZodType): Record<string, unknown> => (unwrap(schema) as { shape?: Record<string, unknown> }).shape ?? {};

/** A default as it would be written, in brackets. */
function shownDefault(field: unknown): string {
  const preset = defaultOf(field);
  if (preset === undefined) return '';
  return `(${typeof preset === 'string' && /^\S+$/.test(preset) ? preset : JSON.stringify(preset)})`;
}

type Kinds = { def: { discriminator: string }; options: readonly z.ZodObject[] };
/** The kinds of which a setting is one; behind what rewrites it, or beside other forms of it. */
function kindsIn(schema: unknown): Kinds | undefined {
  const inner = unwrap(schema) as { def?: { discriminator?: string; out?: unknown }; options?: readonly unknown[] } | undefined;
  if (inner?.def?.discriminator) return inner as Kinds;
  if (inner?.def?.out) return kindsIn(inner.def.out);
  for (const option of inner?.options ?? []) if (typeof option === 'object') return kindsIn(option);
  return undefined;
}

/** The settings of several kinds, once each, and which kinds have them where not all do. */
function partsOf({ def: { discriminator }, options }: Kinds): { name: string; field: unknown; of: string }[] {
  const parts = new Map<string, { name: string; field: unknown; of: string[] }>();
  for (const { shape } of options) {
    const kind = String([...(shape[discriminator] as z.ZodLiteral).values][0]);
    for (const [name, field] of Object.entries(shape)) {
      if (name === discriminator) continue;
      const key = [name, (field as z.ZodType).description, shownDefault(field)].join(); // one name may mean several things
      parts.set(key, { name, field, of: [...(parts.get(key)?.of ?? []), kind] });
    }
  }
  return [...parts.values()].map(({ of, ...part }) => ({ ...part, of: of.length < options.length ? `[of ${of.join(', ')}]` : '' }));
}

/** The words that a setting may hold, or the kinds of which it is one: `[kind: constant, linear]`. */
function choicesOf(schema: unknown): string {
  const { def, options = [] } = (schema ?? {}) as { def?: { discriminator?: string }; options?: readonly unknown[] };
  const kind = def?.discriminator;
  const words = options.flatMap((option) => {
    if (typeof option === 'string') return [option];
    const values = kind && (option as z.ZodObject).shape?.[kind];
    return values instanceof z.ZodLiteral ? [...values.values].map(String) : [];
  });
  return words.length > 0 ? `[${kind ? `${kind}: ` : ''}${words.join(', ')}]` : '';
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

function settingsIn(path: string): Record<string, unknown> {
  const value = readYaml(path);
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

/**
 * `true` for a group of settings is its defaults, and a word for one of several kinds is that kind: `--referenceSync`, `--divergence js_divergence`.
 * What one of several kinds is without its kind is a change of the default: `--schedule.warmupSteps 10`. A lone value is a list of one where a list is
 * wanted: `--lora.layers 3`.
 */
function spellOut(settings: Record<string, unknown>, schema: z.ZodObject): void {
  for (const [key, value] of Object.entries(settings)) {
    const inner = unwrap(schema.shape[key]) as z.ZodObject | undefined;
    const { def, shape } = (inner ?? {}) as { def?: { type?: string; discriminator?: string }; shape?: object };
    if (shape && value === true) settings[key] = {};
    if (shape && isRecord(value)) spellOut(value, inner!);
    if (def?.type === 'array' && !Array.isArray(value)) settings[key] = [value];
    if (!def?.discriminator) continue;
    if (typeof value === 'string') settings[key] = { [def.discriminator]: value };
    else if (isRecord(value) && !(def.discriminator in value)) settings[key] = { ...(defaultOf(schema.shape[key]) as object), ...value };
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function describe(issue: z.core.$ZodIssue, settings: unknown, schema: z.ZodObject): string {
  const at = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(shapeAt(schema, issue.path));
    const meant = [...new Set(issue.keys.flatMap((key) => nearest(key, at ? known : [...known, ...commandFlags]) ?? []))];
    const named = (name: string) => (!at && !known.includes(name) ? `--${name}` : `${at ? `${at}.` : ''}${name}`);
    const guess = meant.length > 0 ? ` (did you mean ${meant.map(named).join(', ')}?)` : '';
    return `${issue.keys.map((key) => `"${at ? `${at}.` : ''}${key}"`).join(', ')} is not a setting${at ? ` of ${at}` : ''}${guess}; there are ${known.join(', ')}`;
  }
  const held = issue.path.reduce<unknown>((value, key) => (isRecord(value) ? value[String(key)] : undefined), settings);
  if (issue.code === 'invalid_type' && issue.expected === 'object' && issue.path.length > 0) {
    const parts = Object.keys(shapeAt(schema, issue.path) ?? {}).map((name) => `${at}.${name}`);
    if (parts.length > 0) return `setting ${at} holds ${JSON.stringify(held)}, but is set by its parts: ${parts.join(', ')}`;
  }
  if (held === undefined) return `setting ${at} is missing${issue.code === 'invalid_type' ? `; a ${issue.expected} is expected` : ''}`;
  return `setting ${at} holds ${JSON.stringify(held)}: ${issue.message}`;
}

/** What a misspelt flag may have meant where it is none of the settings: the options of the commands that take settings as flags. */
const commandFlags = ['model', 'dataset', 'reward', 'seed', 'out', 'resume', 'fresh', 'json', 'backend', 'threads', 'config', 'set'];

/** The name that takes the fewest changes to, where they are few for its length. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const best = names
    .map((name) => ({ name, changes: changesBetween(word.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.changes - b.changes)[0];
  return best && best.changes <= Math.max(1, Math.floor(word.length / 3)) ? best.name : undefined;
}

/** Letters to insert, to leave out, to exchange or to turn round (optimal string alignment). */
function changesBetween(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
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
