/** TRL's own losses and gradients on random pairs, in double precision. */
import { createParameters, gradients, readCopy, readSafetensors } from '@plumbline/core';
import { fixturePath, largestError, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { measure } from '../testing/pairs.js';
import { cpoIpoLoss, cpoLoss } from './cpo.js';
import { type Divergence, divergenceScore, withDivergence } from './divergence.js';
import { pairLoss } from './index.js';
import { mixture, policyWeight, withLengthDesensitization, withPolicyWeighting } from './modifiers.js';
import { orpoLoss } from './orpo.js';
import { sftLoss } from './sft.js';
import { simpoLoss } from './simpo.js';
import { slicLoss } from './slic.js';
import { tpoLoss } from './tpo.js';
import type { PairInputs, PairLossSpec } from './types.js';

type Side = {
  lengths: number[];
  policy_logps: number[];
  ref_logps: number[];
  policy_per_token?: number[][];
  ref_per_token?: number[][];
  log_sum_sq_per_token?: number[][];
};
type Config = {
  beta: number;
  loss_type: string[];
  loss_weights: number[] | null;
  label_smoothing: number;
  ld_alpha: number | null;
  f_divergence_type: Divergence['type'];
  f_alpha_divergence_coef: number;
  use_weighting: boolean;
  discopop_tau: number;
};
type Case = {
  config: Config;
  dtype: string;
  loss: number;
  losses?: number[];
  chosen_rewards: number[];
  rejected_rewards: number[];
  chosen_scores?: number[];
  rejected_scores?: number[];
  chosen_weights?: number[];
  rejected_weights?: number[];
  grad_chosen_logps?: number[];
  grad_rejected_logps?: number[];
  grad_per_token?: { chosen: number[][]; rejected: number[][] };
};
type DpoFixture = { inputs: { chosen: Side; rejected: Side }; cases: Record<string, Case> };

/** TRL's settings in our terms. Its `sigmoid` and `hinge` ignore label_smoothing; ours would apply it. */
function specOf(config: Config): PairLossSpec<Record<string, never>> {
  const divergence: Divergence =
    config.f_divergence_type === 'alpha_divergence'
      ? { type: 'alpha_divergence', coef: config.f_alpha_divergence_coef }
      : { type: config.f_divergence_type };
  const parts = config.loss_type.map((name, i) => {
    const loss = pairLoss(name);
    const options = {
      ...(name !== 'sft' && { beta: config.beta }),
      ...(['robust', 'exo_pair', 'aot', 'aot_unpaired'].includes(name) && { labelSmoothing: config.label_smoothing }),
      ...(name === 'discopop' && { discopopTau: config.discopop_tau }),
    };
    return {
      loss: divergence.type === 'reverse_kl' || name === 'sft' ? loss : withDivergence(loss, divergence),
      options,
      weight: config.loss_weights?.[i] ?? 1,
    };
  });
  let spec = mixture(parts);
  if (config.use_weighting) spec = withPolicyWeighting(spec);
  return config.ld_alpha === null ? spec : withLengthDesensitization(spec, config.ld_alpha);
}

const ragged = (rows: number[][], lengths: number[]) => Float32Array.from(rows.flatMap((row, i) => row.slice(0, lengths[i])));

/** Losses, rewards and the gradient of the mean loss with respect to every token's log-probability. */
async function run(spec: PairLossSpec<Record<string, never>>, { chosen, rejected }: DpoFixture['inputs']) {
  const side = (name: string, { policy_per_token, policy_logps, lengths }: Side) => ({
    [name]: policy_per_token ? ragged(policy_per_token, lengths) : Float32Array.from(policy_logps),
  });
  const leaves = { ...side('chosen', chosen), ...side('rejected', rejected) };
  const tree = createParameters(Object.fromEntries(Object.entries(leaves).map(([name, data]) => [name, { shape: [data.length], data }])));
  const pairs = chosen.lengths.length;
  const apply = () =>
    tf.tidy(() => {
      const tokens = (name: 'chosen' | 'rejected', { lengths, ref_per_token, ref_logps, log_sum_sq_per_token }: Side) => ({
        policy: tree.get(name).value as tf.Tensor1D,
        reference: tf.tensor1d(ref_per_token ? ragged(ref_per_token, lengths) : Float32Array.from(ref_logps)),
        ...(log_sum_sq_per_token && { squaredSum: tf.tensor1d(ragged(log_sum_sq_per_token, lengths)) }),
        lengths: Int32Array.from(lengths),
      });
      const sum = (x: tf.Tensor1D, lengths: number[]) => {
        const rows = tf.tensor1d(Int32Array.from(lengths.flatMap((n, row) => Array<number>(n).fill(row))), 'int32');
        return tf.unsortedSegmentSum(x, rows, pairs) as tf.Tensor1D;
      };
      const policy = {
        chosen: sum(tree.get('chosen').value as tf.Tensor1D, chosen.lengths),
        rejected: sum(tree.get('rejected').value as tf.Tensor1D, rejected.lengths),
      };
      const total = chosen.lengths.reduce((a, b) => a + b, 0);
      const inputs: PairInputs = {
        policy,
        reference: { chosen: tf.tensor1d(chosen.ref_logps), rejected: tf.tensor1d(rejected.ref_logps) },
        lengths: { chosen: tf.tensor1d(chosen.lengths), rejected: tf.tensor1d(rejected.lengths) },
        tokens: { chosen: tokens('chosen', chosen), rejected: tokens('rejected', rejected) },
        nll: tf.mul(-pairs / total, policy.chosen),
      };
      return spec.apply(inputs, {});
    });
  const values = apply();
  const { loss, grads } = gradients(() => ({ loss: tf.tidy(() => tf.mean(apply().loss)) as tf.Scalar }), tree.trainable());
  const read = async (x: tf.Tensor | undefined, size: number) => (x ? Array.from(await readCopy(x)) : Array<number>(size).fill(0));
  const result = {
    loss: (await readCopy(loss))[0],
    losses: await read(values.loss, pairs),
    chosenRewards: await read(values.chosenRewards, pairs),
    rejectedRewards: await read(values.rejectedRewards, pairs),
    grads: {
      chosen: await read(grads.get(tree.get('chosen')), leaves.chosen.length),
      rejected: await read(grads.get(tree.get('rejected')), leaves.rejected.length),
    },
  };
  tf.dispose([loss, ...grads.values(), values]);
  tree.dispose();
  return result;
}

const perToken = (perPair: number[], { lengths }: Side) => perPair.flatMap((g, i) => Array<number>(lengths[i]).fill(g));

function suite(name: string, extreme: boolean) {
  const path = fixturePath(`losses/${name}.json`);
  describe.skipIf(!path)(`${name}.json${path ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, () => {
    if (!path) return;
    const { inputs, cases } = readFixture<DpoFixture>(path);
    for (const [title, expected] of Object.entries(cases)) {
      it(title, async () => {
        const ours = await run(specOf(expected.config), inputs);
        // Where the library itself is not finite, ours must be; where float32 cannot hold the library's double, parity ends.
        const comparable = (x: number) => Number.isFinite(x) && Math.abs(x) < 1e30;
        const compare = (what: string, mine: number[], theirs: number[], tolerance = 1e-5) => {
          const kept = theirs.map((x, i) => (comparable(x) ? i : -1)).filter((i) => i >= 0);
          expect(
            largestError(
              kept.map((i) => mine[i]),
              kept.map((i) => theirs[i]),
            ),
            what,
          ).toBeLessThanOrEqual(tolerance);
          if (!extreme) expect(kept.length).toBe(theirs.length);
        };
        // e^-u of log-ratios that are sums of sixty float32 numbers, squared: the sums' last bit is worth 1e-5
        if (expected.losses) compare('losses', ours.losses, expected.losses, title === 'ipo/forward_kl' ? 5e-5 : 1e-5);
        if (!extreme) compare('loss', [ours.loss], [expected.loss]);
        if (!title.startsWith('sft')) {
          // without a reference ours reports log-probabilities
          compare('chosen rewards', ours.chosenRewards, expected.chosen_rewards);
          compare('rejected rewards', ours.rejectedRewards, expected.rejected_rewards);
        }
        if (extreme && title === 'ipo/forward_kl') return; // e^-295 times e^295: no float32 holds the factors
        for (const side of ['chosen', 'rejected'] as const) {
          const theirs = expected.grad_per_token
            ? expected.grad_per_token[side].flatMap((row, i) => row.slice(0, inputs[side].lengths[i]))
            : expected[`grad_${side}_logps`] && perToken(expected[`grad_${side}_logps`]!, inputs[side]);
          if (theirs) compare(`gradients of ${side}`, ours.grads[side], theirs);
        }
        if (extreme && !/^(ipo|sppo)|forward_kl|alpha/.test(title))
          for (const x of [...ours.losses, ...ours.grads.chosen, ...ours.grads.rejected]) expect(Number.isFinite(x)).toBe(true);
      });
    }

    it('gives the scores of each f-divergence', async () => {
      const withScores = Object.values(cases).filter((c) => c.chosen_scores);
      expect(withScores.length).toBeGreaterThan(0);
      for (const { config, chosen_scores } of withScores) {
        const ratio = tf.tensor1d(inputs.chosen.policy_logps.map((p, i) => p - inputs.chosen.ref_logps[i]));
        const score = divergenceScore(ratio, { type: config.f_divergence_type, coef: config.f_alpha_divergence_coef } as Divergence);
        const ours = await readCopy(score);
        const kept = chosen_scores!.map((x, i) => (Number.isFinite(x) && Math.abs(x) < 1e30 ? i : -1)).filter((i) => i >= 0);
        expect(
          largestError(
            kept.map((i) => ours[i]),
            kept.map((i) => chosen_scores![i]),
          ),
        ).toBeLessThanOrEqual(extreme ? 1e-4 : 1e-5);
        tf.dispose([ratio, score]);
      }
    });

    it('weighs completions as WPO does', async () => {
      const { chosen_weights } = Object.values(cases).find((c) => c.chosen_weights)!;
      const { policy_per_token, policy_logps, log_sum_sq_per_token, lengths } = inputs.chosen;
      if (!log_sum_sq_per_token) return;
      const policy = tf.tensor1d(policy_per_token ? ragged(policy_per_token, lengths) : Float32Array.from(policy_logps));
      const squaredSum = tf.tensor1d(ragged(log_sum_sq_per_token, lengths));
      const weight = policyWeight({ policy, squaredSum, lengths: Int32Array.from(lengths) });
      expect(largestError(await readCopy(weight), chosen_weights!)).toBeLessThanOrEqual(1e-5);
      tf.dispose([policy, squaredSum, weight]);
    });
  });
}
suite('dpo', false);
suite('dpo_extreme', true);

type FreeCase = {
  config: { loss_type?: string; beta: number; label_smoothing?: number; alpha?: number; simpo_gamma?: number; logps?: string };
  losses?: number[];
  signed_losses?: number[];
  chosen_rewards: number[];
  rejected_rewards: number[];
  grad_chosen_logps: number[];
  grad_rejected_logps: number[];
};
const freePath = fixturePath('losses/reference_free.json');
describe.skipIf(!freePath)(`reference_free.json${freePath ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, () => {
  if (!freePath) return;
  const { inputs, cases } = readFixture<{ inputs: { chosen: Side; rejected: Side }; cases: Record<string, FreeCase> }>(freePath);
  const pairs = inputs.chosen.lengths.length;
  for (const [title, expected] of Object.entries(cases))
    it(title, async () => {
      const { loss_type, beta, label_smoothing = 0, alpha = 0, simpo_gamma = 0 } = expected.config;
      const lengths = { chosen: tf.tensor1d(inputs.chosen.lengths), rejected: tf.tensor1d(inputs.rejected.lengths) };
      const ours = await measure(
        (policy) => {
          if (title.startsWith('orpo')) return orpoLoss(policy, lengths, { beta });
          if (loss_type === 'hinge') return slicLoss(policy, { beta });
          if (loss_type === 'ipo') return cpoIpoLoss(policy, lengths, { beta });
          if (loss_type === 'simpo')
            return simpoLoss(policy, lengths, { beta, simpoGamma: simpo_gamma, alpha, labelSmoothing: label_smoothing });
          return cpoLoss(policy, { beta, labelSmoothing: label_smoothing });
        },
        { chosen: inputs.chosen.policy_logps, rejected: inputs.rejected.policy_logps },
      );
      const theirs = expected.losses ?? expected.signed_losses!.map((x) => -x); // ORPO's are +β·log σ
      expect(largestError(ours.loss, theirs)).toBeLessThanOrEqual(1e-5);
      expect(largestError(ours.chosenRewards, expected.chosen_rewards)).toBeLessThanOrEqual(1e-5);
      expect(largestError(ours.rejectedRewards, expected.rejected_rewards)).toBeLessThanOrEqual(1e-5);
      // Theirs are with respect to the mean log-probability where that is what the loss compares.
      const scale = (side: Side) => (g: number, i: number) => (g * (expected.config.logps === 'mean' ? side.lengths[i] : 1)) / pairs;
      expect(largestError(ours.chosenGrad.map(scale(inputs.chosen)), expected.grad_chosen_logps)).toBeLessThanOrEqual(1e-5);
      expect(largestError(ours.rejectedGrad.map(scale(inputs.rejected)), expected.grad_rejected_logps)).toBeLessThanOrEqual(1e-5);
      tf.dispose(lengths);
    });
});

type TpoCase = {
  config: { loss_type: 'sigmoid' | 'hinge' | 'ipo' | 'tpo-l'; beta: number; tpo_alpha: number; tpo_l_gamma: number };
  loss: number;
  losses: number[];
  logps: number[];
  nll: number | null;
  logits_grad_norm: number;
  logits_grad_first_row: number[][];
};
/** Chosen, rejected and gold completions, `rows` of each: log-probabilities of the tokens after the first, and which of them count. */
async function fromLogits(path: string, rows: number) {
  const file = await readSafetensors(path.replace(/json$/, 'safetensors'));
  const [logits, ids] = [file.floats('logits'), file.integers('input_ids')];
  const [completion, attention] = [file.integers('completion_mask'), file.integers('attention_mask')];
  const all = 3 * rows;
  const length = ids.length / all;
  const vocabulary = logits.length / ids.length;
  const counted = (mask: ArrayLike<number>) =>
    tf.slice(tf.tensor2d(Float32Array.from(Array.from(mask)), [all, length]), [0, 1], [all, length - 1]) as tf.Tensor2D;
  const targets = tf.oneHot(tf.tensor1d(Int32Array.from(Array.from(ids)), 'int32'), vocabulary);
  return {
    logits: Float32Array.from(logits),
    completion: counted(completion),
    attention: counted(attention),
    /** [3·rows, length − 1] */
    logps: (x: tf.Tensor) =>
      tf.tidy(() => {
        const log = tf.logSoftmax(tf.slice(tf.reshape(x, [all, length, vocabulary]), [0, 0, 0], [all, length - 1, vocabulary]));
        const written = tf.slice(tf.reshape(targets, [all, length, vocabulary]), [0, 1, 0], [all, length - 1, vocabulary]);
        return tf.sum(tf.mul(log, written), 2) as tf.Tensor2D;
      }),
    part: (x: tf.Tensor2D, k: number) => tf.slice(x, [k * rows, 0], [rows, length - 1]) as tf.Tensor2D,
  };
}
const logitsPath = fixturePath('losses/from_logits.json');
describe.skipIf(!logitsPath)(`from_logits.json${logitsPath ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, () => {
  if (!logitsPath) return;
  const { cases, nll_terms, rows } = readFixture<{
    cases: Record<string, TpoCase>;
    nll_terms: { cpo_nll: number; orpo_nll: number; sum_logps: number[]; mean_logps: number[] };
    rows: number;
  }>(logitsPath);
  for (const [title, { config, loss, losses, logps, nll }] of Object.entries(cases))
    it(title, async () => {
      const { beta, loss_type, tpo_alpha, tpo_l_gamma } = config;
      const lengths = { chosen: tf.ones([rows]) as tf.Tensor1D, rejected: tf.ones([rows]) as tf.Tensor1D }; // theirs are means already
      const ours = await measure(
        (policy) => {
          const pair = {
            sigmoid: () => cpoLoss(policy, { beta }),
            hinge: () => slicLoss(policy, { beta }),
            ipo: () => cpoIpoLoss(policy, lengths, { beta }),
            'tpo-l': () => simpoLoss(policy, lengths, { beta, simpoGamma: tpo_l_gamma }),
          }[loss_type]();
          return tpoLoss(pair, tf.fill([rows], nll ?? 0), { tpoAlpha: tpo_alpha });
        },
        { chosen: logps.slice(0, rows), rejected: logps.slice(rows, 2 * rows) },
      );
      expect(
        largestError(
          ours.loss.map((x) => x - tpo_alpha * (nll ?? 0)),
          losses,
        ),
      ).toBeLessThan(1e-5);
      expect(Math.abs(ours.loss.reduce((a, b) => a + b, 0) / rows - loss)).toBeLessThan(1e-5);
      tf.dispose(lengths);
    });
  for (const [title, { config, loss, logits_grad_norm, logits_grad_first_row }] of Object.entries(cases))
    it(`${title}: its gradient by every logit`, async () => {
      const { beta, loss_type, tpo_alpha, tpo_l_gamma } = config;
      const { logits, completion, logps, part } = await fromLogits(logitsPath, rows);
      const tree = createParameters({ logits: { shape: [logits.length], data: logits } });
      const value = () =>
        tf.tidy(() => {
          const masked = tf.mul(logps(tree.get('logits').value as tf.Tensor1D), completion) as tf.Tensor2D;
          const sums = (k: number) => tf.sum(part(masked, k), 1) as tf.Tensor1D;
          const counts = (k: number) => tf.sum(part(completion, k), 1) as tf.Tensor1D;
          const policy = { chosen: sums(0), rejected: sums(1) };
          const lengths = { chosen: counts(0), rejected: counts(1) };
          const pair = {
            sigmoid: () => cpoLoss(policy, { beta }),
            hinge: () => slicLoss(policy, { beta }),
            ipo: () => cpoIpoLoss(policy, lengths, { beta }),
            'tpo-l': () => simpoLoss(policy, lengths, { beta, simpoGamma: tpo_l_gamma }),
          }[loss_type]();
          const goldNll = tf.mul(sums(2), tf.div(-rows, tf.sum(counts(2)))) as tf.Tensor1D;
          return tf.mean(tpoLoss(pair, goldNll, { tpoAlpha: tpo_alpha }).loss) as tf.Scalar;
        });
      const { loss: total, grads } = gradients(() => ({ loss: value() }), tree.trainable());
      expect(Math.abs((await readCopy(total))[0] - loss) / (1 + Math.abs(loss))).toBeLessThan(1e-5);
      const ours = Array.from(await readCopy(grads.get(tree.get('logits'))!));
      expect(Math.abs(Math.hypot(...ours) - logits_grad_norm) / (1 + logits_grad_norm)).toBeLessThan(1e-5);
      const first = logits_grad_first_row.flat();
      expect(largestError(ours.slice(0, first.length), first)).toBeLessThan(1e-5);
      tree.dispose();
    });
  it("ORPO's likelihood is over the answer here, and over prompt and answer in TRL: both, from the same logits", async () => {
    const { logits, completion, attention, logps, part } = await fromLogits(logitsPath, rows);
    const all = logps(tf.tensor1d(logits));
    const mean = async (mask: tf.Tensor2D) =>
      (await readCopy(tf.neg(tf.div(tf.sum(part(tf.mul(all, mask) as tf.Tensor2D, 0)), tf.sum(part(mask, 0))))))[0];
    expect(await mean(attention)).toBeCloseTo(nll_terms.orpo_nll, 5);
    expect(await mean(completion)).toBeCloseTo(nll_terms.cpo_nll, 5);
  });
  it('the cross-entropy of the chosen completions is one mean over their tokens', async () => {
    const chosen = nll_terms.sum_logps.slice(0, rows);
    const lengths = tf.tensor1d(chosen.map((sum, i) => Math.round(sum / nll_terms.mean_logps[i])));
    const policy = { chosen: tf.tensor1d(chosen), rejected: tf.tensor1d(chosen) };
    const pairs = sftLoss(policy, { chosen: lengths, rejected: lengths });
    const values = Array.from(await readCopy(pairs.loss));
    expect(values.reduce((a, b) => a + b, 0) / rows).toBeCloseTo(nll_terms.cpo_nll, 5);
    tf.dispose([pairs, policy, lengths]);
  });
});
