import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { pointMass } from '../testing/pointMass.js';
import { costOf } from './costs.js';
import { type MpcModel, type PredictiveSamplerOptions, predictiveSampler } from './predictiveSampler.js';

const at = (model: MpcModel) => model.getState();
const toOrigin = costOf<MpcModel>([
  { name: 'position', weight: 1, norm: 'quadratic', residual: (model) => [at(model)[0]] },
  { name: 'velocity', weight: 0.1, norm: 'quadratic', residual: (model) => [at(model)[1]] },
]);
const sampler = (options: Partial<PredictiveSamplerOptions> = {}) =>
  predictiveSampler({
    model: pointMass(),
    cost: toOrigin,
    controls: { low: [-1], high: [1] },
    stepSeconds: 0.05,
    horizonSeconds: 1,
    rng: rng(0),
    sigma: 0.5,
    ...options,
  });
/** Positions of a mass that starts at 1 m, replanned at every step. */
function run(options: Partial<PredictiveSamplerOptions> = {}, seconds = 3) {
  const world = pointMass({ maxEpisodeSteps: 1000 });
  world.setState([1, 0]);
  const controller = sampler(options);
  const plans = Array.from({ length: Math.round(seconds / 0.05) }, (_, t) => {
    const { cost, costs, chosen } = controller.plan(world.getState(), t * 0.05);
    world.step(controller.action(t * 0.05));
    return { cost, costs, chosen, x: world.getState()[0], u: controller.action(t * 0.05)[0] };
  });
  return plans;
}

describe('predictiveSampler', () => {
  it('brings a point mass to its goal within 2% in 3 seconds, and holds it there', () => {
    const steps = run({}, 4);
    for (const { x } of steps.slice(60)) expect(Math.abs(x)).toBeLessThan(0.02);
  });
  it('never takes a plan that is worse than the current one, nor a control out of range', () => {
    for (const { cost, costs, u } of run()) {
      expect(cost).toBe(Math.min(...costs));
      expect(cost).toBeLessThanOrEqual(costs[0]);
      expect(Math.abs(u)).toBeLessThanOrEqual(1);
    }
  });
  it('keeps its plan where there is no noise', () => {
    const controller = sampler({ sigma: 0 });
    for (let t = 0; t < 3; t++) {
      expect(controller.plan([1, 0], t).chosen).toBe(0);
      expect([...controller.action(t)]).toEqual([0]);
    }
  });
  it('leaves the model as it was, to the bit, also where plans diverge', () => {
    const model = pointMass({ maxEpisodeSteps: 1000 });
    model.setState([0.1 + 0.2, -0.7]);
    const before = [...model.getState()];
    const controller = sampler({ model, candidates: 5 });
    for (let t = 0; t < 100; t++) controller.plan([1, 0], t * 0.05);
    expect([...model.getState()]).toEqual(before);
    const broken: MpcModel = { ...model, step: () => {} };
    expect(() => sampler({ model: broken, cost: () => Number.NaN }).plan([1, 0], 0)).toThrow(
      'every one of 60 plans diverges from the state [1, 0]',
    );
    expect([...model.getState()]).toEqual(before);
  });
  it('counts a diverging candidate as infinitely bad', () => {
    const model = pointMass();
    const fragile: MpcModel = {
      ...model,
      step: (action) => {
        if (Math.abs(action[0]) > 0.2) throw new Error('unstable');
        return model.step(action);
      },
    };
    const { costs, cost } = sampler({ model: fragile }).plan([1, 0], 0);
    expect([...costs].filter((value) => value === Infinity).length).toBeGreaterThan(10);
    expect(Number.isFinite(cost)).toBe(true);
  });
  it('draws the line between knots, or holds the knot before', async () => {
    for (const [interpolation, value] of [
      ['linear', 0.571429],
      ['zero', 0],
    ] as const) {
      // biome-ignore format: two kinds
      const controller = sampler({ horizonSeconds: 0.35, interpolation, controls: { low: [-5], high: [5] } });
      await controller.load({ tensors: {}, json: { start: 0, values: [0, 1, 3], plans: 0 } });
      expect(controller.action(0.1)[0]).toBeCloseTo(value, 6);
      expect(controller.action(-1)[0]).toBe(0);
      expect(controller.action(0.35)[0]).toBeCloseTo(3, 12);
      expect(controller.action(9)[0]).toBe(3);
    }
  });
  it('goes on from its checkpoint as if it had not stopped', async () => {
    const [whole, first, second] = [sampler(), sampler(), sampler()];
    for (let t = 0; t < 4; t++) whole.plan([1 - t / 10, 0], t * 0.05);
    for (let t = 0; t < 2; t++) first.plan([1 - t / 10, 0], t * 0.05);
    await second.load(JSON.parse(JSON.stringify(await first.save())));
    for (let t = 2; t < 4; t++) second.plan([1 - t / 10, 0], t * 0.05);
    expect(second.action(0.2)).toEqual(whole.action(0.2));
    expect(sampler({ rng: rng(1) }).plan([1, 0], 0).costs).not.toEqual(sampler().plan([1, 0], 0).costs);
  });
  it('names what does not fit', async () => {
    expect(() => sampler({ knots: 1 })).toThrow('knots must be a whole number from 2 on, got 1');
    expect(() => sampler({ candidates: 1 })).toThrow('candidates must be a whole number from 2 on, got 1');
    expect(() => sampler({ horizonSeconds: 0.05 })).toThrow('a horizon of 0.05 s is shorter than two steps');
    expect(() => sampler({ controls: { low: [1], high: [-1] } })).toThrow('controls go from [1] to [-1]');
    await expect(sampler().load({ tensors: {}, json: { values: [1] } })).rejects.toThrow(
      'the plan holds 1 numbers; 3 knots of 1 controls have 3',
    );
  });
});
