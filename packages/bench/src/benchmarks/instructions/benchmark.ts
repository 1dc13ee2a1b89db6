/** Benchmarks of verifiable instructions: how a response is checked, strictly and loosely, and what is reported. */
import { FormatError } from '@plumbline/core';
import { at, text, texts, wrong } from '../fields.js';
import { moments, row } from '../numbers.js';
import type { AnswerBenchmark, AnswerItem, BenchmarkNumber } from '../types.js';
import { ifbenchInstructions } from './ifbench.js';
import { type Arguments, type InstructionCheck, ifevalInstructions } from './ifeval.js';
import { mIfevalInstructions } from './mIfeval.js';

/** The instructions of a prompt, with their arguments. */
export type Instructions = { id: string; args: Arguments }[];

/** Each instruction on its own: followed or not. An empty response follows none. @throws FormatError for an instruction that is not known */
export async function followsInstructions(
  checks: Readonly<Record<string, InstructionCheck>>,
  instructions: Instructions,
  response: string,
): Promise<boolean[]> {
  const followed: boolean[] = [];
  for (const { id, args } of instructions) {
    const check = checks[id];
    if (!check) throw new FormatError(`there is no instruction "${id}"; there are ${Object.keys(checks).join(', ')}`);
    followed.push(response.trim() !== '' && (await check(response, args)));
  }
  return followed;
}

/** The response as it is, and without its first line, its last, both, and each without asterisks: loose following is following by any of them. */
export function looseVariants(response: string): string[] {
  const lines = response.split('\n');
  const cut = [response, lines.slice(1).join('\n').trim(), lines.slice(0, -1).join('\n').trim(), lines.slice(1, -1).join('\n').trim()];
  return [...cut, ...cut.map((variant) => variant.replaceAll('*', ''))];
}

/** Of M-IFEval, whose instructions are named by their language first. */
const languageOf = (instructions: Instructions) => /^([a-z]{2}):/.exec(instructions[0]?.id ?? '')?.[1];

function instructionBenchmark(
  checks: Readonly<Record<string, InstructionCheck>>,
  { headline = 'strict', ...spec }: Pick<AnswerBenchmark, 'id' | 'title' | 'paper' | 'files'> & { headline?: 'strict' | 'loose' },
): AnswerBenchmark<Instructions> {
  const other = headline === 'strict' ? 'loose' : 'strict';
  return {
    kind: 'answers',
    ...spec,
    metric: `prompts of which every instruction is ${headline === 'strict' ? 'strictly' : 'loosely'} followed`,
    maxTokens: 1280,
    read(r, place) {
      const ids = texts(r, 'instruction_id_list', place);
      const args = r.kwargs;
      if (!Array.isArray(args) || args.length !== ids.length)
        throw wrong(r, 'kwargs', `a list of ${ids.length} objects, one an instruction`, place);
      const unknown = ids.find((id) => !Object.hasOwn(checks, id));
      if (unknown !== undefined) throw new FormatError(`${at(place)}: there is no instruction "${unknown}" in ${spec.title}`);
      const target = ids.map((id, i) => ({ id, args: (args[i] ?? {}) as Arguments }));
      return {
        id: `${place.file}/${place.line}`,
        subset: ids.length === 1 ? 'one instruction' : `${ids.length} instructions`,
        prompt: text(r, 'prompt', place),
        target,
      };
    },
    async check({ target }, response) {
      const strict = await followsInstructions(checks, target, response);
      const loose = strict.map(Boolean);
      for (const variant of looseVariants(response)) {
        if (loose.every(Boolean)) break;
        for (const [i, followed] of (await followsInstructions(checks, target, variant)).entries()) loose[i] ||= followed;
      }
      const named = (kind: string, followed: readonly boolean[]) =>
        followed.map((one, i) => [`${kind} ${target[i].id} ${i}`, one ? 1 : 0] as const);
      return Object.fromEntries([...named('strict', strict), ...named('loose', loose)]);
    },
    report(items, outcomes) {
      const of = (i: number, kind: string) => Object.entries(outcomes[i].passed).filter(([name]) => name.startsWith(`${kind} `));
      const all = [...items.keys()];
      const prompts = (kind: string, some = all) => moments(some.map((i) => (of(i, kind).every(([, passed]) => passed === 1) ? 1 : 0)));
      const each = (kind: string) => all.flatMap((i) => of(i, kind).map(([name, passed]) => ({ id: name.split(' ')[1], passed })));
      const instructions = each(headline);
      const families = [...new Set(instructions.map(({ id }) => id))].sort();
      const languages = [...new Set(items.flatMap(({ target }) => languageOf(target) ?? []))];
      return [
        row(`prompts, ${headline}`, 'overall', prompts(headline)),
        row(`instructions, ${headline}`, 'detail', moments(instructions.map(({ passed }) => passed))),
        row(`prompts, ${other}`, 'detail', prompts(other)),
        row(`instructions, ${other}`, 'detail', moments(each(other).map(({ passed }) => passed))),
        ...languages.map((language) => {
          const own = all.filter((i) => languageOf(items[i].target) === language);
          return row(`${language}: prompts, ${headline}`, 'group', prompts(headline, own));
        }),
        ...families.map(
          (id): BenchmarkNumber => row(id, 'subset', moments(instructions.filter((one) => one.id === id).map(({ passed }) => passed))),
        ),
      ];
    },
  };
}

export const ifeval: AnswerBenchmark<Instructions> = instructionBenchmark(ifevalInstructions, {
  id: 'ifeval',
  title: 'IFEval',
  paper: '2311.07911',
  files: 'input_data.jsonl with key, prompt, instruction_id_list, kwargs',
});
/** IFBench. Pyatkin et al. 2025, arXiv:2507.02833. As in the paper, the headline is loose following of whole prompts; strict following stands beside it. */
export const ifbench: AnswerBenchmark<Instructions> = instructionBenchmark(ifbenchInstructions, {
  id: 'ifbench',
  title: 'IFBench',
  paper: '2507.02833',
  files: 'IFBench_test.jsonl with key, prompt, instruction_id_list, kwargs',
  headline: 'loose',
});
/** M-IFEval. Dussolle et al. 2025, arXiv:2502.04688: instructions in Spanish, French and Japanese, of the language itself among them. */
export const mIfeval: AnswerBenchmark<Instructions> = instructionBenchmark(mIfevalInstructions, {
  id: 'm-ifeval',
  title: 'M-IFEval',
  paper: '2502.04688',
  files: 'es_input_data.jsonl, fr_input_data.jsonl, ja_input_data.jsonl with key, prompt, instruction_id_list, kwargs',
});
export type InstructionItem = AnswerItem<Instructions>;
