import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { rng } from '@plumbline/core';
import { rewardFunctionContract } from '@plumbline/data/contract';
import { bradleyTerryMle, brierScore } from '@plumbline/data/statistics';
import { afterEach, describe, expect, it } from 'vitest';
import { forgiving, rewardFromText, stepwiseToOutcome, timeLimited, weightedSum } from './adapters.js';
import { aggregateEnsemble, disagreement, ensembleReward } from './aggregate.js';
import { calibrationError, isotonic, presentPairs, temperatureScale } from './diagnostics/calibration.js';
import { hackingGap, lengthBalancedAccuracy, lengthBias } from './diagnostics/length.js';
import { partitionByStrength, preferenceStrength } from './diagnostics/strength.js';
import { fromAiSdk } from './external/aiSdk.js';
import { promptfooAssertion } from './external/promptfoo.js';
import { type RewardMatchers, rewardMatchers } from './external/vitest.js';
import { httpReward, RewardServerError } from './http.js';
import { generativeJudge } from './judges/pairwise.js';
import {
  aggregateSteps,
  bestOfNCurve,
  bestOfNKl,
  exactBestOfNKl,
  knockout,
  majorityVote,
  meanBestOfNCurve,
  passAtK,
  regularisedBestOfN,
  sampleBestOfN,
  softBestOfN,
  weightedVote,
} from './select.js';
import { numericAnswer } from './verifiers/answers.js';

const ctx = { rng: rng(1) };
const candidates = [
  { prompt: 'a', completion: 'bb' },
  { prompt: [{ role: 'user', content: 'q' }], completion: [{ role: 'assistant', content: 'answer' }] },
];

describe('httpReward', () => {
  let server: Server | undefined;
  afterEach(() => void server?.close());
  type Answer = { status?: number; body: unknown; delay?: number };
  async function serve(answer: (body: Record<string, never>, request: IncomingMessage, calls: number) => Answer): Promise<string> {
    let calls = 0;
    server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk) => {
        text += chunk;
      });
      request.on('end', () => {
        const { status = 200, body, delay = 0 } = answer(JSON.parse(text), request, calls++);
        setTimeout(() => response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body)), delay);
      });
    });
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  it('speaks OpenRLHF: query, prompts and labels for rewards', async () => {
    const seen: unknown[] = [];
    const url = await serve((body, request) => {
      seen.push([request.url, body]);
      return { body: { rewards: (body.query as string[]).map((text) => text.length), scores: [], extra_logs: {} } };
    });
    for (const { run } of rewardFunctionContract(() => httpReward(url), { candidates })) await run();
    const { scores } = await httpReward(url, { batchSize: 1 }).score([{ ...candidates[0], meta: { answer: 4 } }], ctx);
    expect([...scores]).toEqual([3]);
    expect(seen.at(-1)).toEqual(['/get_reward', { query: ['abb'], prompts: ['a'], labels: ['4'] }]);
    expect(seen[0]).toMatchObject(['/get_reward', { query: ['abb', 'user: q\n\nassistant: answer'] }]);
  });
  it('speaks vLLM: classes of a text, and scores of two', async () => {
    const url = await serve((body, { url, headers }) => {
      if (headers.authorization !== 'Bearer secret') return { status: 401, body: { error: 'Unauthorized' } };
      if (url === '/classify')
        return {
          body: { data: (body.input as string[]).map((text, index) => ({ index, label: 'x', probs: [0.25, text.length] })).reverse() },
        };
      return { body: { data: (body.text_2 as string[]).map((text, index) => ({ index, score: -text.length })) } };
    });
    expect([...(await httpReward(url, { format: 'vllm-classify', token: 'secret' }).score(candidates, ctx)).scores]).toEqual([3, 26]);
    expect([...(await httpReward(url, { format: 'vllm-classify', token: 'secret', label: 0 }).score(candidates, ctx)).scores]).toEqual([
      0.25, 0.25,
    ]);
    expect([...(await httpReward(url, { format: 'vllm-score', token: 'secret' }).score(candidates, ctx)).scores]).toEqual([-2, -6]);
    expect([...(await httpReward(`${url}/classify`, { token: 'secret' }).score(candidates, ctx)).scores]).toEqual([3, 26]); // by its path
    await expect(httpReward(url, { format: 'vllm-score' }).score(candidates, ctx)).rejects.toThrow(/refused: 401.*it wants a token/);
  });
  it('tries again what may pass, and not what will not', async () => {
    const url = await serve((_, __, calls) => (calls < 2 ? { status: 503, body: 'busy' } : { body: { rewards: [1, null] } }));
    const { scores, abstained } = await httpReward(url, { retrySeconds: 0.01 }).score(candidates, ctx);
    expect([[...scores], [...abstained!]]).toEqual([
      [1, 0],
      [0, 1],
    ]);
    await expect(httpReward('http://127.0.0.1:9', { retries: 1, retrySeconds: 0.01 }).score(candidates, ctx)).rejects.toThrow(
      /gave no rewards after 2 attempts/,
    );
  });
  it('says what is wrong with an answer', async () => {
    const answers: unknown[] = ['<html>', { reward: [1, 2] }, { rewards: [1] }, { rewards: [1, 'high'] }];
    const url = await serve((_, __, calls) => ({ body: answers[calls] }));
    for (const message of [/what is not JSON: <html>/, /without "rewards"/, /1 rewards for 2 candidates/, /"high" as reward 1/])
      await expect(httpReward(url).score(candidates, ctx)).rejects.toThrow(message);
    expect(() => httpReward('nowhere')).toThrow('"nowhere" is no URL');
    expect(() => httpReward(url, { format: 'trl' as never })).toThrow('there are openrlhf, vllm-classify, vllm-score');
  });
  it('gives up on a server that is too slow', async () => {
    const url = await serve(() => ({ body: { rewards: [1, 1] }, delay: 400 }));
    await expect(httpReward(url, { timeoutSeconds: 0.05, retries: 0 }).score(candidates, ctx)).rejects.toThrow(RewardServerError);
  });
});

describe('rewards of rewards', () => {
  const even = {
    name: 'even',
    score: async (batch: readonly unknown[]) => ({
      scores: Float32Array.from(batch, () => 1),
      abstained: Uint8Array.from(batch, (_, i) => i % 2),
    }),
  };
  const one = rewardFromText('one', () => 1);
  it('leave out what abstains, or abstain with it', async () => {
    const parts = [
      { reward: even, weight: 2 },
      { reward: one, weight: 3 },
    ];
    expect((await weightedSum(parts).score(candidates, ctx)).abstained).toEqual(Uint8Array.of(0, 1));
    const all = await weightedSum(parts, 'sum', { abstain: 'all' }).score(candidates, ctx);
    expect([[...all.scores], all.abstained]).toEqual([[5, 3], undefined]);
    const only = await weightedSum([{ reward: even, weight: 2 }], 'sum', { abstain: 'all' }).score(candidates, ctx);
    expect([...only.abstained!]).toEqual([0, 1]);
  });
  it('name the part whose score is not a number', async () => {
    const broken = rewardFromText('broken', () => Number.NaN);
    await expect(weightedSum([{ reward: broken, weight: 1 }]).score(candidates, ctx)).rejects.toThrow(
      'broken: the score of candidate 0 is NaN',
    );
    const forgiven = forgiving(broken);
    expect([...(await forgiven.score(candidates, ctx)).abstained!]).toEqual([1, 1]);
    expect(forgiven.failures).toEqual({ count: 1, last: expect.stringContaining('NaN') });
  });
  it('abstain when time is up, and tell the work to stop', async () => {
    let stopped = false;
    const slow = timeLimited(
      {
        name: 'slow',
        score: (batch, { signal }) =>
          new Promise((resolve) => {
            const timer = setTimeout(() => resolve({ scores: new Float32Array(batch.length) }), 5000);
            signal?.addEventListener('abort', () => {
              stopped = true;
              clearTimeout(timer);
            });
          }),
      },
      { seconds: 0.05 },
    );
    expect([...(await slow.score(candidates, ctx)).abstained!]).toEqual([1, 1]);
    expect([slow.timeouts, stopped]).toEqual([1, true]);
    expect((await timeLimited(one, { seconds: 5 }).score(candidates, ctx)).abstained).toBeUndefined();
  });
  it('put ensembles together by every rule', async () => {
    const members = [1, 2, 3, 4, 10].map((x) => [x]);
    const by = (how: Parameters<typeof aggregateEnsemble>[1]) => aggregateEnsemble(members, how)[0];
    expect([by('mean'), by('median'), by('min'), by('max')]).toEqual([4, 3, 1, 10]);
    expect(by({ rule: 'meanMinusStd' })).toBeCloseTo(0.837722, 5);
    expect(by({ rule: 'meanMinusStd', sample: true })).toBeCloseTo(0.464466, 5);
    expect(by({ rule: 'uwo' })).toBeCloseTo(3, 6);
    expect(by({ rule: 'quantile' })).toBe(2);
    expect(() => aggregateEnsemble([[1], [Number.NaN]], 'mean')).toThrow('score 0 of member 1 is NaN');
    expect(() => aggregateEnsemble([], 'mean')).toThrow('no members');
    expect(
      disagreement([
        [1, 2, 3],
        [3, 2, 1],
      ]),
    ).toMatchObject({ std: Float32Array.of(1, 0, 1), kendallTau: -1 });
    const { scores, components } = await ensembleReward([one, rewardFromText('two', () => 2)], 'mean').score(candidates, ctx);
    expect([[...scores], [...components!.std]]).toEqual([
      [1.5, 1.5],
      [0.5, 0.5],
    ]);
  });
  it('turn steps into outcomes', async () => {
    const steps = {
      name: 'steps',
      scoreSteps: async (batch: readonly { steps: string[] }[]) =>
        batch.map(({ steps }) => Float32Array.from(steps, (step) => Number(step))),
    };
    const { scores, abstained } = await stepwiseToOutcome(steps, 'min').score(
      [
        { prompt: '', completion: '0.5\n\n0.25' },
        { prompt: '', completion: '' },
      ],
      ctx,
    );
    expect([[...scores], [...abstained!]]).toEqual([
      [0.25, 0],
      [0, 1],
    ]);
  });
});

describe('tournaments', () => {
  it('have the strengths of most likelihood', () =>
    bradleyTerryMle([
      [0, 7, 8],
      [3, 0, 6],
      [2, 4, 0],
    ]).logStrength.forEach((s, i) => void expect(s).toBeCloseTo([0.74057, -0.149102, -0.591468][i], 5)));
});

describe('selection', () => {
  it('puts step scores together', () => {
    const p = [0.9, 0.8, 0.95, 0.6];
    const expected = {
      min: 0.6,
      product: 0.4104,
      last: 0.6,
      mean: 0.8125,
      max: 0.95,
      sum: 3.25,
      sumlog: -0.890623,
      sumlogit: 6.933423,
      softmin: 0.643258,
    } as const;
    for (const [how, value] of Object.entries(expected)) expect(aggregateSteps(p, how as keyof typeof expected), how).toBeCloseTo(value, 5);
    expect(() => aggregateSteps([0.5, 0], 'sumlog')).toThrow('the score of step 1 is 0, which sumlog does not take');
    expect(() => aggregateSteps([], 'min')).toThrow('there are no steps');
  });
  it('votes, by numbers and by weights, and never for no answer', () => {
    const answers = ['12', '15', '12.0', '15', '15', null];
    expect(majorityVote(answers)).toEqual({ answer: '15', count: 3, indices: [1, 3, 4] });
    const weighted = weightedVote(answers, [0.9, 0.2, 0.8, 0.3, 0.4, 1]);
    expect(weighted).toMatchObject({ answer: '12', indices: [0, 2] });
    expect(weighted.weight).toBeCloseTo(1.7, 10);
    expect(majorityVote([null, null]).answer).toBeNull();
    expect(() => weightedVote(['1'], [-1])).toThrow('the weight of answer 0 is -1');
  });
  it('has the closed forms of pass@k and of the KL of best-of-n', () => {
    expect(passAtK(10, 3, 4)).toBeCloseTo(0.833333, 6);
    expect([1, 2, 6].map((k) => passAtK(8, 3, k))).toEqual([expect.closeTo(0.375, 12), expect.closeTo(0.642857, 6), 1]);
    expect([2, 4, 16, 64].map((n) => bestOfNKl(n).toFixed(6))).toEqual(['0.193147', '0.636294', '1.835089', '3.174508']);
    expect(exactBestOfNKl([0.5, 0.3, 0.2], 2)).toBeCloseTo(0.140638, 5);
    expect(exactBestOfNKl([0.5, 0.3, 0.2], 4)).toBeCloseTo(0.559751, 5);
    const [curve] = meanBestOfNCurve([[0.1, 0.5, 0.3, 0.9, 0.2]], [[1, 2, 0, 3, -1]], [2]);
    expect([curve.proxy, curve.gold, curve.goldError]).toEqual([expect.closeTo(0.59, 10), expect.closeTo(1.7, 10), 0]);
  });
  it('has the expected maximum of n normal numbers as its curve', () => {
    const draws = [...rng(5).normal(20_000)];
    const curve = bestOfNCurve(draws, draws, [2, 4, 16]);
    [0.56419, 1.029375, 1.765991].forEach((value, i) => void expect(Math.abs(curve[i].gold - value)).toBeLessThan(0.02));
  });
  it('draws softly, and takes penalties off', () => {
    expect(softBestOfN(['a', 'b'], [0, 5], { temperature: 1e-3, rng: rng(1) }).item).toBe('b');
    const drawn = Array.from({ length: 2000 }, (_, i) => softBestOfN(['a', 'b'], [0, 1], { temperature: 1, rng: rng(i) }).index);
    expect(Math.abs(drawn.reduce((a, b) => a + b, 0) / 2000 - Math.E / (1 + Math.E))).toBeLessThan(0.03);
    expect(regularisedBestOfN(['a', 'b'], [1, 2], [0, 10], { beta: 0.2 }).item).toBe('a');
  });
  it('samples, scores and keeps the best', async () => {
    const model = {
      name: 'm',
      can: { score: false, embed: false, logps: false },
      generate: async (prompts: readonly unknown[]) =>
        prompts.map(() =>
          ['a', 'ccc', 'bb'].map((text) => ({
            text,
            tokens: new Int32Array(),
            samplingLogps: new Float32Array(),
            finish: 'stop' as const,
          })),
        ),
    };
    const [best] = await sampleBestOfN(
      model,
      rewardFromText('length', (text) => text.length),
      ['p'],
      { n: 3, maxTokens: 5, rng: rng(1) },
    );
    expect(best).toMatchObject({ completion: 'ccc', index: 1, score: 3, scores: [1, 3, 2] });
  });
  it('plays a knockout in n - 1 comparisons', async () => {
    const judge = {
      name: 'longer',
      compare: async (batch: readonly { a: unknown; b: unknown }[]) =>
        batch.map(({ a, b }) => ({
          winner: (a as string).length >= (b as string).length ? ('a' as const) : ('b' as const),
          probA: 0.5,
          parsed: true,
        })),
    };
    expect(await knockout(judge, 'p', ['a', 'bbb', 'cc', 'd', 'ee'], ctx)).toMatchObject({ index: 1, item: 'bbb', comparisons: 4 });
  });
});

describe('diagnostics', () => {
  const [p, z] = [
    [0.95, 0.9, 0.8, 0.65, 0.6, 0.55],
    [1, 1, 0, 1, 0, 1],
  ];
  it('measure calibration, and mend it', () => {
    const ten = calibrationError(p, z);
    expect([ten.ece, ten.mce]).toEqual([expect.closeTo(0.275, 10), expect.closeTo(0.8, 10)]);
    expect(calibrationError(p, z, { bins: 5 }).ece).toBeCloseTo(0.225, 10);
    expect(brierScore(z, p)).toBeCloseTo(0.222917, 6);
    expect(calibrationError(p, z, { bins: 2, mode: 'mass' }).ece).toBeCloseTo((Math.abs(0.6 * 3 - 2) + Math.abs(2.65 - 2)) / 6, 10);
    const { temperature, before, after } = temperatureScale(p, z);
    expect([temperature, before, after]).toEqual([expect.closeTo(1.613502, 5), expect.closeTo(0.6185, 5), expect.closeTo(0.594843, 5)]);
    expect([...isotonic([0, 1, 0, 0, 1, 1])].map((x) => x.toFixed(4))).toEqual([
      '0.0000',
      '0.3333',
      '0.3333',
      '0.3333',
      '1.0000',
      '1.0000',
    ]);
    expect(() => calibrationError([0.5, 0.6], [1, 1])).toThrow('needs both outcomes, 0 and 1; there are 1');
    expect(() => temperatureScale([0.9, 0.1], [1, 0])).toThrow('every outcome is on the side of its logit');
  });
  it('present half of the pairs swapped', () => {
    const { probability, outcome } = presentPairs(new Array<number>(200).fill(2), rng(1));
    expect(new Set(outcome)).toEqual(new Set([0, 1]));
    probability.forEach((value, i) => void expect(value).toBeCloseTo(outcome[i] === 1 ? 0.880797 : 0.119203, 5));
  });
  it('measure the leaning to length', () => {
    const bias = lengthBias([0.2, 0.1, 0.6, 0.5, 0.9], [10, 20, 30, 40, 50]);
    expect([bias.pearson, bias.spearman, bias.kendall, bias.slope]).toEqual([
      expect.closeTo(0.886796, 5),
      expect.closeTo(0.8, 10),
      expect.closeTo(0.6, 10),
      expect.closeTo(0.018, 10),
    ]);
    expect(lengthBias([1, 2, 3.1], [1, 2, 3], [3, 1, 2]).partial).toBeGreaterThan(0.9);
    expect(() => lengthBias([1, 2], [3, 3])).toThrow('all lengths agree');
    expect(lengthBalancedAccuracy([1, 1, -1, 1], [5, 6, 1, 2], [1, 1, 5, 5])).toMatchObject({
      longerChosen: 1,
      shorterChosen: 0.5,
      balanced: 0.75,
    });
    expect(hackingGap([1, 3, 2])).toEqual({ peakGold: 3, peakAt: 1, goldAtEnd: 2, gap: 1 });
  });
  it('measure the strength of preferences', () => {
    const { mean, std } = preferenceStrength([
      [2, 0.1, -1],
      [1.5, -0.2, -2],
      [2.5, 0.05, -1.5],
      [2, 0, -1.1],
    ]);
    [2, -0.0125, -1.4].forEach((value, i) => void expect(mean[i]).toBeCloseTo(value, 5));
    [0.353553, 0.11388, 0.3937].forEach((value, i) => void expect(std[i]).toBeCloseTo(value, 5));
    expect(partitionByStrength(mean, { threshold: 0 })).toEqual({ wrong: [2, 1], ambiguous: [], clear: [0] });
    expect(partitionByStrength(mean, { wrong: 1 / 3, ambiguous: 1 / 3 })).toEqual({ wrong: [2], ambiguous: [1], clear: [0] });
    expect(() => preferenceStrength([[1], [1]])).toThrow('independently trained');
  });
});

describe('where people already are', () => {
  it('judges with a model of the AI SDK', async () => {
    const model = {
      modelId: 'm',
      provider: 'p',
      doGenerate: async ({ prompt }: { prompt: { role: string }[] }) => ({
        content: [{ type: 'reasoning' }, { type: 'text', text: `${prompt[0].role} [[A]]` }],
        finishReason: { unified: 'stop' },
      }),
    };
    const [verdict] = await generativeJudge(fromAiSdk(model)).compare([{ prompt: 'p', a: '1', b: '2' }], ctx);
    expect(verdict).toMatchObject({ winner: 'a', rationale: 'system [[A]]' });
  });
  it('asserts in promptfoo', async () => {
    const assertion = promptfooAssertion(numericAnswer());
    expect(await assertion('#### 4', { prompt: '2 + 2', vars: { answer: 4 } })).toMatchObject({ pass: true, score: 1 });
    expect(await assertion('#### 5', { prompt: '2 + 2', vars: { answer: 4 } })).toMatchObject({
      pass: false,
      score: 0,
      reason: 'numeric answer: 0 is below 0.5',
    });
    expect((await assertion('#### 5', {})).reason).toContain('cannot judge');
  });
  it('matches in vitest', async () => {
    const { toScoreAtLeast, toBePreferredTo } = rewardMatchers;
    const received = { prompt: 'p', completion: '#### 4', meta: { answer: 4 } };
    expect((await toScoreAtLeast(received, numericAnswer(), 1)).pass).toBe(true);
    const low = await toScoreAtLeast({ ...received, completion: 'none' }, numericAnswer(), 1);
    expect([low.pass, low.message()]).toEqual([false, 'numeric answer gives "none" a score of 0; expected at least 1']);
    await expect(toScoreAtLeast({ prompt: 'p', completion: 'x' }, numericAnswer(), 1)).rejects.toThrow('cannot judge "x"');
    expect.extend(rewardMatchers);
    const matched = expect(received) as unknown as RewardMatchers & { not: RewardMatchers };
    await matched.toScoreAtLeast(numericAnswer(), 1);
    await matched.not.toScoreAtLeast(numericAnswer(), 1.5);
    const failing = expect({ ...received, completion: 'none' }) as unknown as RewardMatchers;
    await expect(failing.toScoreAtLeast(numericAnswer(), 1)).rejects.toThrow('expected at least 1');
    const judge = { name: 'j', compare: async () => [{ winner: 'b' as const, probA: 0.2, parsed: true }] };
    expect((await toBePreferredTo(received, 'other', judge)).message()).toContain('calls the other better (P = 0.20)');
  });
});
