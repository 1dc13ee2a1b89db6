import type { PairLossName } from './index.js';

/** Nats per pair of losses with default options while the policy still is its reference, where there is a closed form: what the first step of a run shows. */
export const startingLosses: Partial<Record<PairLossName, number>> = {
  sigmoid: Math.LN2,
  dpo: Math.LN2,
  robust: Math.LN2,
  hinge: 1,
  apo_zero: 1,
  apo_down: 1,
  nca_pair: 2 * Math.LN2,
  bco_pair: 2 * Math.LN2,
  ipo: 25,
  discopop: 0.5 * Math.LN2 + 0.5,
  aot: Math.LN2,
  aot_unpaired: Math.LN2,
  sigmoid_norm: Math.LN2,
  flex: Math.LN2,
  dpop: Math.LN2,
  chi_po: Math.LN2,
  gamma_dpo: Math.LN2,
};
