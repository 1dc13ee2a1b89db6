/** Judges of one answer, of a group, and of steps, as reward functions. */
import {
  type Candidate,
  type GroupRewardFunction,
  type LanguageModel,
  type PairwiseJudge,
  type RewardFunction,
  type Rubric,
  type StepRewardFunction,
  textOf,
} from '@plumbline/data/light';
import { type AskOptions, asker, type JudgeReport, labelProbability, newReport } from './ask.js';
import { parseChecklist, parseRanking, parseRating, parseYesNo } from './parse.js';
import { checkRubric, rubricScore } from './rubric.js';
import {
  checklistTemplate,
  type PointQuestion,
  pointTemplate,
  promptText,
  rankingTemplate,
  stepTemplate,
  type Template,
  yesNoTemplate,
} from './templates.js';

type Reporting = { readonly report: JudgeReport };

/**
 * A rating of each answer, brought to [0, 1] (`raw` is the component on the judge's own scale); the mean over several votes. Where nothing could be parsed it abstains, counted in `report`.
 */
export function ratingJudge(
  model: LanguageModel,
  {
    scale = { min: 1, max: 10 },
    template = pointTemplate(scale),
    rubric,
    ...options
  }: AskOptions & { scale?: { min: number; max: number }; template?: Template<PointQuestion>; rubric?: Rubric } = {},
): RewardFunction & Reporting {
  if (!(scale.max > scale.min)) throw new RangeError(`ratingJudge: the scale runs from ${scale.min} to ${scale.max}`);
  const { report, ask } = asker(model, options);
  return {
    name: `${model.name}, rating`,
    report,
    async score(batch, ctx) {
      const answers = await ask(
        batch.map((one) => template(questionOf(one, rubric))),
        (text) => parseRating(text, scale),
        ctx,
      );
      const raw = answers.map(meanOf);
      return collected(
        raw.map((value) => (value === null ? null : (value - scale.min) / (scale.max - scale.min))),
        { raw },
      );
    },
  };
}

/**
 * A checklist: each criterion is met or not, and the score is the weighted share (`rubricScore`), with each criterion as a component. With several votes a criterion counts by the share of
 * votes that found it met. An answer that does not decide every criterion is not parsed; where none is, it abstains.
 */
export function rubricJudge(
  model: LanguageModel,
  rubric: Rubric,
  { template = checklistTemplate, ...options }: AskOptions & { template?: Template<PointQuestion & { rubric: Rubric }> } = {},
): RewardFunction & Reporting {
  checkRubric(rubric);
  const { report, ask } = asker(model, options);
  const { criteria } = rubric;
  return {
    name: `${model.name}, ${criteria.length} criteria`,
    report,
    async score(batch, ctx) {
      const questions = batch.map((one) => template({ ...questionOf(one), rubric }));
      const answers = await ask(questions, (text) => parseChecklist(text, criteria.length), ctx);
      const met = answers.map((votes) => {
        const counted = votes.filter((vote) => vote !== null);
        return counted.length === 0 ? null : criteria.map((_, k) => counted.filter((vote) => vote[k]).length / counted.length);
      });
      return collected(
        met.map((shares) => shares && rubricScore(shares, rubric)),
        Object.fromEntries(criteria.map(({ name }, k) => [name, met.map((shares) => shares?.[k] ?? null)])),
      );
    },
  };
}

/**
 * P(the answer is right): the probability of "yes" against "no" where the model gives log-probabilities of a given answer, else 1 or 0 by what it writes (the share of yes over several
 * votes). Abstains where neither could be had.
 */
export function yesNoJudge(
  model: LanguageModel,
  {
    template = yesNoTemplate,
    rubric,
    byProbability = model.can.score,
    ...options
  }: AskOptions & { template?: Template<PointQuestion>; rubric?: Rubric; byProbability?: boolean } = {},
): RewardFunction & Reporting {
  const { report, ask } = byProbability ? { report: newReport(), ask: undefined } : asker(model, { maxTokens: 16, ...options });
  return {
    name: `${model.name}, yes or no`,
    report,
    async score(batch, ctx) {
      const questions = batch.map((one) => template(questionOf(one, rubric)));
      if (!ask) return collected(await labelProbability(model, questions, ['yes', 'no'], report, ctx), {});
      return collected(
        (await ask(questions, parseYesNo, ctx)).map((votes) => meanOf(votes.map((vote) => (vote === null ? null : Number(vote))))),
        {},
      );
    },
  };
}

/**
 * A ranking of all answers of a prompt in one question: 1 for the best down to 0 for the worst, evenly spaced; the mean over several votes. The answers are shown in an order of
 * their own, which does not depend on where they stand. A ranking that could not be parsed abstains for the whole group.
 */
export function rankingJudge(
  model: LanguageModel,
  { template = rankingTemplate, rubric, ...options }: AskOptions & { template?: typeof rankingTemplate; rubric?: Rubric } = {},
): GroupRewardFunction & Reporting {
  const { report, ask } = asker(model, options);
  return {
    name: `${model.name}, ranking`,
    report,
    async scoreGroup(group, ctx) {
      const n = group.length;
      if (n < 2) throw new RangeError(`${model.name}, ranking: a ranking needs at least two answers, got ${n}`);
      const texts = group.map(({ completion }) => textOf(completion));
      const shown = texts
        .map((text, i) => ({ i, at: ctx.rng.fork('order', text).seed32 }))
        .sort((x, y) => x.at - y.at || (texts[x.i] < texts[y.i] ? -1 : 1));
      const question = template({
        prompt: promptText(group[0].prompt),
        completions: shown.map(({ i }) => texts[i]),
        ...(rubric && { rubric }),
      });
      const [votes] = await ask([question], (text) => parseRanking(text, n), ctx);
      const counted = votes.filter((vote) => vote !== null);
      const scores = new Float32Array(n);
      if (counted.length === 0) return { scores, abstained: new Uint8Array(n).fill(1) };
      for (const order of counted)
        order.forEach((position, rank) => {
          scores[shown[position].i] += (n - 1 - rank) / (n - 1) / counted.length;
        });
      const alike = (i: number) => texts.flatMap((text, j) => (text === texts[i] ? [scores[j]] : []));
      return { scores: scores.map((_, i) => alike(i).reduce((a, b) => a + b, 0) / alike(i).length) }; // equal answers share their places
    },
  };
}

/** A tournament: each answer's mean probability of beating the others of its group, by a judge of pairs. Comparisons that could not be parsed do not count; an answer with none left abstains. */
export function groupFromPairwise(judge: PairwiseJudge): GroupRewardFunction {
  return {
    name: `${judge.name}, each against each`,
    async scoreGroup(group, ctx) {
      const n = group.length;
      if (n < 2) throw new RangeError(`${judge.name}: a tournament needs at least two answers, got ${n}`);
      const games = group.flatMap((_, i) => group.slice(i + 1).map((__, k) => [i, i + 1 + k] as const));
      const verdicts = await judge.compare(
        games.map(([i, j]) => ({ prompt: group[i].prompt, a: group[i].completion, b: group[j].completion })),
        ctx,
      );
      const [wins, played] = [new Float32Array(n), new Int32Array(n)];
      games.forEach(([i, j], g) => {
        const { parsed, probA } = verdicts[g];
        if (!parsed) return;
        wins[i] += probA;
        wins[j] += 1 - probA;
        played[i]++;
        played[j]++;
      });
      const abstained = Uint8Array.from(played, (games) => (games === 0 ? 1 : 0));
      return { scores: wins.map((won, i) => (played[i] === 0 ? 0 : won / played[i])), ...(abstained.includes(1) && { abstained }) };
    },
  };
}

/**
 * P(each step is right), asked step by step with what came before: by the probability of "yes" where the model gives it, else by what it writes. A step whose answer could not be parsed is
 * 0.5, and counted in `report`.
 */
export function stepJudge(
  model: LanguageModel,
  {
    template = stepTemplate,
    byProbability = model.can.score,
    ...options
  }: AskOptions & { template?: typeof stepTemplate; byProbability?: boolean } = {},
): StepRewardFunction & Reporting {
  const { report, ask } = byProbability ? { report: newReport(), ask: undefined } : asker(model, { maxTokens: 16, ...options });
  return {
    name: `${model.name}, step by step`,
    report,
    async scoreSteps(batch, ctx) {
      const questions = batch.flatMap(({ prompt, steps }) =>
        steps.map((_, k) => template({ prompt: promptText(prompt), steps: steps.slice(0, k + 1) })),
      );
      const answers = ask
        ? (await ask(questions, parseYesNo, ctx)).map((votes) => meanOf(votes.map((vote) => (vote === null ? null : Number(vote)))))
        : await labelProbability(model, questions, ['yes', 'no'], report, ctx);
      let at = 0;
      return batch.map(({ steps }) => Float32Array.from(steps, () => answers[at++] ?? 0.5));
    },
  };
}

function questionOf({ prompt, completion }: Candidate, rubric?: Rubric): PointQuestion {
  return { prompt: promptText(prompt), completion: textOf(completion), ...(rubric && { rubric }) };
}

function meanOf(votes: readonly (number | null)[]): number | null {
  const counted = votes.filter((vote) => vote !== null);
  return counted.length === 0 ? null : counted.reduce((sum, vote) => sum + vote, 0) / counted.length;
}

function collected(values: readonly (number | null)[], components: Record<string, readonly (number | null)[]>) {
  const numbers = (from: readonly (number | null)[]) => Float32Array.from(from, (value) => value ?? 0);
  const abstained = Uint8Array.from(values, (value) => (value === null ? 1 : 0));
  return {
    scores: numbers(values),
    ...(abstained.includes(1) && { abstained }),
    ...(Object.keys(components).length > 0 && {
      components: Object.fromEntries(Object.entries(components).map(([name, from]) => [name, numbers(from)])),
    }),
  };
}
