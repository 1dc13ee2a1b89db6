/** Judges that compare two answers. */
import type { LanguageModel, PairVerdict, PairwiseJudge, Rubric } from '@plumbline/data/light';
import { sameCompletion, textOf } from '@plumbline/data/light';
import { type AskOptions, asker, type JudgeReport, labelProbability, newReport } from './ask.js';
import { parseVerdict } from './parse.js';
import { type PairQuestion, pairLetterTemplate, pairTemplate, promptText, type Template } from './templates.js';

export interface ReportingJudge extends PairwiseJudge {
  readonly report: JudgeReport;
}

export type GenerativeJudgeOptions = AskOptions & {
  template?: Template<PairQuestion>;
  parse?: (text: string) => 'a' | 'b' | 'tie' | null;
  /** For pairs that bring none of their own. */
  rubric?: Rubric;
};

const unparsed: PairVerdict = { winner: 'tie', probA: 0.5, parsed: false };

/**
 * A language model that writes a comparison and a verdict (LLM-as-a-judge; Zheng et al. 2023, arXiv:2306.05685). The last `[[A]]`, `[[B]]` or `[[C]]` counts; an answer without one, and a
 * call that fails, are `parsed: false`, a tie at 0.5, and counted in `report`. With several votes `probA` is the mean of those parsed (a tie is half) and the
 * winner is the side with more of them; an even split is a tie. Judges prefer what stands first: use `debiased`.
 */
export function generativeJudge(
  model: LanguageModel,
  { template = pairTemplate, parse = parseVerdict, rubric, ...options }: GenerativeJudgeOptions = {},
): ReportingJudge {
  const { report, ask } = asker(model, options);
  return {
    name: `${model.name} as a judge`,
    report,
    compare: betweenDifferent(report, async (batch, ctx) => {
      const questions = batch.map((pair) => template(questionOf(pair, rubric)));
      const verdicts = await ask(
        questions,
        (text) => {
          const winner = parse(text);
          return winner && { winner, text };
        },
        ctx,
      );
      return verdicts.map((votes) => {
        const counted = votes.filter((vote) => vote !== null);
        if (counted.length === 0) return { ...unparsed };
        const probA = counted.reduce((sum, { winner }) => sum + (winner === 'a' ? 1 : winner === 'tie' ? 0.5 : 0), 0) / counted.length;
        return { winner: winnerOf(probA), probA, parsed: true, rationale: counted[0].text };
      });
    }),
  };
}

/**
 * P(A is better) from the probabilities of the answers "A" and "B": a softmax over the two, without writing anything. For models that give log-probabilities of a given answer.
 */
export function logitJudge(
  model: LanguageModel,
  {
    template = pairLetterTemplate,
    labels = ['A', 'B'],
    rubric,
  }: { template?: Template<PairQuestion>; labels?: readonly [string, string]; rubric?: Rubric } = {},
): ReportingJudge {
  const report = newReport();
  return {
    name: `${model.name} as a judge by ${labels.join(' or ')}`,
    report,
    compare: betweenDifferent(report, async (batch, ctx) => {
      const questions = batch.map((pair) => template(questionOf(pair, rubric)));
      const probabilities = await labelProbability(model, questions, labels, report, ctx);
      return probabilities.map((probA) => (probA === null ? { ...unparsed } : { winner: winnerOf(probA), probA, parsed: true }));
    }),
  };
}

/**
 * The majority of `k` calls of a judge, each with randomness of its own; an even split is a tie, never given to the first side. `probA` is the mean over the parsed calls. For judges that
 * draw; `generativeJudge` has votes of its own, which share the prompt.
 */
export function voted(judge: PairwiseJudge, k: number): PairwiseJudge {
  if (!(Number.isInteger(k) && k > 0 && k % 2 === 1)) throw new RangeError(`voted: k must be an odd whole number above 0, got ${k}`);
  return {
    name: `${judge.name}, ${k} votes`,
    async compare(batch, ctx) {
      const rounds: PairVerdict[][] = [];
      for (let r = 0; r < k; r++) rounds.push(await judge.compare(batch, { ...ctx, rng: ctx.rng.fork('vote', r) }));
      return batch.map((_, i) => {
        const votes = rounds.map((round) => round[i]).filter(({ parsed }) => parsed);
        if (votes.length === 0) return { ...unparsed };
        const lead = votes.filter(({ winner }) => winner === 'a').length - votes.filter(({ winner }) => winner === 'b').length;
        const mean = votes.reduce((sum, { probA }) => sum + probA, 0) / votes.length;
        const winner = lead > 0 ? 'a' : lead < 0 ? 'b' : 'tie';
        const probA = winner === 'a' ? Math.max(mean, 0.5) : winner === 'b' ? Math.min(mean, 0.5) : 0.5;
        return { winner, probA, parsed: true, rationale: votes.find((vote) => vote.winner === winner)?.rationale };
      });
    },
  };
}

/** Equal answers are a tie that needs no asking, counted as `identical`; the others go on. */
function betweenDifferent(report: JudgeReport, compare: PairwiseJudge['compare']): PairwiseJudge['compare'] {
  return async (batch, ctx) => {
    const different = batch.flatMap(({ a, b }, i) => (sameCompletion(a, b) ? [] : [i]));
    report.identical += batch.length - different.length;
    const found =
      different.length > 0
        ? await compare(
            different.map((i) => batch[i]),
            ctx,
          )
        : [];
    const verdicts = batch.map((): PairVerdict => ({ winner: 'tie', probA: 0.5, parsed: true }));
    different.forEach((i, at) => {
      verdicts[i] = found[at];
    });
    return verdicts;
  };
}

const winnerOf = (probA: number): 'a' | 'b' | 'tie' => (probA > 0.5 ? 'a' : probA < 0.5 ? 'b' : 'tie');

function questionOf({ prompt, a, b, rubric }: Parameters<PairwiseJudge['compare']>[0][number], fallback?: Rubric): PairQuestion {
  const used = rubric ?? fallback;
  return { prompt: promptText(prompt), a: textOf(a), b: textOf(b), ...(used && { rubric: used }) };
}
