/** Settings that a training would not look at: they are refused, since what they ask for would not happen. */
import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from '@plumbline/core';
import { LoraConfig } from '@plumbline/models';
import { type DpoSettings, pairLossOf } from './preferenceConfig.js';
import { policyConfig, type RlSettings, RlSettings as rl } from './rlConfig.js';

/** A setting, whether it would do nothing here, and why. */
export type Unused = readonly (readonly [setting: string, idle: boolean, why: string])[];

/** @throws ConfigError naming each and why */
export function refuseUnused(settings: Unused): void {
  const idle = settings.filter(([, is]) => is);
  if (idle.length > 0) throw new ConfigError(idle.map(([name, , why]) => `setting ${name} would do nothing: ${why}`).join('; '));
}

type Weights = { full: boolean; lora: LoraConfig; storage: string };
type Common = Weights & { heldOut: number; evaluateEvery?: number; earlyStopping?: object };

export const ofAdapters = ({ full, lora, storage }: Weights): Unused => {
  const why = 'all weights are trained, in float32, and there is no adapter (full false makes one)';
  return [
    ['lora', full && !isDeepStrictEqual(lora, LoraConfig.parse({})), why],
    ['storage', full && storage === 'int8', why],
  ];
};

export const ofEveryTraining = ({ heldOut, evaluateEvery, earlyStopping, ...weights }: Common): Unused => {
  const nothingHeldOut = 'heldOut is 0, and nothing is left to look at';
  return [
    ...ofAdapters(weights),
    ['evaluateEvery', evaluateEvery !== undefined && heldOut === 0, nothingHeldOut],
    ['earlyStopping', earlyStopping !== undefined && heldOut === 0, nothingHeldOut],
    ['earlyStopping', earlyStopping !== undefined && evaluateEvery === undefined, 'it looks at each evaluation; set evaluateEvery'],
  ];
};

export function ofDpo(settings: DpoSettings): Unused {
  const { online, reference, referenceSync, precompute, goldColumn } = settings;
  const ownLoss = online === 'xpo' || online === 'nash_md';
  const { needs } = ownLoss ? { needs: ['reference'] } : pairLossOf(settings);
  const free = !needs.includes('reference');
  const name = [settings.loss].flat().join(', ');
  return [
    ['reference', free && reference !== undefined, `the loss ${name} has no reference`],
    ['referenceSync', free && referenceSync !== undefined, `the loss ${name} has no reference`],
    ['precompute', online !== undefined && !precompute, 'what the policy writes is not known beforehand'],
    ['goldColumn', goldColumn !== 'reference' && !needs.includes('gold'), `the loss ${name} learns no third answer`],
  ];
}

export function ofRl(settings: RlSettings): Unused {
  const { advantage, klCoef, klIn, klTarget } = policyConfig(settings);
  const noValues = advantage.kind !== 'gae';
  const why = `advantage ${advantage.kind} has no value model (gae has)`;
  const changed = (name: 'clipRangeValue' | 'criticWarmupSteps' | 'klHorizon' | 'maxStaleness') =>
    settings[name] !== rl.shape[name].parse(undefined);
  return [
    ['clipRangeValue', noValues && changed('clipRangeValue'), why],
    ['criticLearningRate', noValues && settings.criticLearningRate !== undefined, why],
    ['criticWarmupSteps', noValues && changed('criticWarmupSteps'), why],
    ['klEstimator', klCoef === 0 && settings.klEstimator !== undefined, 'klCoef is 0'],
    ['biasCorrectedKl', settings.biasCorrectedKl && (klCoef === 0 || klIn === 'reward'), 'there is no KL in the loss'],
    ['klHorizon', klTarget === undefined && changed('klHorizon'), 'it is for klTarget, which is not set'],
    ['maxStaleness', settings.server === undefined && changed('maxStaleness'), 'the policy samples by itself; it is for a server'],
  ];
}
