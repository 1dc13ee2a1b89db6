/** Fields of a benchmark's rows, checked by name. */

import { FormatError } from '@plumbline/core';
import { type Completion, isMessages, type MediaRef, type Message, type Prompt } from '@plumbline/data';
import type { Row, RowPlace } from './types.js';

export const at = ({ path, line }: RowPlace) => `${path}, line ${line}`;

export function text(row: Row, name: string, place: RowPlace): string {
  const value = row[name];
  if (typeof value !== 'string') throw wrong(row, name, 'a text', place);
  return value;
}
export function texts(row: Row, name: string, place: RowPlace): string[] {
  const value = row[name];
  if (!Array.isArray(value) || value.some((one) => typeof one !== 'string')) throw wrong(row, name, 'a list of texts', place);
  return value as string[];
}
export function integers(row: Row, name: string, place: RowPlace): number[] {
  const value = row[name];
  if (!Array.isArray(value) || value.some((one) => !Number.isInteger(one))) throw wrong(row, name, 'a list of whole numbers', place);
  return value as number[];
}
/** A text or a number, as text. */
export function label(row: Row, name: string, place: RowPlace): string {
  const value = row[name];
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'bigint')
    throw wrong(row, name, 'a text or a number', place);
  return String(value);
}
/** One of `allowed`. */
export function oneOf<const T extends string>(row: Row, name: string, allowed: readonly T[], place: RowPlace): T {
  const value = row[name];
  const found = allowed.find((one) => one === String(value));
  if (found === undefined) throw wrong(row, name, `one of ${allowed.join(', ')}`, place);
  return found;
}
/** A prompt or an answer: a text or messages. */
export function dialogue(row: Row, name: string, place: RowPlace): Prompt & Completion {
  const value = row[name];
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && isMessages(value)) return value as Message[];
  throw wrong(row, name, 'a text or messages', place);
}
export function media(row: Row, name: string, kind: MediaRef['kind']): MediaRef[] {
  const value = row[name];
  const paths = Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  return paths.filter((path): path is string => typeof path === 'string').map((uri) => ({ kind, uri }));
}
export function wrong(row: Row, name: string, wanted: string, place: RowPlace): FormatError {
  const held = name in row ? JSON.stringify(row[name])?.slice(0, 80) : `nothing (there are ${Object.keys(row).join(', ')})`;
  return new FormatError(`${at(place)}: "${name}" must be ${wanted}, it holds ${held}`);
}
