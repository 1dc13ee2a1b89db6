/** How judges ask a language model: in one batch, each question's randomness its own, failures counted one by one. */
import { PlumblineError } from '@plumbline/core/light';
import type { Context, LanguageModel, Message } from '@plumbline/data/light';

/** A judge whose answers are useless; the message shows some. */
export class JudgeError extends PlumblineError {}

export type JudgeReport = {
  /** Questions so far, and how they ended: `asked = parsed + unparsed + errors`. With several votes, each vote is one. */
  asked: number;
  parsed: number;
  unparsed: number;
  errors: number;
  /** Pairs of equal answers: ties that were not asked. */
  identical: number;
  /** The first answers that could not be parsed, and the first errors. */
  examples: string[];
};
export type AskOptions = {
  /** Samples of each question; their verdicts are put together. Odd, where a majority decides. */
  votes?: number;
  /** 0 by default, 0.7 with several votes. */
  temperature?: number;
  maxTokens?: number;
  /** Questions that are asked at once where each is a call of its own. */
  concurrency?: number;
  /** Above this share of unparsed answers and errors, once there are `minAsked`, the judge stops with a `JudgeError`. */
  maxUnparsed?: number;
  minAsked?: number;
};

export const newReport = (): JudgeReport => ({ asked: 0, parsed: 0, unparsed: 0, errors: 0, identical: 0, examples: [] });

export type Asker = {
  readonly report: JudgeReport;
  ask<T>(questions: readonly Message[][], parse: (text: string) => T | null, ctx: Context): Promise<(T | null)[][]>;
};

/** Asks `model` and parses what it says: [questions][votes], null where an answer could not be had or parsed. */
export function asker(
  model: LanguageModel,
  { votes = 1, temperature = votes > 1 ? 0.7 : 0, maxTokens = 1024, concurrency = 8, maxUnparsed = 0.5, minAsked = 20 }: AskOptions,
): Asker {
  if (!(Number.isInteger(votes) && votes > 0))
    throw new RangeError(`${model.name} as a judge: votes must be a whole number above 0, got ${votes}`);
  if (!(temperature >= 0)) throw new RangeError(`${model.name} as a judge: temperature must be >= 0, got ${temperature}`);
  if (votes > 1 && temperature === 0) throw new RangeError(`${model.name} as a judge: ${votes} votes at temperature 0 are one vote`);
  if (!(maxUnparsed >= 0 && maxUnparsed <= 1))
    throw new RangeError(`${model.name} as a judge: maxUnparsed must be in [0, 1], got ${maxUnparsed}`);
  const report = newReport();
  return {
    report,
    async ask(questions, parse, ctx) {
      const texts = await generated(model, questions, { n: votes, temperature, maxTokens }, concurrency, ctx);
      const answers = texts.map((answer) => {
        report.asked += votes;
        if (typeof answer === 'string') {
          report.errors += votes;
          note(report, `error: ${answer}`);
          return new Array<null>(votes).fill(null);
        }
        return answer.map((text) => {
          const parsed = parse(text);
          if (parsed === null) {
            report.unparsed++;
            note(report, text);
          } else report.parsed++;
          return parsed;
        });
      });
      const useless = report.unparsed + report.errors;
      if (report.asked >= minAsked && useless / report.asked > maxUnparsed)
        throw new JudgeError(
          `${model.name} as a judge: ${useless} of ${report.asked} answers were of no use (${report.errors} errors), more than the share of ${maxUnparsed} that is allowed. Some of them:\n${report.examples.map((text) => `  ${JSON.stringify(text.slice(-300))}`).join('\n')}`,
        );
      return answers;
    },
  };
}

function note(report: JudgeReport, text: string): void {
  if (report.examples.length < 3) report.examples.push(text);
}

/** [questions][n] texts; the message of the error in place of a question's texts. Throws only where the signal is aborted. */
async function generated(
  model: LanguageModel,
  questions: readonly Message[][],
  { n, temperature, maxTokens }: { n: number; temperature: number; maxTokens: number },
  concurrency: number,
  ctx: Context,
): Promise<(string[] | string)[]> {
  const call = async (prompts: readonly Message[][], rng: Context['rng']) =>
    (await model.generate(prompts, { n, maxTokens, temperature, rng, signal: ctx.signal })).map((samples) =>
      samples.map(({ text }) => text),
    );
  ctx.signal?.throwIfAborted();
  // At temperature 0 nothing is random, so that all go in one batch; else each question draws from a stream of its own, whatever stands beside it.
  if (temperature === 0 && questions.length > 1) {
    try {
      return await call(questions, ctx.rng.fork('judge'));
    } catch {
      ctx.signal?.throwIfAborted(); // one bad question fails the batch: ask one by one
    }
  }
  const answers = new Array<string[] | string>(questions.length);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < questions.length; i = next++) {
      ctx.signal?.throwIfAborted();
      try {
        [answers[i]] = await call([questions[i]], ctx.rng.fork('judge', JSON.stringify(questions[i])));
      } catch (error) {
        ctx.signal?.throwIfAborted();
        answers[i] = error instanceof Error ? error.message : String(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, questions.length) }, worker));
  return answers;
}

/**
 * P(first label) against the second, from their log-probabilities as the answer: a softmax over the two, read at the first token in which they differ. [questions]; null where the model failed.
 */
export async function labelProbability(
  model: LanguageModel,
  questions: readonly Message[][],
  [first, second]: readonly [string, string],
  report: JudgeReport,
  ctx: Context,
): Promise<(number | null)[]> {
  if (!model.score)
    throw new JudgeError(
      `${model.name} gives no log-probabilities of given answers, which this judge needs; use one that writes its verdict`,
    );
  const items = questions.flatMap((prompt) => [first, second].map((content) => ({ prompt, completion: [{ role: 'assistant', content }] })));
  let scored: Awaited<ReturnType<NonNullable<LanguageModel['score']>>> | undefined;
  try {
    scored = await model.score(items);
  } catch {
    ctx.signal?.throwIfAborted();
  }
  const out: (number | null)[] = [];
  for (let q = 0; q < questions.length; q++) {
    report.asked++;
    try {
      const [x, y] = scored ? [scored[2 * q], scored[2 * q + 1]] : await model.score(items.slice(2 * q, 2 * q + 2));
      const at = x.tokens.findIndex((token, i) => token !== y.tokens[i]);
      const difference = at < 0 || at >= y.tokens.length ? sum(x.logps) - sum(y.logps) : x.logps[at] - y.logps[at];
      if (!Number.isFinite(difference)) throw new RangeError(`the log-probabilities differ by ${difference}`);
      report.parsed++;
      out.push(1 / (1 + Math.exp(-difference)));
    } catch (error) {
      ctx.signal?.throwIfAborted();
      report.errors++;
      note(report, `error: ${(error as Error).message}`);
      out.push(null);
    }
  }
  return out;
}

const sum = (values: Float32Array) => values.reduce((a, b) => a + b, 0);

/** A language model from a function that answers one conversation: an API client, a stub. */
export function modelFromFunction(
  name: string,
  answer: (
    messages: readonly Message[],
    options: { temperature: number; maxTokens: number; seed: number; signal?: AbortSignal },
  ) => string | Promise<string>,
): LanguageModel {
  return {
    name,
    can: { score: false, embed: false, logps: false },
    generate: (prompts, { n = 1, temperature = 1, maxTokens, rng, signal }) =>
      Promise.all(
        prompts.map((prompt, p) =>
          Promise.all(
            Array.from({ length: n }, async (_, k) => {
              const messages = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
              const text = await answer(messages, { temperature, maxTokens, seed: rng.fork(p, k).seed32, signal });
              return { text, tokens: new Int32Array(), samplingLogps: new Float32Array(), finish: 'stop' as const };
            }),
          ),
        ),
      ),
  };
}
