/** Checks at the door of every pair loss, and the quantities that most of them begin with. */
import { ShapeError } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { PairLogps, PairLoss } from './types.js';

export function checkPairs(loss: string, sides: Record<string, { chosen: tf.Tensor; rejected: tf.Tensor } | undefined>): void {
  let first: { name: string; shape: string } | undefined;
  for (const [name, side] of Object.entries(sides)) {
    if (!side) throw new TypeError(`${loss}: ${name === 'reference' ? 'reference log-probs' : name} are required`);
    for (const which of ['chosen', 'rejected'] as const) {
      const { shape } = side[which];
      if (shape.length !== 1 || shape[0] === 0)
        throw new ShapeError(`${loss}: ${name}.${which} is [${shape}]; it must be [pairs] with at least one pair`);
      first ??= { name: `${name}.${which}`, shape: String(shape) };
      if (String(shape) !== first.shape)
        throw new ShapeError(`${loss}: ${first.name} is [${first.shape}] and ${name}.${which} is [${shape}]; they must be equal`);
    }
  }
}

/** `log π − log π_ref` of both sides, [pairs]. The caller tidies. */
export function logRatios(loss: string, policy: PairLogps, reference: PairLogps | undefined): PairLogps {
  checkPairs(loss, { policy, reference });
  return { chosen: tf.sub(policy.chosen, reference!.chosen), rejected: tf.sub(policy.rejected, reference!.rejected) };
}

/** Implicit rewards `β · ratio`, whatever the loss does with the ratios, so that curves of different losses are comparable. */
export function rewardsOf(ratios: PairLogps, beta: number): Omit<PairLoss, 'loss'> {
  return { chosenRewards: tf.mul(beta, ratios.chosen), rejectedRewards: tf.mul(beta, ratios.rejected) };
}

export function positive(loss: string, name: string, value: number): void {
  if (!(value > 0)) throw new RangeError(`${loss}: ${name} must be > 0, got ${value}`); // `!(>)` catches NaN too
}

/** @throws RangeError if `value` is not in [min, max) */
export function within(loss: string, name: string, value: number, min: number, max: number): void {
  if (!(value >= min && value < max)) throw new RangeError(`${loss}: ${name} must be in [${min}, ${max}), got ${value}`);
}
