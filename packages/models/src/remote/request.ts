/** Requests to an API that may be slow, busy or broken: time-outs, retries, a limit on how many run at once, and a cache. */
import { ConfigError, PlumblineError } from '@plumbline/core';

/** A server that could not be reached, refused, or answered what is no answer. */
export class ServerError extends PlumblineError {
  constructor(
    message: string,
    readonly status?: number,
  ) {
    super(message);
  }
}

/** Answers by the content of their request: its path and body as one text. */
export interface RequestCache {
  get(content: string): Promise<unknown>;
  set(content: string, answer: unknown): Promise<void>;
}

export type RequestOptions = {
  /** The base, such as `http://localhost:8000/v1`. */
  url: string;
  /** Sent as `Authorization: Bearer`. */
  apiKey?: string;
  headers?: Record<string, string>;
  /** Of each attempt, until the whole answer is there; 120 unless said otherwise. */
  timeoutSeconds?: number;
  /** Further attempts after no connection, a time-out, 408, 409, 429, 5xx, a cut answer or one that is not JSON; 5 unless said otherwise. */
  retries?: number;
  /** The first wait is random up to this, and the bound doubles with each attempt; 0.5 unless said otherwise. A server's Retry-After comes first. */
  retrySeconds?: number;
  /** The longest wait; a server that asks for more is given up on. 60 unless said otherwise. */
  mostRetrySeconds?: number;
  /** Requests under way at once; 8 unless said otherwise. */
  concurrency?: number;
  cache?: RequestCache;
  fetch?: typeof fetch;
};

export type RequestCounts = { requests: number; retries: number; cached: number; seconds: number };

export interface Requester {
  readonly counts: RequestCounts;
  /** @throws ServerError saying what was asked, what came back and after how many attempts; the signal's reason where it was aborted */
  post(path: string, body: object, signal?: AbortSignal): Promise<unknown>;
  /** The data of a stream of server-sent events. It is retried only until it begins. @throws ServerError where it ends without `[DONE]` */
  stream(path: string, body: object, signal?: AbortSignal): AsyncIterable<unknown>;
}

export function createRequester(options: RequestOptions): Requester {
  const { apiKey, headers, timeoutSeconds = 120, retries = 5, retrySeconds = 0.5, mostRetrySeconds = 60, concurrency = 8, cache } = options;
  const send = options.fetch ?? fetch;
  let base: string;
  try {
    base = new URL(options.url).href.replace(/\/$/, '');
  } catch {
    throw new ConfigError(`"${options.url}" is no URL; an API's base looks like http://localhost:8000/v1`);
  }
  const counts: RequestCounts = { requests: 0, retries: 0, cached: 0, seconds: 0 };
  const underWay = new Map<string, Promise<unknown>>();
  const queue: (() => void)[] = [];
  let running = 0;
  let notBefore = 0; // a server that is busy for one request is busy for all

  const inTurn = async <T>(f: () => Promise<T>): Promise<T> => {
    if (running >= concurrency) await new Promise<void>((resolve) => void queue.push(resolve));
    else running++;
    try {
      return await f();
    } finally {
      const next = queue.shift();
      if (next) next();
      else running--;
    }
  };

  /** Runs `attempt` until it succeeds. It throws ServerError for what will not pass. */
  const untilDone = async <T>(target: string, signal: AbortSignal | undefined, attempt: (limit: AbortSignal) => Promise<T | Failed>) => {
    let why = '';
    for (let tries = 0; ; tries++) {
      signal?.throwIfAborted();
      await wait(notBefore - Date.now(), signal);
      const limit = AbortSignal.timeout(timeoutSeconds * 1000);
      let after: number | undefined;
      counts.requests++;
      const start = Date.now();
      try {
        const outcome = await attempt(signal ? AbortSignal.any([signal, limit]) : limit);
        if (!(outcome instanceof Failed)) return outcome;
        why = outcome.why;
        after = outcome.retryAfter;
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof ServerError) throw error;
        why = limit.aborted ? `no answer within ${timeoutSeconds} s` : reasonOf(error);
      } finally {
        counts.seconds += (Date.now() - start) / 1000;
      }
      if (tries >= retries)
        throw new ServerError(`${target} gave no answer after ${tries + 1} attempt${tries === 0 ? '' : 's'}; the last: ${why}`);
      if (after !== undefined && after > mostRetrySeconds)
        throw new ServerError(
          `${target} asks to be left alone for ${Math.ceil(after)} s, longer than the ${mostRetrySeconds} s that are waited: ${why}`,
        );
      counts.retries++;
      const bound = Math.min(mostRetrySeconds, retrySeconds * 2 ** tries);
      if (after !== undefined) notBefore = Math.max(notBefore, Date.now() + after * 1000);
      await wait((after ?? 0) * 1000 + Math.random() * bound * 1000, signal);
    }
  };

  const init = (body: object, signal: AbortSignal): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(apiKey && { authorization: `Bearer ${apiKey}` }), ...headers },
    body: JSON.stringify(body),
    signal,
  });

  const fetched = (target: string, body: object, signal?: AbortSignal) =>
    inTurn(() =>
      untilDone(target, signal, async (limit) => {
        const response = await send(target, init(body, limit));
        const text = await response.text();
        if (!response.ok) return refused(target, response, text, apiKey !== undefined);
        try {
          return { answer: JSON.parse(text) as unknown };
        } catch {
          return new Failed(`it answered what is not JSON: ${excerpt(text)}`);
        }
      }),
    ).then(({ answer }) => answer);

  return {
    counts,
    async post(path, body, signal) {
      const target = `${base}${path}`;
      if (!cache) return fetched(target, body, signal);
      const content = canonical({ target, body });
      const known = await cache.get(content);
      if (known !== undefined) {
        counts.cached++;
        return known;
      }
      const other = underWay.get(content);
      if (other) return other;
      const answer = fetched(target, body, signal).then(async (fresh) => {
        await cache.set(content, fresh);
        return fresh;
      });
      underWay.set(content, answer);
      return answer.finally(() => underWay.delete(content));
    },
    async *stream(path, body, signal) {
      const target = `${base}${path}`;
      const response = await inTurn(() =>
        untilDone(target, signal, async () => {
          const opened = await send(target, init(body, signal ?? new AbortController().signal));
          if (!opened.ok) return refused(target, opened, await opened.text(), apiKey !== undefined);
          return opened;
        }),
      );
      let done = false;
      try {
        for await (const data of events(response)) {
          if (data === '[DONE]') {
            done = true;
            break;
          }
          yield parsed(data, target);
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof ServerError) throw error;
        throw new ServerError(`${target} cut its stream: ${reasonOf(error)}`);
      }
      if (!done) throw new ServerError(`${target} cut its stream: it ended without [DONE]`);
    },
  };
}

/** An attempt that failed in a way that may pass. */
class Failed {
  constructor(
    readonly why: string,
    readonly retryAfter?: number,
  ) {}
}

function refused(target: string, response: Response, text: string, hasKey: boolean): Failed {
  const { status, statusText, headers } = response;
  const why = `${status}${statusText ? ` ${statusText}` : ''}: ${messageIn(text)}`;
  if (status === 408 || status === 409 || status === 429 || status >= 500) return new Failed(why, retryAfter(headers.get('retry-after')));
  const hint =
    status === 401 || status === 403
      ? hasKey
        ? '; is the key right?'
        : '; it wants a key'
      : status === 404
        ? '; is there such a model and path?'
        : '';
  throw new ServerError(`${target} refused: ${why}${hint}`, status);
}

/** Seconds, from a number of them or a date. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

function messageIn(text: string): string {
  try {
    const { error, message, detail } = JSON.parse(text) as { error?: { message?: string } | string; message?: string; detail?: unknown };
    const found =
      typeof error === 'string' ? error : (error?.message ?? message ?? (detail === undefined ? undefined : JSON.stringify(detail)));
    return excerpt(found ?? text);
  } catch {
    return excerpt(text);
  }
}

const excerpt = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}...` : text || '(nothing)');

function reasonOf(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { message?: string; code?: string } };
  return cause?.message || cause?.code || message;
}

function parsed(data: string, target: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    throw new ServerError(`${target} sent an event that is not JSON: ${excerpt(data)}`);
  }
}

/** The data of server-sent events. */
async function* events(response: Response): AsyncIterable<string> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop()!;
      for (const line of lines) if (line.startsWith('data:')) yield line.slice(5).trim();
    }
    if (rest.startsWith('data:')) yield rest.slice(5).trim();
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
  if (milliseconds <= 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

/** JSON with keys in one order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
