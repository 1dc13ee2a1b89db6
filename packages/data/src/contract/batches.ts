import type { Batches } from '../interfaces.js';
import { type ContractCase, ensure, ensureThrows } from './case.js';

/**
 * What every `Batches` keeps: a batch is a function of seed and step. `make(seed)` builds them anew. `differs: false` where the seed has
 * nothing to decide.
 */
export function batchesContract<B>(make: (seed: number) => Batches<B>, { differs = true }: { differs?: boolean } = {}): ContractCase[] {
  const text = (batch: B): string =>
    JSON.stringify(batch, (_, value) => (ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<number>) : value));
  const cases: ContractCase[] = [
    {
      name: 'gives the same batch for the same seed and step, in whatever order the steps are asked for',
      run: async () => {
        const batches = make(1);
        const forwards: string[] = [];
        for (let step = 0; step < batches.steps; step++) forwards.push(text(await batches.at(step)));
        const other = make(1);
        for (let step = batches.steps - 1; step >= 0; step--) {
          ensure(text(await other.at(step)) === forwards[step], `step ${step} depends on the steps asked for before it`);
        }
        ensure(text(await batches.at(0)) === forwards[0], 'step 0 is another batch once later steps were seen');
      },
    },
    {
      name: 'refuses steps that are not there',
      run: async () => {
        const batches = make(1);
        ensure(Number.isInteger(batches.steps) && batches.steps > 0, `steps is ${batches.steps}`);
        await ensureThrows(() => batches.at(batches.steps), `step ${batches.steps} of ${batches.steps}`);
        await ensureThrows(() => batches.at(-1), 'step -1');
      },
    },
    {
      name: 'gives a batch that its receiver may change',
      run: async () => {
        const batches = make(1);
        const first = await batches.at(0);
        const before = text(first);
        overwrite(first);
        ensure(text(await batches.at(0)) === before, 'what one receiver did to its batch shows in the next');
      },
    },
  ];
  if (!differs) return cases;
  return [
    ...cases,
    {
      name: 'gives other batches for another seed',
      run: async () => {
        const [one, two] = [make(1), make(2)];
        for (let step = 0; step < one.steps; step++) if (text(await one.at(step)) !== text(await two.at(step))) return;
        ensure(false, 'seeds 1 and 2 give the same batches at every step');
      },
    },
  ];
}

/** Every number array in it, however deep, is filled with another number. */
function overwrite(value: unknown): void {
  if (value instanceof Int32Array || value instanceof Float32Array || value instanceof Uint8Array) value.fill(7);
  else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) overwrite(inner);
}
