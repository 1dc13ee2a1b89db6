/** Samples that a run wrote, as they are shown: rows of any kind, each with a prompt, other texts and what is said of them. */
import type { Section } from '@plumbline/bench';
import { type RunFolder, samplesOf } from './folders.js';

/** `note`: scores and the like. */
export type Sample = { prompt: string; texts: { label: string; text: string }[]; note: string };

/** Of one step, in the order of its file. */
export const readSamples = (run: Pick<RunFolder, 'dir'>, step: number): Sample[] =>
  samplesOf(run, step).map(({ step: _, prompt, ...rest }) => {
    const isText = ([label, value]: [string, unknown]) => typeof value === 'string' && label !== 'finish';
    const entries = Object.entries(rest);
    return {
      prompt: prompt === undefined ? '' : textOf(prompt),
      texts: entries.filter(isText).map(([label, value]) => ({ label, text: value as string })),
      note: entries
        .filter((entry) => !isText(entry))
        .map(([label, value]) => `${label} ${brief(value)}`)
        .join(', '),
    };
  });

/** The last samples; what the first ones were, before training, where they are of the same prompts. */
export function samplesSection(run: Pick<RunFolder, 'dir' | 'sampled'>): Section[] {
  const [first, last] = [run.sampled[0], run.sampled.at(-1)];
  if (first === undefined || last === undefined) return [];
  const earlier = first === last ? [] : readSamples(run, first);
  const groups = readSamples(run, last).map(({ prompt, texts, note }, i) => {
    const before = earlier[i]?.prompt === prompt ? earlier[i] : undefined;
    const old = before?.texts.filter(({ label, text }) => texts.some((now) => now.label === label && now.text !== text)) ?? [];
    const said = before && before.note !== note ? `${note} (step ${first}: ${before.note})` : note;
    return {
      prompt,
      texts: [
        ...old.map(({ label, text }) => ({ label: `${label}, step ${first}`, text })),
        ...texts.map((text, t) => ({ ...text, ...(t === 0 && said !== '' && { note: said }) })),
      ],
    };
  });
  return [{ kind: 'sideBySide', title: `Samples of step ${last}`, groups }];
}

const textOf = (prompt: unknown): string =>
  Array.isArray(prompt)
    ? (prompt as { role?: string; content?: unknown }[]).map(({ role, content }) => `${role}: ${brief(content)}`).join('\n')
    : brief(prompt);

function brief(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(Number(value.toPrecision(4)));
  if (Array.isArray(value)) return value.map(brief).join(', ');
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .map(([name, inner]) => `${name} ${brief(inner)}`)
      .join(', ');
  return value === null ? 'none' : String(value);
}
