/** One function for each algorithm of offline learning: which losses it takes a step on, in order. */
import {
  adamW,
  createParameters,
  type Ema,
  ema,
  type Optimizer,
  type Parameter,
  type Rng,
  stopGradient,
  type TensorTree,
} from '@plumbline/core';
import type { Transitions } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { gaussianLogp, softBellmanTarget, softPolicyLoss, squashedGaussianLogp, temperatureLoss } from '../losses/actorCritic.js';
import { cqlPenalty, expectileLoss, td3BcLoss, weightedCloningLoss } from '../losses/offline.js';
import { type Actor, type Batch, createCritics, criticsOf, stateValue } from './networks.js';
import type { OfflineAlgorithm, OfflineConfig } from './trainOffline.js';

/** A loss and what it moves. `name` is what it is called where one fails; the policy's is the one that is logged. */
export type Objective = {
  name: 'policy' | 'critics' | 'value' | 'temperature';
  weights: readonly Parameter[];
  optimizer: Optimizer;
  loss: () => tf.Scalar;
};
export type Learner = {
  /** What a step of the batch minimises, one after another. */
  objectives(batch: Batch, rng: Rng, step: number): Objective[];
  /** After the step: targets follow. */
  follow(step: number): void;
  readonly parts: Record<string, TensorTree | Ema | Optimizer>;
};
type Made = { actor: Actor; transitions: Transitions; config: OfflineConfig; rng: Rng };
type Of<K extends OfflineAlgorithm['kind']> = Extract<OfflineAlgorithm, { kind: K }>;

const mean = (x: tf.Tensor) => tf.mean(x) as tf.Scalar;
/** Σ_j (Q_j(s, a) − y)² of both critics, per row. */
const criticError = (q: readonly tf.Tensor1D[], target: tf.Tensor1D) =>
  tf.addN(q.map((own) => tf.square(tf.sub(own, target)))) as tf.Tensor1D;

/** Behaviour cloning: the squared distance to the action that was taken, the mean over its dimensions. */
function cloning({ actor }: Made): Learner {
  const optimizer = adamW();
  return {
    objectives: ({ states, actions }) => [
      {
        name: 'policy',
        weights: actor.parameters.trainable(),
        optimizer,
        loss: () => tf.tidy(() => mean(tf.square(tf.sub(actor.action(states), actions)))),
      },
    ],
    follow: () => {},
    parts: { actorOptimizer: optimizer },
  };
}

/** Fujimoto and Gu 2021, arXiv:2106.06860. */
function td3Bc({ actor, transitions, config, rng }: Made, { alpha, noise, noiseClip, policyEvery }: Of<'td3bc'>): Learner {
  const critics = createCritics(transitions, { hidden: config.hidden, value: false, rng });
  const [targets, slowActor] = [ema(critics, { decay: 1 - config.tau }), ema(actor.parameters, { decay: 1 - config.tau })];
  const [actorOptimizer, criticOptimizer] = [adamW(), adamW()];
  return {
    objectives: ({ states, actions, rewards, nextStates, done }, stream, step) => {
      const draws = stream.normal(actions.size);
      const target = () => {
        const blurred = tf.clipByValue(tf.mul(noise, tf.tensor2d(draws, actions.shape)), -noiseClip, noiseClip);
        const next = tf.clipByValue(tf.add(actor.action(nextStates, slowActor.parameters), blurred), -1, 1) as tf.Tensor2D;
        return softBellmanTarget({ rewards, done, nextQ: criticsOf(targets.parameters, nextStates, next) }, config);
      };
      const policyLoss = () => {
        const policyAction = actor.action(states);
        return mean(td3BcLoss({ q: criticsOf(critics, states, policyAction)[0], policyAction, action: actions }, { alpha }));
      };
      return [
        {
          name: 'critics',
          weights: critics.trainable(),
          optimizer: criticOptimizer,
          loss: () => tf.tidy(() => mean(criticError(criticsOf(critics, states, actions), target()))),
        },
        ...(step % policyEvery === 0
          ? [{ name: 'policy', weights: actor.parameters.trainable(), optimizer: actorOptimizer, loss: () => tf.tidy(policyLoss) } as const]
          : []),
      ];
    },
    follow: (step) => {
      if (step % policyEvery !== 0) return;
      targets.update();
      slowActor.update();
    },
    parts: { critics, targets, slowActor, actorOptimizer, criticOptimizer },
  };
}

/** Kostrikov et al. 2021, arXiv:2110.06169. */
function implicitQ({ actor, transitions, config, rng }: Made, { expectile, beta, maxWeight }: Of<'iql'>): Learner {
  const critics = createCritics(transitions, { hidden: config.hidden, value: true, rng });
  const targets = ema(critics, { decay: 1 - config.tau });
  const [actorOptimizer, criticOptimizer, valueOptimizer] = [adamW(), adamW(), adamW()];
  const [qs, vs] = ['q.', 'v.'].map((prefix) => critics.trainable().filter(({ name }) => name.startsWith(prefix)));
  return {
    objectives: ({ states, actions, rewards, nextStates, done }) => {
      const slowQ = () => criticsOf(targets.parameters, states, actions).reduce((a, b) => tf.minimum(a, b));
      const policyLoss = () => {
        const weights = tf.minimum(tf.exp(tf.mul(beta, tf.sub(slowQ(), stateValue(critics, states)))), maxWeight) as tf.Tensor1D;
        const logStd = (actor.parameters.get('actor.logStd') as Parameter).value;
        return mean(
          weightedCloningLoss(
            gaussianLogp({ action: actions, mean: actor.action(states), logStd: tf.clipByValue(logStd, -5, 2) }),
            weights,
          ),
        );
      };
      const target = () => softBellmanTarget({ rewards, done, nextQ: [stateValue(critics, nextStates)] }, config);
      return [
        {
          name: 'value',
          weights: vs,
          optimizer: valueOptimizer,
          loss: () => tf.tidy(() => mean(expectileLoss(tf.sub(slowQ(), stateValue(critics, states)) as tf.Tensor1D, expectile))),
        },
        { name: 'policy', weights: actor.parameters.trainable(), optimizer: actorOptimizer, loss: () => tf.tidy(policyLoss) },
        {
          name: 'critics',
          weights: qs,
          optimizer: criticOptimizer,
          loss: () => tf.tidy(() => mean(criticError(criticsOf(critics, states, actions), target()))),
        },
      ];
    },
    follow: () => targets.update(),
    parts: { critics, targets, actorOptimizer, criticOptimizer, valueOptimizer },
  };
}

/** Kumar et al. 2020, arXiv:2006.04779, on soft actor-critic: critics are kept low where nothing was recorded. */
function conservativeQ({ actor, transitions, config, rng }: Made, { alpha, samples }: Of<'cql'>): Learner {
  const { actionWidth: A } = transitions;
  const critics = createCritics(transitions, { hidden: config.hidden, value: false, rng });
  const targets = ema(critics, { decay: 1 - config.tau });
  const temperature = createParameters({ logAlpha: { shape: [1], data: new Float32Array(1) } });
  const [actorOptimizer, criticOptimizer, temperatureOptimizer] = [adamW(), adamW(), adamW()];
  const logAlpha = temperature.get('logAlpha') as Parameter;
  /** An action for each row and its log-density; gradients flow through both. */
  const drawn = (states: tf.Tensor2D, z: Float32Array): { action: tf.Tensor2D; logp: tf.Tensor1D } => {
    const [mu, free] = tf.split(actor.raw(states), 2, 1) as [tf.Tensor2D, tf.Tensor2D];
    const logStd = tf.add(-5, tf.mul(3.5, tf.add(tf.tanh(free), 1))) as tf.Tensor2D; // from −5 to 2
    const raw = tf.add(mu, tf.mul(tf.exp(logStd), tf.tensor2d(z, mu.shape))) as tf.Tensor2D;
    return { action: tf.tanh(raw), logp: squashedGaussianLogp({ raw, mean: mu, logStd }) };
  };
  /** Q of `samples` actions a row, [rows, samples], and their log-densities. */
  const qOf = (j: number, states: tf.Tensor2D, action: tf.Tensor2D, logp: tf.Tensor): [tf.Tensor2D, tf.Tensor2D] => {
    const rows = states.shape[0] / samples;
    return [criticsOf(critics, states, action)[j], logp].map((x) => tf.reshape(x, [rows, samples])) as [tf.Tensor2D, tf.Tensor2D];
  };
  const repeated = (states: tf.Tensor2D) =>
    tf.reshape(tf.tile(tf.expandDims(states, 1), [1, samples, 1]), [-1, states.shape[1]]) as tf.Tensor2D;
  return {
    objectives: ({ states, actions, rewards, nextStates, done }, stream) => {
      const [rows, many] = [states.shape[0], states.shape[0] * samples];
      const z = (name: string, n: number) => stream.fork(name).normal(n * A);
      const uniform = stream
        .fork('uniform')
        .uniform(many * A)
        .map((u) => 2 * u - 1);
      const penalty = (j: number) => {
        const at = repeated(states);
        const [own, next] = [drawn(at, z('own', many)), drawn(repeated(nextStates), z('next', many))];
        const flat = tf.fill([many], -A * Math.LN2);
        const [q, density] = [
          qOf(j, at, tf.tensor2d(uniform, [many, A]), flat),
          qOf(j, at, stopGradient(own.action), own.logp),
          qOf(j, at, stopGradient(next.action), next.logp),
        ].reduce(([q, d], [q2, d2]) => [tf.concat([q, q2], 1), tf.concat([d, d2], 1)] as [tf.Tensor2D, tf.Tensor2D]);
        const counted = tf.sub(density, Math.log(1 / (3 * samples))) as tf.Tensor2D; // the mean over the draws
        return cqlPenalty(q, criticsOf(critics, states, actions)[j], { alpha, logDensity: stopGradient(counted) });
      };
      const heat = () => tf.exp(logAlpha.value);
      const criticLoss = () => {
        const next = drawn(nextStates, z('target', rows));
        const nextQ = criticsOf(targets.parameters, nextStates, next.action).map(
          (q) => tf.sub(q, tf.mul(heat(), next.logp)) as tf.Tensor1D,
        );
        const target = softBellmanTarget({ rewards, done, nextQ }, config);
        return mean(tf.addN([criticError(criticsOf(critics, states, actions), target), penalty(0), penalty(1)]));
      };
      const policyLoss = () => {
        const { action, logp } = drawn(states, z('policy', rows));
        const scaled = tf.mul(stopGradient(heat()), logp) as tf.Tensor1D;
        return mean(softPolicyLoss({ logp: scaled, q: criticsOf(critics, states, action) }, { alpha: 1 }));
      };
      const temperatureOf = () => mean(temperatureLoss(logAlpha.value, drawn(states, z('policy', rows)).logp, -A));
      return [
        { name: 'temperature', weights: [logAlpha], optimizer: temperatureOptimizer, loss: () => tf.tidy(temperatureOf) },
        { name: 'policy', weights: actor.parameters.trainable(), optimizer: actorOptimizer, loss: () => tf.tidy(policyLoss) },
        { name: 'critics', weights: critics.trainable(), optimizer: criticOptimizer, loss: () => tf.tidy(criticLoss) },
      ];
    },
    follow: () => targets.update(),
    parts: { critics, targets, temperature, actorOptimizer, criticOptimizer, temperatureOptimizer },
  };
}

export function learnerOf(made: Made): Learner {
  const { algorithm } = made.config;
  switch (algorithm.kind) {
    case 'bc':
      return cloning(made);
    case 'td3bc':
      return td3Bc(made, algorithm);
    case 'iql':
      return implicitQ(made, algorithm);
    case 'cql':
      return conservativeQ(made, algorithm);
  }
}
