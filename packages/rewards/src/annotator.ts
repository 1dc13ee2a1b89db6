/** Labels that come later: an annotator works through what a policy meets while the policy goes on. */
import { type Checkpointable, CheckpointError, ConfigError, type Json, type Rng } from '@plumbline/core';
import type { PairwiseJudge, RewardFunction } from '@plumbline/data';
import { JudgeError } from './judges/ask.js';

/** Answers one label for each item, in order; null where the answer cannot be read. */
export type Annotate<Item, Label> = (items: readonly Item[], rng: Rng) => Promise<readonly (Label | null)[]>;
export type AnnotatorOptions<Item, Label> = {
  annotate: Annotate<Item, Label>;
  rng: Rng;
  /** Which of the submitted lists is served first; the newest (`lifo`) unless given. Within a list, in order. */
  order?: 'lifo' | 'fifo';
  /** Items of a call; 100 unless given. */
  batch?: number;
  /**
   * So many steps after a call its labels come, neither sooner nor later, and `poll` waits for them then: a run that can be repeated. Without it labels come when they are there, and `poll` never waits.
   */
  latencySteps?: number;
  /** Items that wait; beyond it the oldest are dropped and counted. 10,000 unless given. */
  limit?: number;
  /** The label of an answer that cannot be read. Without it such an item gets none. Counted either way. */
  unreadable?: Label;
  /** Calls that may fail in a row; 10 unless given. Items of a failed call wait again. */
  maxFailures?: number;
  /** What tells items apart: none is asked about twice. Their JSON unless given. */
  key?: (item: Item) => string;
};
export type Labelled<Item, Label> = { item: Item; label: Label };
export type AnnotatorCounts = {
  submitted: number;
  repeated: number;
  dropped: number;
  labelled: number;
  unreadable: number;
  failures: number;
};

export interface AsyncAnnotator<Item extends Json, Label> extends Checkpointable {
  /** Puts items into the queue; those that were submitted before are left out. */
  submit(items: readonly Item[]): void;
  /** At step `now`: the labels that have come, each once. Then asks about the next items, where no call is under way. Steps never fall. */
  poll(now: number): Promise<Labelled<Item, Label>[]>;
  readonly counts: Readonly<AnnotatorCounts>;
  /** Items that wait or are being asked about. */
  readonly waiting: number;
}

/**
 * A queue before an annotator, such as a language model that says which events of a game help: the policy submits what it meets, and takes up labels when they come. One call at a time.
 *
 * Zheng et al. 2024 (ONI), arXiv:2410.23022: newest first, since what the policy meets now is what it needs to know about. Its checkpoint holds the queue, what is known of, and what is being
 * asked about, which is asked again.
 *
 * @throws ConfigError for an option out of range; from `poll`: RangeError where the annotator gives another number of labels, JudgeError where it fails `maxFailures` times in a row or more than
 * half of its answers (of at least 20) cannot be read
 */
export function asyncAnnotator<Item extends Json, Label>({
  annotate,
  rng,
  order = 'lifo',
  batch = 100,
  latencySteps,
  limit = 10_000,
  unreadable,
  maxFailures = 10,
  key = JSON.stringify,
}: AnnotatorOptions<Item, Label>): AsyncAnnotator<Item, Label> {
  for (const [name, value] of Object.entries({ batch, limit, maxFailures }))
    if (!(Number.isInteger(value) && value > 0))
      throw new ConfigError(`asyncAnnotator: ${name} must be a whole number above 0, got ${value}`);
  if (latencySteps !== undefined && !(latencySteps >= 0))
    throw new ConfigError(`asyncAnnotator: latencySteps must be at least 0, got ${latencySteps}`);
  if (order !== 'lifo' && order !== 'fifo') throw new ConfigError(`asyncAnnotator: order is "${order}"; there are lifo and fifo`);
  type Call = { items: Item[]; at: number; settled: boolean; answer: Promise<readonly (Label | null)[] | Error> };
  let lists: Item[][] = []; // oldest first
  let call: Call | undefined;
  let [calls, failuresInARow, last] = [0, 0, -Infinity];
  const known = new Set<string>();
  const counts: AnnotatorCounts = { submitted: 0, repeated: 0, dropped: 0, labelled: 0, unreadable: 0, failures: 0 };
  const queued = () => lists.reduce((n, list) => n + list.length, 0);

  /** Up to `batch` items from the list that is first in turn, then from the next. */
  const take = (): Item[] => {
    const taken: Item[] = [];
    while (taken.length < batch && lists.length > 0) {
      const list = order === 'lifo' ? lists.at(-1)! : lists[0];
      taken.push(...list.splice(0, batch - taken.length));
      lists = lists.filter(({ length }) => length > 0);
    }
    return taken;
  };
  const ask = (now: number) => {
    const items = take();
    if (items.length === 0) return;
    const begun: Call = { items, at: now, settled: false, answer: Promise.resolve([]) };
    begun.answer = annotate(items, rng.fork('call', calls++))
      .catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))))
      .finally(() => {
        begun.settled = true;
      });
    call = begun;
  };
  const taken = ({ items }: Call, answer: readonly (Label | null)[] | Error): Labelled<Item, Label>[] => {
    if (answer instanceof Error) {
      counts.failures++;
      lists.push(items);
      if (++failuresInARow >= maxFailures)
        throw new JudgeError(`asyncAnnotator: the annotator failed ${failuresInARow} times in a row; the last time: ${answer.message}`, {
          cause: answer,
        });
      return [];
    }
    failuresInARow = 0;
    if (answer.length !== items.length) throw new RangeError(`asyncAnnotator: ${items.length} items were given ${answer.length} labels`);
    const labelled = items.flatMap((item, i): Labelled<Item, Label>[] => {
      const label = answer[i] ?? unreadable;
      if (answer[i] === null) counts.unreadable++;
      return label === undefined ? [] : [{ item, label }];
    });
    counts.labelled += items.length;
    if (counts.labelled >= 20 && counts.unreadable > counts.labelled / 2)
      throw new JudgeError(`asyncAnnotator: ${counts.unreadable} of ${counts.labelled} answers could not be read`);
    return labelled;
  };
  return {
    counts,
    get waiting() {
      return queued() + (call?.items.length ?? 0);
    },
    submit(items) {
      counts.submitted += items.length;
      const fresh = items.filter((item) => {
        const name = key(item);
        if (known.has(name)) return false;
        known.add(name);
        return true;
      });
      counts.repeated += items.length - fresh.length;
      if (fresh.length > 0) lists.push([...fresh]);
      for (let over = queued() - limit; over > 0; over = queued() - limit) {
        const dropped = lists[0].splice(0, over);
        for (const item of dropped) known.delete(key(item)); // it may come again
        counts.dropped += dropped.length;
        lists = lists.filter(({ length }) => length > 0);
      }
    },
    async poll(now) {
      if (!(now >= last)) throw new RangeError(`asyncAnnotator: step ${now} comes after step ${last}`);
      last = now;
      let labels: Labelled<Item, Label>[] = [];
      const ready = call && (latencySteps === undefined ? call.settled : now >= call.at + latencySteps);
      if (call && ready) {
        const done = call;
        const answer = await done.answer;
        call = undefined;
        labels = taken(done, answer);
      }
      if (!call) ask(now);
      return labels;
    },
    async save() {
      const pending = call ? [...lists, call.items] : lists;
      return { tensors: {}, json: { lists: pending.map((list) => [...list]), known: [...known], counts: { ...counts }, calls } };
    },
    async load({ json }) {
      const saved = json as unknown as { lists: Item[][]; known: string[]; counts: AnnotatorCounts; calls: number };
      if (!Array.isArray(saved?.lists) || !Array.isArray(saved.known))
        throw new CheckpointError('asyncAnnotator: this is no state of an annotator');
      lists = saved.lists.map((list) => [...list]);
      known.clear();
      for (const name of saved.known) known.add(name);
      Object.assign(counts, saved.counts);
      calls = saved.calls;
      [call, failuresInARow, last] = [undefined, 0, -Infinity];
    },
  };
}

/** Labels of texts by a reward, such as `yesNoJudge`: 1 where it scores above `threshold` (0.5), else 0; unread where it abstains. `prompt` says what the texts are. */
export function labelsByReward(reward: RewardFunction, prompt: string, { threshold = 0.5 } = {}): Annotate<string, 0 | 1> {
  return async (texts, rng) => {
    const { scores, abstained } = await reward.score(
      texts.map((completion) => ({ prompt, completion })),
      { rng },
    );
    return texts.map((_, i) => (abstained?.[i] === 1 ? null : scores[i] > threshold ? 1 : 0));
  };
}

/** Which of two texts is the better one, by a judge of pairs: 1 the first, 0 the second, 0.5 a tie: the soft labels of `bradleyTerryLoss`. */
export function labelsByPairs(judge: PairwiseJudge, prompt: string): Annotate<[string, string], 0 | 0.5 | 1> {
  return async (pairs, rng) => {
    const verdicts = await judge.compare(
      pairs.map(([a, b]) => ({ prompt, a, b })),
      { rng },
    );
    return verdicts.map(({ parsed, winner }) => (parsed ? ({ a: 1, tie: 0.5, b: 0 } as const)[winner] : null));
  };
}
