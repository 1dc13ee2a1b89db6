import type { Checkpointable, Saved } from '../types.js';
import { type ContractCase, copyOf, ensure, ensureThrows, savedDifference } from './case.js';

/**
 * What every `Checkpointable` keeps.
 *
 * @param make   builds the part as it is at the start of a run; each call builds another one
 * @param change moves it to another state, as a step does
 */
export function checkpointableContract<P extends Checkpointable>(
  make: () => P | Promise<P>,
  change: (part: P) => void | Promise<void>,
): ContractCase[] {
  const changed = async (): Promise<{ part: P; saved: Saved }> => {
    const part = await make();
    await change(part);
    return { part, saved: await part.save() };
  };
  const same = (a: Saved, b: Saved, message: string) => {
    const difference = savedDifference(a, b);
    ensure(difference === undefined, `${message}: ${difference}`);
  };
  return [
    {
      name: 'saves another state after a change',
      run: async () => {
        const { saved } = await changed();
        ensure(
          savedDifference(await (await make()).save(), saved) !== undefined,
          'the state is the same before and after a change: nothing is saved',
        );
      },
    },
    {
      name: 'brings its state back bit for bit, through JSON',
      run: async () => {
        const { saved } = await changed();
        const other = await make();
        await other.load(copyOf(saved));
        same(saved, await other.save(), 'what was loaded is not what was saved');
      },
    },
    {
      name: 'goes on from what it loaded as from what it saved',
      run: async () => {
        const { part, saved } = await changed();
        const other = await make();
        await other.load(copyOf(saved));
        await change(part);
        await change(other);
        same(await part.save(), await other.save(), 'the same change leads elsewhere after a load');
      },
    },
    {
      name: 'saves copies, and keeps none of the arrays that it loads',
      run: async () => {
        const { part, saved } = await changed();
        const before = copyOf(saved);
        for (const { data } of Object.values(saved.tensors)) data.fill(1);
        same(before, await part.save(), 'writing into what was saved changes the part');
        const loaded = copyOf(before);
        await part.load(loaded);
        for (const { data } of Object.values(loaded.tensors)) data.fill(1);
        same(before, await part.save(), 'writing into what was loaded changes the part');
      },
    },
    {
      name: 'saves as many numbers as the shapes say',
      run: async () => {
        for (const [name, { shape, data }] of Object.entries((await changed()).saved.tensors))
          ensure(data.length === shape.reduce((a, b) => a * b, 1), `"${name}" is [${shape}] and has ${data.length} numbers`);
      },
    },
    {
      name: 'refuses tensors whose data does not fill their shape, and then changes nothing',
      run: async () => {
        const { part, saved } = await changed();
        const names = Object.keys(saved.tensors);
        const last = names.at(-1); // the last, so that those before it would have been loaded
        if (last === undefined) return;
        const fresh = copyOf(await (await make()).save());
        const before = copyOf(saved);
        const damaged: Saved = { ...copyOf(saved), tensors: { ...copyOf(saved).tensors, ...fresh.tensors } };
        const { shape, data } = damaged.tensors[last];
        damaged.tensors[last] = { shape: [...shape], data: data.slice(1) };
        await ensureThrows(() => part.load(damaged), `a tensor "${last}" without its first number`);
        same(before, await part.save(), 'a load that was refused has changed the part');
      },
    },
  ];
}
