import type { Checkpointable, Saved } from '@plumbline/core';
import { adaptEntropyCoef } from './masks.js';

/** Weight of the entropy bonus of the next update; with a target it follows the entropy of the last one. Its state is in the checkpoint. */
export interface EntropyController extends Checkpointable {
  readonly coef: number;
  /** @param entropy nats per token, of the update that was just made */
  update(entropy: number): void;
}

/** Fixed without `target`; with it `adaptEntropyCoef` after each update (TRL's `use_adaptive_entropy`): no bonus while the entropy is above the target. */
export function entropyController(start: number, target?: { target: number; delta: number; min: number; max: number }): EntropyController {
  let state = { coef: start, applied: start };
  return {
    get coef() {
      return state.applied;
    },
    update: (entropy) => {
      if (target && Number.isFinite(entropy)) state = adaptEntropyCoef(state.coef, entropy, target);
    },
    save: async () => ({ tensors: {}, json: { ...state } }),
    load: async (saved: Saved) => {
      const { coef, applied } = (saved.json ?? {}) as { coef?: unknown; applied?: unknown };
      if (typeof coef !== 'number' || typeof applied !== 'number')
        throw new TypeError('entropyController: the checkpoint holds no coefficient');
      state = { coef, applied };
    },
  };
}
