import type { Rng } from '../types.js';
import { bitDifference, type ContractCase, ensure, ensureThrows } from './case.js';

/** What every `Rng` keeps; `make` builds the generator of a seed. */
export function rngContract(make: (seed: number) => Rng): ContractCase[] {
  const differ = (a: ArrayLike<number>, b: ArrayLike<number>) => bitDifference(a, b) >= 0;
  return [
    {
      name: 'gives equal streams for equal seeds, and others for others',
      run: async () => {
        const draw = (r: Rng) => [...r.uniform(7), ...r.normal(5), r.below(1000), ...r.permutation(9), r.categorical([1, 2, 3])];
        ensure(!differ(draw(make(1)), draw(make(1))), 'seed 1 gives two streams');
        ensure(differ(draw(make(1)), draw(make(2))), 'seeds 1 and 2 give one stream');
        const { seed32 } = make(1);
        ensure(make(1).seed32 === seed32 && make(2).seed32 !== seed32, 'seed32 is not that of the seed');
        ensure(Number.isInteger(seed32) && seed32 >= 0 && seed32 < 2 ** 32, `seed32 is ${seed32}`);
        const stream = make(1);
        ensure(differ(stream.uniform(8), stream.uniform(8)), 'a stream repeats itself');
      },
    },
    {
      name: 'forks by seed and path alone, whatever was drawn before',
      run: async () => {
        const used = make(1);
        used.uniform(3);
        used.fork('other').uniform(2);
        ensure(!differ(used.fork('a', 3).uniform(8), make(1).fork('a', 3).uniform(8)), 'a fork depends on what was drawn before');
        const continued = make(1);
        continued.fork('a').uniform(4);
        ensure(!differ(continued.uniform(8), make(1).uniform(8)), 'a fork draws from its origin');
      },
    },
    {
      name: 'gives each path a stream of its own',
      run: async () => {
        const root = make(1);
        const paths: (string | number)[][] = [['a'], ['b'], ['a', 0], ['a', 1], [0], ['0'], ['a', 'b'], ['ab'], ['b', 'a']];
        const firsts = [make(1), ...paths.map((path) => root.fork(...path))].map((r) => [...r.uniform(2)].join());
        ensure(new Set(firsts).size === firsts.length, 'two paths give one stream');
      },
    },
    {
      name: 'draws uniforms in [0, 1) and normals with their mean and variance',
      run: async () => {
        const n = 20_000;
        const [u, z] = [make(3).uniform(n), make(4).normal(n)];
        ensure(u.length === n && z.length === n, `asked for ${n} numbers, got ${u.length} and ${z.length}`);
        ensure(
          u.every((x) => x >= 0 && x < 1),
          'a uniform is outside [0, 1)',
        );
        const mean = (x: Float32Array, f: (v: number) => number) => x.reduce((s, v) => s + f(v), 0) / x.length;
        const near = (value: number, expected: number, deviation: number, what: string) =>
          ensure(Math.abs(value - expected) < (6 * deviation) / Math.sqrt(n), `${what} is ${value} where ${expected} belongs`);
        near(
          mean(u, (x) => x),
          1 / 2,
          Math.sqrt(1 / 12),
          'the mean of the uniforms',
        );
        near(
          mean(u, (x) => x * x),
          1 / 3,
          Math.sqrt(4 / 45),
          'the mean square of the uniforms',
        );
        near(
          mean(z, (x) => x),
          0,
          1,
          'the mean of the normals',
        );
        near(
          mean(z, (x) => x * x),
          1,
          Math.SQRT2,
          'the mean square of the normals',
        );
        near(
          mean(z, (x) => x ** 4),
          3,
          Math.sqrt(96),
          'the fourth moment of the normals',
        );
      },
    },
    {
      name: 'draws whole numbers, orders and categories evenly',
      run: async () => {
        const draw = make(5);
        const n = 12_000;
        const even = (index: () => number, shares: number[], what: string) => {
          const counts = shares.map(() => 0);
          for (let i = 0; i < n; i++) {
            const k = index();
            ensure(Number.isInteger(k) && k >= 0 && k < shares.length, `${what} is ${k}`);
            counts[k]++;
          }
          counts.forEach((count, k) => {
            const bound = 6 * Math.sqrt(n * shares[k] * (1 - shares[k]));
            ensure(
              Math.abs(count - n * shares[k]) <= bound,
              `${what} is ${k} in ${count} of ${n} draws where ${n * shares[k]} are expected`,
            );
          });
        };
        even(() => draw.below(3), [1 / 3, 1 / 3, 1 / 3], 'below(3)');
        even(() => draw.permutation(4)[0], [0.25, 0.25, 0.25, 0.25], 'the first of permutation(4)');
        even(() => draw.permutation(4).indexOf(3), [0.25, 0.25, 0.25, 0.25], 'the place of 3 in permutation(4)');
        even(() => draw.categorical([0, 1, 3, 0]), [0, 0.25, 0.75, 0], 'categorical([0, 1, 3, 0])');
        const order = draw.permutation(50);
        ensure(
          !differ(
            [...order].sort((a, b) => a - b),
            Array.from({ length: 50 }, (_, i) => i),
          ),
          'permutation(50) is none',
        );
      },
    },
    {
      name: 'refuses what cannot be drawn',
      run: async () => {
        await ensureThrows(() => make(1).below(0), 'below(0)');
        await ensureThrows(() => make(1).categorical([0, 0]), 'categorical without a positive weight');
        await ensureThrows(() => make(1).categorical([1, Number.NaN]), 'categorical with a weight that is no number');
        await ensureThrows(() => make(1).categorical([1, -1]), 'categorical with a negative weight');
      },
    },
  ];
}
