/** Every number that a run logs, in one place: its unit, its formula and what healthy looks like. `trl` is TRL's name for it. */
export interface Metric {
  readonly unit: string;
  readonly formula: string;
  readonly healthy: string;
  readonly trl?: string;
}

export const metrics = {
  // Every trainer
  loss: {
    unit: 'nats, per pair or token unless said',
    formula: 'the objective of the step, before the update',
    healthy: 'falls, then levels off; never NaN',
    trl: 'loss',
  },
  gradNorm: {
    unit: 'loss per parameter',
    formula: 'global L2 norm of the gradients, before clipping',
    healthy: 'steady; spikes are rare and clipped',
    trl: 'grad_norm',
  },
  learningRate: { unit: 'per step', formula: 'the schedule at this step', healthy: 'as configured', trl: 'learning_rate' },
  tokensPerSecond: {
    unit: 'tokens/s',
    formula: 'tokens through forward and backward / seconds of the step',
    healthy: 'steady',
    trl: 'tokens_per_second',
  },
  tokens: { unit: 'tokens', formula: 'tokens of the step (`num_tokens` of TRL is their sum so far)', healthy: 'as configured' },
  accuracy: {
    unit: 'share',
    formula: 'share of pairs or tokens that come out right; a tie counts as wrong',
    healthy: 'rises above 0.5 (pairs) and stays below 1 on held-out data',
    trl: 'mean_token_accuracy',
  },
  margin: {
    unit: 'points',
    formula: 'mean of score(chosen) - score(rejected)',
    healthy: 'rises slowly; a runaway margin is over-fitting',
    trl: 'margin',
  },

  // Direct alignment: implicit rewards beta (log policy - log reference)
  'rewards/chosen': {
    unit: 'nats',
    formula: 'mean of beta (logps - refLogps) of the chosen completions',
    healthy: 'does not fall far below 0',
    trl: 'rewards/chosen',
  },
  'rewards/rejected': {
    unit: 'nats',
    formula: 'mean of beta (logps - refLogps) of the rejected completions',
    healthy: 'falls below rewards/chosen',
    trl: 'rewards/rejected',
  },
  'rewards/margin': { unit: 'nats', formula: 'rewards/chosen - rewards/rejected', healthy: 'rises from 0', trl: 'rewards/margins' },
  'rewards/accuracy': {
    unit: 'share',
    formula: 'share of pairs with the chosen reward above the rejected one; ties count half',
    healthy: 'rises from 0.5',
    trl: 'rewards/accuracies',
  },
  'logps/chosen': {
    unit: 'nats',
    formula: 'mean log-probability of a chosen completion, summed over its tokens',
    healthy: 'does not collapse',
    trl: 'logps/chosen',
  },
  'logps/rejected': {
    unit: 'nats',
    formula: 'mean log-probability of a rejected completion, summed over its tokens',
    healthy: 'falls',
    trl: 'logps/rejected',
  },
  'nll/chosen': {
    unit: 'nats/token',
    formula: 'mean negative log-probability of a chosen token',
    healthy: 'stays near its start',
    trl: 'nll_loss',
  },
  'pairs/identical': {
    unit: 'pairs',
    formula: 'sampled pairs of the step whose two completions are the same; they are dropped',
    healthy: 'near 0; more is mode collapse, or too low a temperature',
  },
  'pairs/ties': {
    unit: 'pairs',
    formula: 'sampled pairs of the step of which the judge prefers neither; they are dropped',
    healthy: 'near 0',
  },

  // Reward models
  'scores/chosen': { unit: 'points', formula: 'mean score of the chosen completions', healthy: 'above scores/rejected' },
  'scores/rejected': { unit: 'points', formula: 'mean score of the rejected completions', healthy: 'below scores/chosen' },
  'scores/mean': {
    unit: 'points',
    formula: 'mean score of all completions',
    healthy: 'near 0 where scores are centred',
    trl: 'mean_reward',
  },

  // Online reinforcement learning
  'reward/mean': { unit: 'points', formula: 'mean reward of the sampled completions', healthy: 'rises', trl: 'reward' },
  'reward/std': {
    unit: 'points',
    formula: 'mean over groups of the standard deviation within a group',
    healthy: 'above 0: without it there is nothing to learn from',
    trl: 'reward_std',
  },
  'reward/shaped': { unit: 'points', formula: 'mean reward after shaping', healthy: 'rises with reward/mean' },
  'reward/gold': {
    unit: 'points',
    formula: 'mean gold reward of the sampled completions',
    healthy: 'rises with reward/mean; falling while it rises is over-optimisation',
  },
  'reward/learned': { unit: 'points', formula: 'mean learned reward of the sampled completions', healthy: 'rises with the gold reward' },
  'reward/abstained': { unit: 'share', formula: 'share of completions that the reward function would not score', healthy: 'near 0' },
  'policy/kl': {
    unit: 'nats/token',
    formula: 'mean estimated KL(policy, reference) of a completion token',
    healthy: 'grows slowly',
    trl: 'kl',
  },
  'policy/klSequence': {
    unit: 'nats',
    formula: 'mean over completions of the summed log policy - log reference',
    healthy: 'grows slowly; compare rewards at equal KL',
  },
  'policy/entropy': {
    unit: 'nats/token',
    formula: 'mean entropy of the next-token distribution',
    healthy: 'falls slowly; collapse ends exploration',
    trl: 'entropy',
  },
  'policy/clipFraction': {
    unit: 'share',
    formula: 'share of tokens whose ratio is clipped in the direction of its advantage',
    healthy: 'below 0.2',
    trl: 'clip_ratio/region_mean',
  },
  'policy/ratio': {
    unit: 'ratio',
    formula: 'mean of exp(logps - oldLogps) over completion tokens',
    healthy: '1 on the first update of a batch, near 1 after',
  },
  'policy/loss': { unit: 'nats', formula: 'the clipped policy objective without the KL term', healthy: 'near 0 by construction' },
  'policy/samplerGap': {
    unit: 'nats/token',
    formula: 'mean |oldLogps - samplingLogps|',
    healthy: 'near 0: sampler and trainer agree',
    trl: 'sampling/sampling_logp_difference/mean',
  },
  'value/loss': {
    unit: 'points²',
    formula: 'the clipped loss of the value model per token',
    healthy: 'falls, then follows the reward',
    trl: 'loss/value_avg',
  },
  'value/clipFraction': {
    unit: 'share',
    formula: 'share of tokens whose new value is clipped to its old one',
    healthy: 'below 0.2',
    trl: 'val/clipfrac_avg',
  },
  'advantages/mean': { unit: 'points', formula: 'mean advantage', healthy: 'near 0' },
  'advantages/std': { unit: 'points', formula: 'standard deviation of the advantages', healthy: 'near 1 where normalised' },
  'completions/length': {
    unit: 'tokens',
    formula: 'mean tokens of a completion',
    healthy: 'no drift to the limit or to 0',
    trl: 'completions/mean_length',
  },
  'completions/finished': {
    unit: 'share',
    formula: 'share of completions that ended by themselves',
    healthy: 'steady',
    trl: 'completions/clipped_ratio (its complement)',
  },
  'completions/distinct2': {
    unit: 'share',
    formula: 'distinct 2-grams / all 2-grams over the batch',
    healthy: 'steady; falling is mode collapse',
  },
  'groups/withoutDeviation': {
    unit: 'share',
    formula: 'share of groups whose rewards are all equal',
    healthy: 'well below 1',
    trl: 'frac_reward_zero_std',
  },
  'groups/sampledAgain': {
    unit: 'share',
    formula: 'groups drawn again for lack of deviation / groups of a batch, under dynamic sampling',
    healthy: 'well below the rounds allowed; near them, the prompts are too easy or too hard',
  },
  'groups/dropped': {
    unit: 'share',
    formula: 'groups that were left out of the update / groups of a batch: without deviation after all rounds, or verdicts too one-sided',
    healthy: 'near 0',
  },
  'groups/replayed': {
    unit: 'share',
    formula: 'groups without deviation that gave their place to kept ones of earlier steps / groups',
    healthy: 'below 0.5: otherwise most of what is learned from is old',
  },
  'policy/staleness': {
    unit: 'batches',
    formula: 'mean over samples of the batches learned from since the policy that wrote them, where somebody else samples',
    healthy: '0, or as far as was allowed',
  },
  'samples/stale': { unit: 'share', formula: 'share of samples that are left out because their policy is too old', healthy: '0' },
  'episodes/turns': { unit: 'turns', formula: 'mean turns of an episode', healthy: 'no drift to the limit' },
  'episodes/success': { unit: 'share', formula: 'share of episodes that the environment called a success', healthy: 'rises' },
  'episodes/invalid': {
    unit: 'share',
    formula: 'mean over episodes of the share of turns whose action could not be understood',
    healthy: 'falls to near 0',
  },

  // Evaluation during training
  'eval/loss': {
    unit: 'as loss',
    formula: 'the loss on held-out rows',
    healthy: 'falls; rising while loss falls is over-fitting',
    trl: 'eval_loss',
  },
  'eval/accuracy': { unit: 'share', formula: 'accuracy on held-out rows', healthy: 'rises', trl: 'eval_rewards/accuracies' },
  'eval/margin': { unit: 'points', formula: 'margin on held-out rows', healthy: 'rises', trl: 'eval_rewards/margins' },
  'eval/reward': { unit: 'points', formula: 'mean reward on held-out prompts', healthy: 'rises' },
  'eval/gold': { unit: 'points', formula: 'mean gold reward on held-out prompts', healthy: 'rises' },
  'eval/kl': { unit: 'nats', formula: 'mean over held-out completions of the summed log policy - log reference', healthy: 'grows slowly' },
} as const satisfies Record<string, Metric>;

export type MetricName = keyof typeof metrics;
