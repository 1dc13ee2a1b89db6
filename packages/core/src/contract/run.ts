import { NonFiniteError } from '../errors.js';
import { rng } from '../rng.js';
import type { Checkpointable, Run, Saved } from '../types.js';
import { bitDifference, type ContractCase, ensure, ensureThrows } from './case.js';

/** A part that counts, and remembers how often it was loaded. */
function counter(value = 0): Checkpointable & { value: number; loads: number } {
  const part = {
    value,
    loads: 0,
    save: async (): Promise<Saved> => ({
      tensors: { value: { shape: [1], data: Float32Array.of(part.value) } },
      json: { kind: 'counter' },
    }),
    load: async (saved: Saved) => {
      if (!(saved.tensors.value?.data instanceof Float32Array)) throw new Error('no counter');
      part.value = saved.tensors.value.data[0];
      part.loads++;
    },
  };
  return part;
}

/**
 * What every `Run` keeps.
 *
 * @param open opens a new run with `seed`, and says how to come back to it as a later process would
 */
export function runContract(open: (seed: number) => Promise<{ run: Run; reopen(): Promise<Run>; close(): Promise<void> }>): ContractCase[] {
  const withRun = (f: (run: Run, reopen: () => Promise<Run>) => Promise<void>) => async () => {
    const { run, reopen, close } = await open(1);
    try {
      await f(run, reopen);
    } finally {
      await close();
    }
  };
  return [
    {
      name: 'begins at step 0 and loads nothing',
      run: withRun(async (run) => {
        const part = counter(5);
        ensure((await run.restore({ part })) === 0, 'a new run does not begin at step 0');
        ensure(part.loads === 0 && part.value === 5, 'a new run loads something');
        ensure(run.saveEvery >= 1, `saveEvery is ${run.saveEvery}`);
        ensure(!run.signal.aborted, 'a new run is aborted');
      }),
    },
    {
      name: 'goes on from the newest checkpoint, with its parts as they were saved',
      run: withRun(async (run, reopen) => {
        const [a, b] = [counter(1), counter(10)];
        await run.save(2, { a, b });
        a.value = 2;
        b.value = 20;
        await run.save(4, { a, b });
        a.value = 3;
        const [c, d] = [counter(), counter()];
        const step = await (await reopen()).restore({ a: c, b: d });
        ensure(step === 4, `restore answers step ${step} where 4 was saved last`);
        ensure(c.value === 2 && d.value === 20, `restored are ${c.value} and ${d.value} where 2 and 20 were saved`);
      }),
    },
    {
      name: 'loads all parts or none, and names the one that does not fit',
      run: withRun(async (run, reopen) => {
        await run.save(2, { first: counter(1), second: counter(2) });
        const again = await reopen();
        const first = counter(7);
        const second: Checkpointable = { save: counter().save, load: async () => Promise.reject(new Error('another shape')) };
        const message = await ensureThrows(() => again.restore({ first, second }), 'a part that refuses its state');
        ensure(message.includes('second') && message.includes('another shape'), `the message "${message}" does not say which part and why`);
        ensure(first.value === 7, 'the first part is loaded although the second is not');
        await ensureThrows(() => again.restore({ first }), 'a checkpoint with a part that nobody asks for');
        await ensureThrows(
          () => again.restore({ first, second: counter(), third: counter() }),
          'a checkpoint without a part that is asked for',
        );
      }),
    },
    {
      name: 'saves the state and names step, rows and values where a number is not finite',
      run: withRun(async (run, reopen) => {
        let error: unknown;
        await run.fail(3, { rows: ['row-8'], values: { loss: Number.NaN, gradNorm: 1.5 } }, { part: counter(6) }).catch((e) => {
          error = e;
        });
        ensure(error instanceof NonFiniteError, `fail throws ${String(error)}, which is no NonFiniteError`);
        for (const part of ['step 3', 'row-8', 'loss', 'NaN'])
          ensure(error.message.includes(part), `the message "${error.message}" does not say "${part}"`);
        const part = counter();
        ensure((await (await reopen()).restore({ part })) === 3 && part.value === 6, 'the state before the step is not saved');
      }),
    },
    {
      name: 'gives the stream of its seed',
      run: withRun(async (run, reopen) => {
        const expected = rng(1).fork('x').uniform(4);
        ensure(bitDifference(run.rng.fork('x').uniform(4), expected) < 0, 'the stream is not that of the seed');
        ensure(
          bitDifference((await reopen()).rng.fork('x').uniform(4), expected) < 0,
          'the stream is another when the run is gone on with',
        );
      }),
    },
    {
      name: 'takes numbers that are not finite, and metrics that are not there',
      run: withRun(async (run) => {
        run.log(0, { loss: Number.NaN, gradNorm: Infinity, accuracy: undefined });
        run.log(1, {});
        await ensureThrows(() => run.log(-1, { loss: 1 }), 'a step of -1');
      }),
    },
  ];
}
