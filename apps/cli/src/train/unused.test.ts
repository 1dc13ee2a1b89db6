import { describe, expect, it } from 'vitest';
import { DpoSettings } from './preferenceConfig.js';
import { RlSettings } from './rlConfig.js';
import { SftSettings } from './sftConfig.js';
import { ofDpo, ofEveryTraining, ofRl, refuseUnused } from './unused.js';

const dpo = (settings: object) => refuseUnused(ofDpo(DpoSettings.parse(settings)));
const rl = (settings: object) => refuseUnused(ofRl(RlSettings.parse(settings)));
const any = (settings: object) => refuseUnused(ofEveryTraining(SftSettings.parse(settings)));

describe('settings that a training would not look at are refused, each with why:', () => {
  it('of an adapter where all weights are trained, and of looks where nothing is held out', () => {
    any({});
    any({ full: true, storage: 'f32' });
    any({ earlyStopping: {}, evaluateEvery: 2 });
    expect(() => any({ full: true, lora: { r: 4 } })).toThrow(
      'setting lora would do nothing: all weights are trained, in float32, and there is no adapter',
    );
    expect(() => any({ full: true, storage: 'int8' })).toThrow(/^setting storage would do nothing/);
    expect(() => any({ heldOut: 0, evaluateEvery: 2 })).toThrow(/^setting evaluateEvery would do nothing: heldOut is 0/);
    expect(() => any({ earlyStopping: {} })).toThrow(
      /^setting earlyStopping would do nothing: it looks at each evaluation; set evaluateEvery$/,
    );
  });

  it('of a reference where the loss has none', () => {
    dpo({});
    dpo({ reference: 'other', loss: ['simpo', 'sigmoid'] });
    dpo({ loss: 'tpo', goldColumn: 'best' });
    dpo({ online: 'xpo', reference: 'other' });
    expect(() => dpo({ loss: 'simpo', reference: 'other' })).toThrow(/setting reference would do nothing: the loss simpo has no reference/);
    expect(() => dpo({ loss: 'orpo', online: 'pairs', referenceSync: {} })).toThrow(/setting referenceSync would do nothing/);
    expect(() => dpo({ online: 'pairs', precompute: false })).toThrow(/setting precompute would do nothing/);
    expect(() => dpo({ goldColumn: 'best' })).toThrow(/setting goldColumn would do nothing: the loss sigmoid learns no third answer/);
  });

  it('of a value model, a KL or a server that is not there', () => {
    rl({});
    rl({ algorithm: 'ppo', clipRangeValue: 1, criticLearningRate: 1e-3, criticWarmupSteps: 2 });
    rl({ klTarget: 3, klHorizon: 100, biasCorrectedKl: true });
    rl({ server: 'http://localhost:8000', maxStaleness: 1 });
    expect(() => rl({ criticWarmupSteps: 2, clipRangeValue: 1 })).toThrow(
      'setting clipRangeValue would do nothing: advantage group has no value model (gae has); setting criticWarmupSteps would do nothing: advantage group has no value model (gae has)',
    );
    expect(() => rl({ klHorizon: 100 })).toThrow(/setting klHorizon would do nothing/);
    expect(() => rl({ klCoef: 0, klEstimator: 'k2' })).toThrow(/setting klEstimator would do nothing: klCoef is 0/);
    expect(() => rl({ algorithm: 'rloo', biasCorrectedKl: true })).toThrow(/setting biasCorrectedKl would do nothing/);
    expect(() => rl({ maxStaleness: 1 })).toThrow(/setting maxStaleness would do nothing/);
  });
});
