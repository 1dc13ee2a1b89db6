import { createParameters, gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import { fixturePath, largestError, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { davidsonLoss } from './davidson.js';
import { rewardLoss, rewardLosses } from './index.js';
import { multiAttributeLoss, presentWeight } from './multiAttribute.js';
import { lengthPenaltyTerm, odinLoss } from './odin.js';
import { cumulativeLinkLoss, gradeProbabilities, pairwiseOrdinalLoss } from './ordinal.js';
import { outcomeLoss } from './outcome.js';
import { pairwiseLoss } from './pairwise.js';
import { listwisePairsLoss } from './plackettLuce.js';
import { raoKupperLoss } from './raoKupper.js';
import { stepLoss, tokenStepLoss } from './step.js';
import { ascendingThresholds, rawThresholds, symmetricThresholds } from './thresholds.js';

const read = async (x: tf.Tensor) => [...(await readCopy(x))];
const one = (...values: number[]) => tf.tensor1d(values);
const close = (actual: number[], expected: number[], digits = 5) => {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, i) => void expect(value).toBeCloseTo(expected[i], digits));
};
type Inputs = Record<string, { shape: number[]; data: number[] }>;

/** Value and gradients of a sum. */
async function gradientsOf(inputs: Inputs, f: (x: Record<string, tf.Tensor>) => tf.Tensor) {
  const tree = createParameters(
    Object.fromEntries(Object.entries(inputs).map(([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data) }])),
  );
  const parameters = Object.keys(inputs).map((name) => tree.get(name) as Parameter);
  const { loss, grads } = gradients(
    () => ({ loss: tf.sum(f(Object.fromEntries(parameters.map((p) => [p.name, p.value])))) as tf.Scalar }),
    parameters,
  );
  const value = (await readCopy(loss))[0];
  const out = Object.fromEntries(
    await Promise.all(parameters.map(async (p) => [p.name, grads.get(p) ? [...(await readCopy(grads.get(p)!))] : []] as const)),
  );
  tree.dispose();
  tf.dispose([loss, ...grads.values()]);
  return { value, grads: out };
}

/** Gradients against central differences of the sum. */
async function checkGradients(inputs: Inputs, f: (x: Record<string, tf.Tensor>) => tf.Tensor, digits = 3) {
  const { grads } = await gradientsOf(inputs, f);
  for (const [name, { data }] of Object.entries(inputs))
    for (let i = 0; i < data.length; i++) {
      const at = async (by: number) =>
        (await gradientsOf({ ...inputs, [name]: { ...inputs[name], data: data.map((x, j) => (j === i ? x + by : x)) } }, f)).value;
      expect(grads[name][i], `${name}[${i}]`).toBeCloseTo(((await at(0.01)) - (await at(-0.01))) / 0.02, digits);
    }
}

function leavesNothing(f: () => tf.TensorContainer) {
  const before = tf.memory().numTensors;
  tf.dispose(f());
  expect(tf.memory().numTensors).toBe(before);
}

describe('cumulativeLinkLoss', () => {
  it('is minus the log-probability of the grade', async () => {
    close(await read(cumulativeLinkLoss({ score: one(0.3), labels: [2], thresholds: one(-1, 0, 1, 2) })), [1.416216]);
    const probabilities = gradeProbabilities(0.3, [-1, 0, 1, 2]);
    close(probabilities, [0.214165, 0.211392, 0.24263, 0.177347, 0.154465]);
    expect(probabilities.reduce((sum, p, k) => sum + k * p, 0)).toBeCloseTo(1.846555, 5);
    const score = one(0.3, 0.3, 0.3, 0.3, 0.3);
    const losses = await read(cumulativeLinkLoss({ score, labels: [0, 1, 2, 3, 4], thresholds: one(-1, 0, 1, 2) }));
    close(
      losses.map((loss) => Math.exp(-loss)),
      probabilities,
    );
  });
  it('is finite and linear where both σ saturate', async () => {
    close(
      await read(cumulativeLinkLoss({ score: one(200, -200, 200), labels: [1, 1, 2], thresholds: one(-1, 1) })),
      [199 - Math.log(1 - Math.exp(-2)), 199 - Math.log(1 - Math.exp(-2)), 0],
      3,
    );
  });
  it('has gradients that agree with central differences, thresholds too', () =>
    checkGradients({ score: { shape: [4], data: [0.3, -1.2, 0.8, 2] }, raw: { shape: [3], data: [-1, 0.2, 0.7] } }, ({ score, raw }) =>
      cumulativeLinkLoss({ score: score as tf.Tensor1D, labels: [2, 0, 3, 1], thresholds: ascendingThresholds(raw as tf.Tensor1D) }),
    ));
  it('names the label that is none, and leaves nothing', () => {
    expect(() => cumulativeLinkLoss({ score: one(1), labels: [3], thresholds: one(0, 1) })).toThrow(
      'label 0 is 3, not a whole number from 0 to 2',
    );
    expect(() => cumulativeLinkLoss({ score: one(1, 2), labels: [0], thresholds: one(0) })).toThrow('1 labels');
    const [score, thresholds] = [one(1, 2), one(0, 1)];
    leavesNothing(() => cumulativeLinkLoss({ score, labels: [0, 1], thresholds }));
  });
});

describe('thresholds', () => {
  it('ascend whatever the raw numbers are, and come back', async () => {
    close(await read(ascendingThresholds(tf.tensor1d(rawThresholds([-1, 0, 0.5, 3])))), [-1, 0, 0.5, 3]);
    const wild = await read(ascendingThresholds(one(5, -8, 2, -3)));
    expect(wild.every((value, k) => k === 0 || value > wild[k - 1])).toBe(true);
    expect(() => rawThresholds([0, 0])).toThrow('thresholds must be finite and ascending, got [0, 0]');
  });
  it('are symmetric about 0 where they belong to a difference', async () => {
    const [four, three] = [await read(symmetricThresholds(one(0, 1), 4)), await read(symmetricThresholds(one(0), 3))];
    expect(four[0]).toBeCloseTo(-four[3], 6);
    expect(four[1]).toBeCloseTo(-four[2], 6);
    close(three, [-Math.LN2, 0, Math.LN2]);
  });
});

describe('pairwiseOrdinalLoss', () => {
  it('grades the difference', async () => {
    const five = { chosen: one(0.8, 0.8, 0.8, 0.8, 0.8), rejected: one(0, 0, 0, 0, 0) };
    const losses = await read(pairwiseOrdinalLoss({ ...five, labels: [0, 1, 2, 3, 4], thresholds: one(-1.5, -0.5, 0.5, 1.5) }));
    close(
      losses.map((loss) => Math.exp(-loss)),
      [0.091123, 0.123042, 0.211392, 0.24263, 0.331812],
    );
  });
  it('mirrors the grades where the sides swap', async () => {
    const thresholds = one(-1.5, -0.5, 0.5, 1.5);
    const there = await read(pairwiseOrdinalLoss({ chosen: one(1), rejected: one(0.3), labels: [3], thresholds }));
    close(await read(pairwiseOrdinalLoss({ chosen: one(0.3), rejected: one(1), labels: [1], thresholds })), there);
  });
});

describe('losses with ties', () => {
  const [chosen, rejected] = [one(1, 1, 0.2), one(0.2, 0.2, 1)];
  it("are Rao and Kupper's probabilities", async () => {
    const losses = await read(raoKupperLoss({ chosen, rejected, ties: [0, 1, 0] }, { theta: 1.5 }));
    close(
      losses.map((loss) => Math.exp(-loss)),
      [0.597374, 0.172122, 0.230504],
    );
  });
  it("are Davidson's probabilities", async () => {
    const losses = await read(davidsonLoss({ chosen, rejected, ties: [0, 1, 0] }, { nu: 0.8 }));
    close(
      losses.map((loss) => Math.exp(-loss)),
      [0.50363, 0.270075, 0.226296],
    );
  });
  it('are Bradley-Terry at θ = 1 and ν = 0, where a tie is an error', async () => {
    const expected = [0.371101, 0.371101, 1.171101]; // log(1 + exp(-0.8)), log(1 + exp(0.8))
    close(await read(raoKupperLoss({ chosen, rejected }, { theta: 1 })), expected);
    close(await read(davidsonLoss({ chosen, rejected }, { nu: 0 })), expected);
    expect(() => raoKupperLoss({ chosen, rejected, ties: [1, 0, 0] }, { theta: 1 })).toThrow('a tie has no probability');
    expect(() => davidsonLoss({ chosen, rejected, ties: [1, 0, 0] }, { nu: 0 })).toThrow('a tie has no probability');
    expect(() => raoKupperLoss({ chosen, rejected }, { theta: 0.5 })).toThrow('theta must be at least 1, got 0.5');
    expect(() => davidsonLoss({ chosen, rejected, ties: [2, 0, 0] })).toThrow('tie 0 is 2');
  });
  it('have gradients that agree with central differences, and stay finite far out', async () => {
    const inputs = { c: { shape: [3], data: [1, 0.4, -2] }, r: { shape: [3], data: [0.2, 0.5, 1] } };
    for (const loss of [raoKupperLoss, davidsonLoss])
      await checkGradients(inputs, ({ c, r }) => loss({ chosen: c as tf.Tensor1D, rejected: r as tf.Tensor1D, ties: [0, 1, 0] }));
    close(await read(raoKupperLoss({ chosen: one(-300), rejected: one(300) }, { theta: 2 })), [600 + Math.LN2], 2);
    close(await read(davidsonLoss({ chosen: one(-300), rejected: one(300) })), [600], 2);
    leavesNothing(() => [raoKupperLoss({ chosen, rejected }), davidsonLoss({ chosen, rejected })]);
  });
});

describe('multiAttributeLoss', () => {
  const predictions = tf.tensor2d([3, 2, 1, 4], [2, 2]);
  it('is the mean of squares over what is present', async () => {
    const targets = [4, NaN, 1, 2];
    const losses = await read(multiAttributeLoss({ predictions, targets }));
    close(losses, [1, 4]);
    expect((losses[0] + losses[1]) / presentWeight(targets, 2)).toBeCloseTo(1.666667, 6);
  });
  it('weights attributes, whose weights are the denominator', async () => {
    const weights = { attributeWeights: [3, 1] };
    close(await read(multiAttributeLoss({ predictions, targets: [4, NaN, 1, 2] }, weights)), [3, 4]);
    expect(presentWeight([4, NaN, 1, 2], 2, [3, 1])).toBe(7);
  });
  it('gives an absent target no gradient', async () => {
    const { grads } = await gradientsOf({ p: { shape: [2, 2], data: [3, 2, 1, 4] } }, ({ p }) =>
      multiAttributeLoss({ predictions: p as tf.Tensor2D, targets: [4, NaN, 1, 2] }),
    );
    expect(grads.p).toEqual([-2, 0, 0, 4]);
  });
  it('names what is wrong, and leaves nothing', () => {
    expect(() => multiAttributeLoss({ predictions, targets: [1] })).toThrow('there are 1 targets');
    expect(() => multiAttributeLoss({ predictions, targets: [1, 2, Infinity, 3] })).toThrow('item 1, attribute 0 is Infinity');
    expect(() => presentWeight([1], 1, [0])).toThrow('add up to 0');
    leavesNothing(() => multiAttributeLoss({ predictions, targets: [4, NaN, 1, 2] }));
  });
});

describe('outcomeLoss and pairwiseLoss', () => {
  it('are cross-entropies', async () => {
    close(await read(outcomeLoss({ logits: one(0, 2, 2), labels: [1, 1, 0.5] })), [Math.LN2, 0.126928, 1.126928]);
    close(await read(pairwiseLoss({ logits: tf.tensor2d([0, 2, 1, 0, 0, 0], [3, 2]), labels: [1, 0, 1] })), [0.126928, 0.313262, Math.LN2]);
    close(await read(pairwiseLoss({ logits: tf.tensor2d([0, 0, 0], [1, 3]), labels: [2] })), [Math.log(3)]);
  });
  it('have gradients that agree with central differences', async () => {
    await checkGradients({ z: { shape: [3], data: [0.5, -1, 2] } }, ({ z }) =>
      outcomeLoss({ logits: z as tf.Tensor1D, labels: [1, 0, 0.3] }),
    );
    await checkGradients({ z: { shape: [2, 3], data: [0.5, -1, 2, 0, 1, -1] } }, ({ z }) =>
      pairwiseLoss({ logits: z as tf.Tensor2D, labels: [2, 0] }),
    );
  });
  it('name the label that is wrong, and leave nothing', () => {
    expect(() => outcomeLoss({ logits: one(1), labels: [2] })).toThrow('label 0 is 2, outside of [0, 1]');
    expect(() => pairwiseLoss({ logits: tf.tensor2d([1, 2], [1, 2]), labels: [2] })).toThrow('label 0 is 2');
    const [logits, two] = [one(1, 2), tf.tensor2d([1, 2], [1, 2])];
    leavesNothing(() => [outcomeLoss({ logits, labels: [1, 0] }), pairwiseLoss({ logits: two, labels: [0] })]);
  });
});

describe('stepLoss', () => {
  it('is two-class cross-entropy of each labelled step', async () => {
    const logits = tf.tensor2d([0, 2, 1, 0, 0, 0], [3, 2]);
    const losses = await read(stepLoss({ logits, labels: [1, 0, 1] }));
    close(losses, [0.126928, 0.313262, Math.LN2]);
    expect(losses.reduce((a, b) => a + b, 0) / 3).toBeCloseTo(0.377779, 6);
    close(await read(stepLoss({ logits, labels: [1, NaN, -100] })), [0.126928, 0, 0]);
    close(await read(stepLoss({ logits: tf.tensor2d([2, -1, 0], [3, 1]), labels: [1, 0, 1] })), losses); // the differences alone
  });
  it('is the masked sigmoid form: 0.228393 for probabilities .9, .8, .3 against 1, 1, 0', async () => {
    const logits = tf.tensor2d(
      [0.9, 0.8, 0.3].map((p) => Math.log(p / (1 - p))),
      [3, 1],
    );
    const losses = await read(stepLoss({ logits, labels: [1, 1, 0] }));
    expect(losses.reduce((a, b) => a + b, 0) / 3).toBeCloseTo(0.228393, 6);
  });
  it('takes rates, whose best logit is their log-odds', async () => {
    const { grads } = await gradientsOf({ z: { shape: [1, 1], data: [Math.log(0.25 / 0.75)] } }, ({ z }) =>
      stepLoss({ logits: z as tf.Tensor2D, labels: [0.25] }),
    );
    expect(grads.z[0]).toBeCloseTo(0, 6);
  });
  it('reads + and - at a step tag', async () => {
    const logits = tf.tensor2d([9, 0, 2, 9, 1, 0], [2, 3]);
    close(await read(tokenStepLoss({ logits, labels: [1, 0] }, { right: 2, wrong: 1 })), [0.126928, 0.313262]); // the 9s do not count
    expect(() => tokenStepLoss({ logits, labels: [1, 0] }, { right: 3, wrong: 1 })).toThrow('right is 3, no token of 3');
  });
  const prm = fixturePath('losses/prm.json');
  it.skipIf(!prm)(
    `agrees with the recorded PRM loss in value and gradients${prm ? '' : ' (skipped: the fixtures are not here)'}`,
    async () => {
      const { inputs, loss, grad } = readFixture<{ inputs: { logits: number[][]; labels: number[] }; loss: number; grad: number[][] }>(
        prm!,
      );
      const labelled = inputs.labels.filter((label) => label !== -100).length;
      const found = await gradientsOf({ z: { shape: [inputs.labels.length, 2], data: inputs.logits.flat() } }, ({ z }) =>
        tf.div(stepLoss({ logits: z as tf.Tensor2D, labels: inputs.labels }), labelled),
      );
      expect(largestError([found.value], [loss])).toBeLessThan(1e-5);
      expect(largestError(found.grads.z, grad.flat())).toBeLessThan(1e-5);
    },
  );
  it('is linear in the tails, names the label that is wrong, and leaves nothing', async () => {
    const logits = tf.tensor2d([500, -500, -500, 500], [2, 2]);
    close(await read(stepLoss({ logits, labels: [1, 1] })), [1000, 0], 3);
    expect(() => stepLoss({ logits, labels: [1, 2] })).toThrow('label 1 is 2, outside of [0, 1]');
    leavesNothing(() => stepLoss({ logits, labels: [1, NaN] }));
  });
});

describe('odinLoss', () => {
  it('has the length term and the cosine worked out by hand', async () => {
    const [quality, length] = [one(0.2, 0.1, 0.6, 0.5, 0.9), one(1, 2, 2.5, 4, 5)];
    close(await read(lengthPenaltyTerm(quality, length, [10, 20, 30, 40, 50])!), [-0.103351]);
    const pair = { chosen: one(1), rejected: one(1) };
    const equal = { quality: pair, length: pair, tokens: { chosen: [7], rejected: [7] } };
    const { loss, penalty } = odinLoss({ ...equal, heads: { quality: one(1, 2, 0), length: one(2, 0, 1) } });
    close(await read(loss), [Math.LN2]);
    close(await read(penalty), [0.4]);
    close(await read(odinLoss(equal).penalty), [0]); // one length: no correlation
  });
  it('is Bradley-Terry on the sum of the heads', async () => {
    const inputs = {
      quality: { chosen: one(1, 0.5), rejected: one(0, 0) },
      length: { chosen: one(0, 0.5), rejected: one(0, 2) },
      tokens: { chosen: [3, 4], rejected: [5, 6] },
    };
    close(await read(odinLoss(inputs).loss), [0.313262, 1.313262]);
  });
  it('has gradients that agree with central differences, and leaves nothing', async () => {
    const draw = rng(3);
    const four = () => ({ shape: [4], data: [...draw.normal(4)] });
    const tokens = { chosen: [3, 9, 4, 7], rejected: [8, 2, 6, 5] };
    const f = (x: Record<string, tf.Tensor>) => {
      const at = x as Record<string, tf.Tensor1D>;
      const { loss, penalty } = odinLoss({
        quality: { chosen: at.a, rejected: at.b },
        length: { chosen: at.c, rejected: at.d },
        tokens,
        heads: { quality: at.e, length: at.f },
      });
      return tf.add(tf.sum(loss), penalty);
    };
    await checkGradients({ a: four(), b: four(), c: four(), d: four(), e: four(), f: four() }, f);
    const inputs = {
      quality: { chosen: one(1), rejected: one(0) },
      length: { chosen: one(1), rejected: one(0) },
      tokens: { chosen: [1], rejected: [2] },
    };
    leavesNothing(() => odinLoss(inputs));
    expect(() => odinLoss(inputs, { lambdaLength: -1 })).toThrow('lambdaLength must be >= 0, got -1');
  });
});

describe('the record of losses', () => {
  it('lists what there is where a name is wrong', () => {
    // @ts-expect-error a wrong name does not compile
    expect(rewardLosses.bradleyTery).toBeUndefined();
    expect(() => rewardLoss('bradleyTery')).toThrow(/there is no reward loss "bradleyTery"; there are bradley_terry, .*step/);
    expect(rewardLoss('odin')).toBe(rewardLosses.odin);
    expect(() => rewardLoss('toString')).toThrow('there is no reward loss');
  });
  it('is listwisePairsLoss for every pair of a ranking', async () => {
    expect((await read(listwisePairsLoss(one(2, 1, 0))))[0]).toBeCloseTo(0.25115, 6);
  });
});
