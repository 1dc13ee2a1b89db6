import { rng } from '@plumbline/core';
import { createDecoder, decoderSpec, type LocalDecoder, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MathsBed, mathsBed, mathsExample, mathsPrompt, solutionTokens } from './bed.js';
import { countdownProblem } from './countdown.js';
import { splitOf } from './problem.js';

/** A decoder that nobody trained, over a tokenizer of the bed's own text. */
function untrained(seed: number): LocalDecoder {
  const texts = Array.from({ length: 300 }, (_, i) => mathsExample(rng(0).fork(i)).record).map(
    ({ prompt, completion }) => `${prompt as string}${completion as string}`,
  );
  const json = trainByteBpe(texts, { vocabSize: 600, specialTokens: ['<|endoftext|>'] });
  const tokenizer = tokenizerFromJson(json, { name: 'tiny', eos_token: '<|endoftext|>' });
  return createDecoder(decoderSpec({ vocabSize: 600, width: 16, layers: 1, heads: 2, mlpWidth: 24, contextLength: 384 }), {
    tokenizer,
    name: 'tiny',
    rng: rng(seed),
  });
}

const base = untrained(0);
let bed: MathsBed;
beforeAll(async () => {
  bed = await mathsBed({ seed: 0, base, levels: [2, 5, 0], count: 60, heldOut: 30 });
});
afterAll(() => base.dispose());

describe('the problems of the bed', () => {
  it('have the levels in turn, and no text twice', () => {
    const levels = bed.problems.map((problem) => (problem.kind === 'countdown' ? 0 : problem.level));
    expect(levels.filter((level) => level === 2)).toHaveLength(20);
    expect(new Set(levels)).toEqual(new Set([2, 5, 0]));
    expect(new Set(bed.problems.map(({ text }) => text)).size).toBe(60);
    expect(bed.heldOutProblems).toHaveLength(30);
  });
  it('are of the training split to train on, and of the validation split where held out, whatever the seed', async () => {
    const other = await mathsBed({ seed: 1, base, levels: [2, 5, 0], count: 60, heldOut: 30 });
    expect(other.problems).not.toEqual(bed.problems);
    for (const { problems, heldOutProblems } of [bed, other]) {
      expect(new Set(problems.map(splitOf))).toEqual(new Set(['train']));
      expect(new Set(heldOutProblems.map(splitOf))).toEqual(new Set(['validation']));
    }
    expect((await mathsBed({ seed: 0, base, levels: [2, 5, 0], count: 60, heldOut: 30 })).problems).toEqual(bed.problems);
  });
  it('come as prompts with their answers beside them', () => {
    bed.prompts.forEach(({ prompt, meta }, i) => {
      const problem = bed.problems[i];
      expect(prompt).toBe(mathsPrompt(problem));
      expect(meta).toEqual({
        answer: problem.answer,
        key: problem.key,
        kind: problem.kind,
        ...(problem.kind !== 'countdown' && { level: problem.level }),
      });
    });
  });
  it('are of the knobs asked for, and it is said where there are not enough', async () => {
    const small = await mathsBed({ seed: 0, base, levels: [1], count: 5, heldOut: 1, knobs: { steps: 1, ops: ['+'] } });
    for (const problem of small.problems) expect(problem.key).toMatch(/^\d\+\d$/);
    const three = await mathsBed({
      seed: 0,
      base,
      levels: [0],
      count: 5,
      heldOut: 1,
      countdown: { numbers: 3, largest: 9, target: [10, 20] },
    });
    for (const problem of three.problems) expect(problem.text).toMatch(/^Make (1\d|20) from the numbers \d, \d, \d\.$/);
    await expect(
      mathsBed({ seed: 0, base, levels: [0], count: 500, heldOut: 1, countdown: { numbers: 2, largest: 3, target: [4, 9] } }),
    ).rejects.toThrow('500 different problems were asked for');
  });
});

describe('sampleGroups', () => {
  it('gives n scored completions a problem, the same for the same seed, of problems of the bed or others', async () => {
    const asked = [...bed.heldOutProblems.slice(0, 2), countdownProblem([2, 3, 5], 13)];
    const seen: number[] = [];
    const draw = (seed: number) =>
      bed.sampleGroups({ problems: asked, n: 2, rng: rng(seed), onProgress: ({ done, total }) => seen.push(done / total) });
    const groups = await draw(5);
    expect(groups.map(({ problem }) => problem)).toEqual(asked);
    for (const { completions, samples, scores, components } of groups) {
      expect([completions.length, samples.length, scores.length, components.sound.length, components.answered.length]).toEqual([
        2, 2, 2, 2, 2,
      ]);
      for (const { tokens, finish } of samples) expect(finish === 'stop' || tokens.length === solutionTokens).toBe(true);
    }
    expect(seen.at(-1)).toBe(1);
    const texts = (drawn: typeof groups) => drawn.map(({ completions }) => completions);
    expect(texts(await draw(5))).toEqual(texts(groups));
    expect(texts(await draw(6))).not.toEqual(texts(groups));
  });
  it('stops where it is asked to', async () => {
    const stop = AbortSignal.abort();
    await expect(bed.sampleGroups({ problems: bed.problems.slice(0, 1), n: 1, rng: rng(0), signal: stop })).rejects.toThrow();
  });
});

describe('evaluate', () => {
  const options = () => ({ problems: bed.heldOutProblems.slice(0, 3), samplesPerProblem: 2, rng: rng(1) });
  it('finds no KL between the base and itself, nor its copy, and some to another', async () => {
    const [copy, other] = [bed.policy(), untrained(9)];
    expect([...(await bed.evaluate(base, options())).kl]).toEqual([0, 0, 0]);
    expect([...(await bed.evaluate(copy, options())).kl]).toEqual([0, 0, 0]);
    const measured = await bed.evaluate(other, options());
    expect(measured.kl.reduce((a, b) => a + b, 0)).toBeGreaterThan(0);
    expect(measured.samples.map(({ completions }) => completions.length)).toEqual([2, 2, 2]);
    for (const name of ['accuracy', 'sound', 'answered', 'length'] as const) {
      expect(measured[name]).toHaveLength(3);
      expect(measured[name].every((x) => x >= 0 && x <= (name === 'length' ? solutionTokens : 1))).toBe(true);
    }
    for (const model of [copy, other]) model.dispose();
  });
  it('leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    await bed.evaluate(base, options());
    expect(tf.memory().numTensors).toBe(before);
  });
});
