/** Rewards behind a server: OpenRLHF's remote reward models and vLLM's classification and scoring endpoints. Needs `fetch` and nothing else. */
import { ConfigError, PlumblineError } from '@plumbline/core/light';
import { type Candidate, type Completion, isMessages, type Prompt, type RewardFunction, textOf } from '@plumbline/data/light';
import { checkScores } from './adapters.js';

/** A reward server that could not be reached, refused, or answered nonsense. */
export class RewardServerError extends PlumblineError {}

export type HttpRewardOptions = {
  /**
   * `openrlhf`: POST `{ query, prompts, labels }`, answered by `{ rewards }` (or `{ scores }`). `vllm-classify`: POST `{ model, input }`, answered by `data[i].probs`. `vllm-score`: POST
   * `{ model, text_1, text_2 }` with prompts and completions, answered by `data[i].score`. Unless given that of the URL's path, and `openrlhf` where it says nothing.
   */
  format?: 'openrlhf' | 'vllm-classify' | 'vllm-score';
  /** Sent as `Authorization: Bearer`. */
  token?: string;
  /** Where the server has several. */
  model?: string;
  /** Which class's number is the reward of `vllm-classify`: the only one, else the last. */
  label?: number;
  /** How prompt and completion become one text, for `openrlhf` and `vllm-classify`. */
  render?: (prompt: Prompt, completion: Completion) => string;
  /** Where `meta` holds OpenRLHF's `labels`. */
  labelColumn?: string;
  /** Candidates a request. */
  batchSize?: number;
  timeoutSeconds?: number;
  /** Further attempts after a failure that may pass: no connection, time-out, 408, 429 or 5xx. Waits double from `retrySeconds`. */
  retries?: number;
  retrySeconds?: number;
  fetch?: typeof fetch;
};

/** Where the URL is a server's root, its path of the format. */
const paths = { openrlhf: '/get_reward', 'vllm-classify': '/classify', 'vllm-score': '/score' } as const;
const formats = Object.keys(paths) as (keyof typeof paths)[];

/**
 * A reward that a server computes. A `null` score is an abstention.
 *
 * @throws RewardServerError saying what was asked, what came back and after how many attempts; a number that is not finite names its candidate
 */
export function httpReward(
  url: string,
  {
    format: asked,
    token,
    model,
    label,
    render = renderText,
    labelColumn = 'answer',
    batchSize = 32,
    timeoutSeconds = 120,
    retries = 3,
    retrySeconds = 0.5,
    fetch: send = fetch,
  }: HttpRewardOptions = {},
): RewardFunction {
  if (asked !== undefined && !Object.hasOwn(paths, asked))
    throw new ConfigError(`httpReward: there is no format "${asked}"; there are ${formats.join(', ')}`);
  let target: URL;
  try {
    target = new URL(url);
  } catch {
    throw new ConfigError(`httpReward: "${url}" is no URL`);
  }
  const format = asked ?? formats.find((name) => target.pathname.endsWith(paths[name])) ?? 'openrlhf';
  if (target.pathname === '/') target.pathname = paths[format];
  if (!(Number.isInteger(batchSize) && batchSize > 0))
    throw new ConfigError(`httpReward: batchSize must be a whole number above 0, got ${batchSize}`);
  return {
    name: target.href,
    async score(batch, { signal }) {
      const scores = new Float32Array(batch.length);
      const abstained = new Uint8Array(batch.length);
      for (let from = 0; from < batch.length; from += batchSize) {
        const some = batch.slice(from, from + batchSize);
        const answer = scoresIn(await post(bodyOf(some), signal), some.length);
        answer.forEach((value, i) => {
          if (value === null) abstained[from + i] = 1;
          else scores[from + i] = value;
        });
      }
      return checkScores(target.href, { scores, ...(abstained.includes(1) && { abstained }) }, batch.length);
    },
  };

  function bodyOf(batch: readonly Candidate[]): object {
    const texts = () => batch.map(({ prompt, completion }) => render(prompt, completion));
    switch (format) {
      case 'openrlhf':
        return {
          query: texts(),
          prompts: batch.map(({ prompt }) => promptOf(prompt)),
          labels: batch.map(({ meta }) => (meta?.[labelColumn] === undefined ? '' : String(meta[labelColumn]))),
          ...(model && { model }),
        };
      case 'vllm-classify':
        return { input: texts(), ...(model && { model }) };
      case 'vllm-score':
        return {
          text_1: batch.map(({ prompt }) => promptOf(prompt)),
          text_2: batch.map(({ completion }) => textOf(completion)),
          ...(model && { model }),
        };
      default:
        throw new ConfigError(`httpReward: there is no format "${format satisfies never}"`);
    }
  }

  async function post(body: object, signal?: AbortSignal): Promise<unknown> {
    let why = '';
    for (let attempt = 0; attempt <= retries; attempt++) {
      if (attempt > 0) await pause(retrySeconds * 2 ** (attempt - 1), signal);
      signal?.throwIfAborted();
      const limit = AbortSignal.timeout(timeoutSeconds * 1000);
      try {
        const response = await send(target, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
          body: JSON.stringify(body),
          signal: signal ? AbortSignal.any([signal, limit]) : limit,
        });
        const text = await response.text();
        if (response.ok) {
          try {
            return JSON.parse(text);
          } catch {
            throw new RewardServerError(`${target.href} answered what is not JSON: ${excerpt(text)}`);
          }
        }
        why = `${response.status}${response.statusText ? ` ${response.statusText}` : ''}: ${excerpt(text)}`;
        if (!(response.status === 408 || response.status === 429 || response.status >= 500)) {
          const hint =
            response.status === 401 || response.status === 403
              ? token
                ? '; is the token right?'
                : '; it wants a token'
              : response.status === 404
                ? `; does it answer ${format}?`
                : '';
          throw new RewardServerError(`${target.href} refused: ${why}${hint}`);
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof RewardServerError) throw error;
        const { cause, message } = error as Error & { cause?: { message?: string; code?: string } };
        why = limit.aborted ? `no answer within ${timeoutSeconds} s` : cause?.message || cause?.code || message;
      }
    }
    throw new RewardServerError(`${target.href} gave no rewards after ${retries + 1} attempts; the last: ${why}`);
  }

  function scoresIn(answer: unknown, expected: number): (number | null)[] {
    const wrong = (what: string) =>
      new RewardServerError(`${target.href} answered ${what} (format ${format}): ${excerpt(JSON.stringify(answer))}`);
    let found: unknown[];
    if (format === 'openrlhf') {
      const { rewards, scores } = (answer ?? {}) as { rewards?: unknown; scores?: unknown };
      const list = rewards ?? scores;
      if (!Array.isArray(list)) throw wrong('without "rewards"');
      found = list;
    } else {
      const { data } = (answer ?? {}) as { data?: unknown };
      if (!Array.isArray(data)) throw wrong('without "data"');
      found = new Array<unknown>(data.length);
      data.forEach((one: { index?: number; score?: unknown; probs?: unknown }, i) => {
        const value = format === 'vllm-score' ? one.score : Array.isArray(one.probs) ? one.probs[label ?? one.probs.length - 1] : undefined;
        found[one.index ?? i] = value;
      });
    }
    if (found.length !== expected) throw wrong(`${found.length} rewards for ${expected} candidates`);
    return found.map((value, i) => {
      const number = Array.isArray(value) && value.length === 1 ? (value[0] as unknown) : value; // torch's [n, 1]
      if (number !== null && typeof number !== 'number') throw wrong(`${JSON.stringify(number) ?? 'nothing'} as reward ${i}`);
      return number;
    });
  }
}

const promptOf = (prompt: Prompt): string =>
  isMessages(prompt) ? prompt.map(({ role, content }) => `${role}: ${content}`).join('\n\n') : prompt;
/** Plain text one after the other; a conversation as its turns, for servers without a template of their own. */
const renderText = (prompt: Prompt, completion: Completion): string =>
  isMessages(prompt) || isMessages(completion) ? `${promptOf(prompt)}\n\nassistant: ${textOf(completion)}` : prompt + completion;
const excerpt = (text: string): string => (text.length > 300 ? `${text.slice(0, 300)}...` : text);

async function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, seconds * 1000);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done);
  });
}
