/** Rubrics: named criteria with weights, in text and as numbers. */
import { ConfigError, FormatError } from '@plumbline/core/light';
import type { Criterion, Rubric } from '@plumbline/data/light';

/** @throws ConfigError naming the criterion that is wrong */
export function checkRubric(rubric: Rubric): void {
  const { criteria } = rubric;
  if (!Array.isArray(criteria) || criteria.length === 0) throw new ConfigError('the rubric has no criteria');
  for (const [i, { name, description, weight = 1 }] of criteria.entries()) {
    if (typeof name !== 'string' || name === '') throw new ConfigError(`criterion ${i + 1} of the rubric has no name`);
    if (typeof description !== 'string' || description === '')
      throw new ConfigError(`criterion "${name}" of the rubric has no description`);
    if (!Number.isFinite(weight)) throw new ConfigError(`criterion "${name}" of the rubric has the weight ${weight}`);
  }
  const names = criteria.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw new ConfigError(`the rubric has two criteria with the name "${twice}"`);
  if (!criteria.some(({ weight = 1 }) => weight > 0)) throw new ConfigError('no criterion of the rubric has a weight above 0');
}

/** A rubric from a file's content: `{ criteria: [{ name, description, weight }] }`, a list of such criteria, or a list of texts. @throws ConfigError */
export function rubricFrom(value: unknown): Rubric {
  const list = Array.isArray(value) ? value : (value as { criteria?: unknown } | null)?.criteria;
  if (!Array.isArray(list)) throw new ConfigError('a rubric is a list of criteria, or holds one under "criteria"');
  const criteria = list.map((one: unknown, i): Criterion => {
    if (typeof one === 'string') return { name: `criterion ${i + 1}`, description: one };
    if (typeof one !== 'object' || one === null)
      throw new ConfigError(`criterion ${i + 1} of the rubric is ${JSON.stringify(one)}; it must be text or { name, description, weight }`);
    const unknown = Object.keys(one).filter((key) => !['name', 'description', 'weight', 'kind'].includes(key));
    if (unknown.length > 0)
      throw new ConfigError(`criterion ${i + 1} of the rubric holds "${unknown[0]}"; there are name, description, weight, kind`);
    return one as Criterion;
  });
  checkRubric({ criteria });
  return { criteria };
}

/**
 * The weighted share of criteria that are met: `Σ w met / Σ max(w, 0)` over those that were judged (`null` ones leave both sums), cut to [0, 1]. A negative weight takes off for what should
 * not be there.
 *
 * @throws RangeError where nothing with a weight above 0 was judged
 */
export function rubricScore(met: readonly (boolean | number | null)[], { criteria }: Rubric): number {
  if (met.length !== criteria.length) throw new RangeError(`rubricScore: ${met.length} judgements for ${criteria.length} criteria`);
  let [sum, total] = [0, 0];
  met.forEach((value, k) => {
    if (value === null) return;
    const weight = criteria[k].weight ?? 1;
    sum += weight * Number(value);
    total += Math.max(0, weight);
  });
  if (!(total > 0)) throw new RangeError('rubricScore: no criterion with a weight above 0 was judged');
  return Math.min(1, Math.max(0, sum / total));
}

/**
 * Criteria from a numbered list: `1. The response names the file. [Hard Rule]`. A line without a tag is a principle and counted in `untagged`; equal criteria are kept once.
 *
 * @throws FormatError showing the text where no line is a criterion
 */
export function parseRubric(text: string): { rubric: Rubric; untagged: number } {
  const criteria: Criterion[] = [];
  let untagged = 0;
  for (const line of text.split('\n')) {
    const match = /^\s*(?:\d+[.)]|[-*•])\s+(.*\S)\s*$/.exec(line);
    if (!match) continue;
    const tag = /\s*[*_]*\[\s*(hard rule|principle)\s*\][*_]*$/i.exec(match[1]);
    const description = (tag ? match[1].slice(0, tag.index) : match[1]).trim();
    if (description === '' || criteria.some((one) => one.description === description)) continue;
    if (!tag) untagged++;
    criteria.push({ name: `criterion ${criteria.length + 1}`, description, kind: tag && /hard/i.test(tag[1]) ? 'hardRule' : 'principle' });
  }
  if (criteria.length === 0)
    throw new FormatError(`no criterion parsed from ${JSON.stringify(text.slice(0, 300))}; a rubric is a numbered list`);
  return { rubric: { criteria }, untagged };
}

/** What `parseRubric` reads. */
export const formatRubric = ({ criteria }: Rubric): string =>
  criteria.map(({ description, kind }, i) => `${i + 1}. ${description} [${kind === 'hardRule' ? 'Hard Rule' : 'Principle'}]`).join('\n');
