/** What the main job shows at its end: the table, the summary, and the page with the curves. */
import {
  type Axis,
  type Column,
  type Estimate,
  type Measured,
  pairedDifference,
  type ReportPage,
  type Series,
  winRate,
} from '@plumbline/bench';
import { bestOfNKl, mean, tInterval } from '@plumbline/bench/metrics';
import { type BackendInfo, rng } from '@plumbline/core';
import { duration } from '../progress.js';
import type { QuickstartConfig } from './config.js';
import { type Arm, armNames, arms, type Curve, type Evaluation, type Outcome } from './job.js';

type Interval = { mean: number; ci95: [number, number] };
export type ArmSummary = {
  /** Mean over held-out prompts, guarded VADER in [-1, 1]. */
  goldReward: Interval;
  /** Paired difference to the base over prompts; null for the base. */
  goldGain: Interval | null;
  learnedReward: number;
  /** Nats per sequence, to the base. */
  kl: number;
  winRate: Interval | null;
  rawSentiment: number;
  fluent: number;
  repetition: number;
  length: number;
  distinct2: number;
};
export type Summary = {
  seed: number;
  backend: string;
  seconds: number;
  share: number;
  data: Outcome['data'];
  rewardModel: Outcome['rewardModel'];
  config: QuickstartConfig;
  arms: Record<Arm, ArmSummary>;
};
export type Facts = { outcome: Outcome; config: QuickstartConfig; seed: number; backend: BackendInfo; share: number };

export function summarise({ outcome, config, seed, backend, share }: Facts): Summary {
  const { base } = outcome.evaluations;
  const of = (arm: Arm): ArmSummary => {
    const own = outcome.evaluations[arm];
    const draws = rng(seed).fork('win rate', arm);
    return {
      goldReward: interval(tInterval(own.goldReward)),
      goldGain: arm === 'base' ? null : interval(pairedDifference(own.goldReward, base.goldReward)),
      learnedReward: mean(own.learnedReward ?? [Number.NaN]),
      kl: klOf(arm, own, config),
      winRate: arm === 'base' ? null : interval(winRate(own.goldReward, base.goldReward, { draws })),
      rawSentiment: mean(own.rawSentiment),
      fluent: mean(own.fluent),
      repetition: mean(own.repetition),
      length: mean(own.length),
      distinct2: own.distinct2,
    };
  };
  const { seconds, data, rewardModel } = outcome;
  return {
    seed,
    backend: backend.name,
    seconds,
    share,
    data,
    rewardModel,
    config,
    arms: Object.fromEntries(arms.map((arm) => [arm, of(arm)])) as Record<Arm, ArmSummary>,
  };
}

/** Best-of-n has no log-probabilities of its own; its KL is at most log n - (n - 1) / n. */
const klOf = (arm: Arm, own: Evaluation, config: QuickstartConfig): number =>
  arm === 'bestOf8' ? bestOfNKl(config.evaluation.bestOf) : mean(own.kl);
const interval = ({ mean, low, high }: Estimate): Interval => ({ mean, ci95: [low, high] });
const measured = (x: Interval | null): Measured | null => x && { mean: x.mean, low: x.ci95[0], high: x.ci95[1] };

/** The table in characters, for the terminal. */
export function textTable(summary: Summary): string {
  const signed = (x: number) => (x >= 0 ? '+' : '−') + Math.abs(x).toFixed(2);
  const percent = (x: number) => `${Math.round(100 * x)}%`;
  const header = ['', 'gold', 'gain over base, 95%', 'learned', 'KL', 'win rate, 95%', 'VADER', 'fluent', 'repeats', 'tokens'];
  const rows = arms.map((arm) => {
    const own = summary.arms[arm];
    return [
      armNames[arm],
      signed(own.goldReward.mean),
      own.goldGain ? `${signed(own.goldGain.mean)} [${own.goldGain.ci95.map(signed).join(', ')}]` : '',
      signed(own.learnedReward),
      own.kl.toFixed(1),
      own.winRate ? `${percent(own.winRate.mean)} [${own.winRate.ci95.map(percent).join(', ')}]` : '',
      signed(own.rawSentiment),
      percent(own.fluent),
      percent(own.repetition),
      own.length.toFixed(0),
    ];
  });
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i].length)));
  const line = (row: string[]) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  return [line(header), ...rows.map(line)].join('\n').replace(/ +$/gm, '');
}

/** What happened, in plain words that follow from the numbers alone. */
export function story({ outcome }: Facts, summary: Summary): string[] {
  const { data, rewardModel } = outcome;
  const { base } = summary.arms;
  const change = (arm: Arm) => {
    const { goldGain, kl, winRate: rate } = summary.arms[arm];
    const [low, high] = goldGain!.ci95;
    const size = `${number(goldGain!.mean)} (95% interval ${number(low)} to ${number(high)})`;
    const said =
      low > 0
        ? `gained ${size} in gold reward over the base`
        : high < 0
          ? `lost ${size} in gold reward to the base`
          : `cannot be told from the base in gold reward: ${size}`;
    return `${said}, at ${kl.toFixed(1)} nats of KL a sequence, and is better on ${Math.round(100 * rate!.mean)}% of the prompts`;
  };
  const first = `The base model continued ${data.groups} story openings, ${data.completions / data.groups} times each. Its ${data.pairs} preference pairs are what the gold reward says of those texts: how happy they are (VADER), counted only where the base finds them fluent. A reward model trained on the pairs agrees with the gold on ${Math.round(100 * rewardModel.accuracy)}% of ${rewardModel.heldOutPairs} pairs that it had not seen.`;
  const second = `On held-out openings the base earns ${number(base.goldReward.mean)}. Taking the best of 8 samples by the reward model ${change('bestOf8')}. DPO ${change('dpo')}. GRPO against the reward model ${change('grpo')}.`;
  return [first, second, overOptimisation(outcome.curves.grpoOveroptimised, summary)];
}

function overOptimisation(curve: Curve, { arms: { grpo, grpoOveroptimised: tooFar } }: Summary): string {
  const smooth = smoothed(curve);
  const last = smooth.at(-1);
  if (!last) return 'The run that was to go too far left no curve.';
  const peak = smooth.reduce((a, b) => (b.gold > a.gold ? b : a));
  const fell = peak.gold - last.gold;
  const climbed = last.learned - peak.learned;
  if (fell > 0.1 && climbed > 0)
    return `The last arm is over-optimisation on purpose, with too large a step and too small a KL weight. Until step ${peak.step} learned and gold reward rose together, the gold to ${number(peak.gold)}. From there the learned reward went on from ${number(peak.learned)} to ${number(last.learned)} while the gold fell by ${fell.toFixed(2)} to ${number(last.gold)}, at ${last.kl.toFixed(1)} nats of KL: the policy found texts that the reward model likes and that are no longer good. On held-out openings it scores ${number(tooFar.learnedReward)} with the reward model (GRPO with sound settings: ${number(grpo.learnedReward)}) and ${number(tooFar.goldReward.mean)} with the gold (${number(grpo.goldReward.mean)}); ${Math.round(100 * tooFar.fluent)}% of its texts are fluent.`;
  return `The last arm was to show over-optimisation, with too large a step and too small a KL weight. Here it did not: its gold reward peaked at ${number(peak.gold)} (step ${peak.step}) and ended at ${number(last.gold)}, while the learned reward went from ${number(peak.learned)} to ${number(last.learned)}. More steps, a larger rate or a smaller KL weight would take it further.`;
}

const number = (x: number): string => (x >= 0 ? '+' : '−') + Math.abs(x).toFixed(2);

/** Means over up to five steps to either side. */
function smoothed(curve: Curve): Curve {
  return curve.map((point, i) => {
    const near = curve.slice(Math.max(0, i - 5), i + 6);
    const average = (key: 'learned' | 'gold' | 'kl') => near.reduce((sum, one) => sum + one[key], 0) / near.length;
    return { step: point.step, learned: average('learned'), gold: average('gold'), kl: average('kl') };
  });
}

export function quickstartPage(facts: Facts, summary: Summary): ReportPage {
  const { outcome, config, seed, backend, share } = facts;
  const columns: Column[] = [
    { key: 'arm', label: 'Arm' },
    {
      key: 'gold',
      label: 'Gold',
      signed: true,
      help: 'VADER sentiment of the continuation in [-1, 1], counted only where the base finds it fluent and it does not loop; else -1. Mean over prompts.',
    },
    {
      key: 'gain',
      label: 'Gain',
      signed: true,
      help: 'Difference to the base on the same prompts, with its 95% interval over prompts.',
    },
    {
      key: 'learned',
      label: 'Learned reward',
      signed: true,
      help: "The reward model's score, in standard deviations of the base's own samples.",
    },
    {
      key: 'kl',
      label: 'KL',
      unit: 'nats',
      digits: 1,
      help: 'Divergence from the base per sequence, estimated on samples. For best of 8 it is the bound log 8 - 7/8.',
    },
    {
      key: 'win',
      label: 'Win rate',
      percent: true,
      digits: 0,
      help: 'Share of prompts with a better mean gold reward than the base, ties half, with its 95% interval.',
    },
    { key: 'raw', label: 'VADER', signed: true, help: 'Sentiment whatever the guard says: it rises through the collapse.' },
    { key: 'fluent', label: 'Fluent', percent: true, digits: 0, help: 'Share of texts that pass the guard.' },
    { key: 'repetition', label: 'Repeats', percent: true, digits: 1, help: 'Share of word 3-grams that occurred before in the text.' },
    { key: 'distinct', label: 'Distinct', help: 'Different word pairs over all word pairs of all texts of the arm.' },
    { key: 'length', label: 'Tokens', digits: 0 },
  ];
  const rows = arms.map((arm) => {
    const own = summary.arms[arm];
    return {
      arm: armNames[arm],
      gold: own.goldReward.mean,
      gain: measured(own.goldGain),
      learned: own.learnedReward,
      kl: own.kl,
      win: measured(own.winRate),
      raw: own.rawSentiment,
      fluent: own.fluent,
      repetition: own.repetition,
      distinct: own.distinct2,
      length: own.length,
    };
  });
  const step: Axis = { label: 'Step' };
  const lines = (curve: Curve): Series[] => {
    const smooth = smoothed(curve);
    return [
      { name: 'learned reward', points: smooth.map(({ step, learned }) => ({ x: step, y: learned })) },
      { name: 'gold reward', points: smooth.map(({ step, gold }) => ({ x: step, y: gold })) },
    ];
  };
  const frontier = (key: 'gold' | 'learned') =>
    arms.map((arm) => {
      const own = summary.arms[arm];
      const y = key === 'gold' ? own.goldReward.mean : own.learnedReward;
      return {
        name: armNames[arm],
        points: [
          {
            x: Math.max(0, own.kl),
            y,
            label: armNames[arm],
            ...(key === 'gold' && { low: own.goldReward.ci95[0], high: own.goldReward.ci95[1] }),
          },
        ],
      };
    });
  const kl: Axis = { label: 'KL to the base, nats a sequence', scale: 'sqrt' };
  const { evaluations } = outcome;
  const shown = evaluations.base.samples.slice(0, 6).map((_, i) => ({
    prompt: evaluations.base.samples[i].prompt,
    texts: arms.map((arm) => ({
      label: armNames[arm],
      text: evaluations[arm].samples[i].completions[0],
      note: `mean gold on this prompt ${number(evaluations[arm].goldReward[i])}, learned ${number(evaluations[arm].learnedReward?.[i] ?? Number.NaN)}`,
    })),
  }));
  const paragraphs = story(facts, summary);
  if (share < 1)
    paragraphs.push(
      `Warning: this run used the ${backend.name} backend, and so only ${share < 0.1 ? `a ${Math.round(1 / share)}th` : 'a third'} of the policy updates. A C++ compiler gives the native backend and the whole job.`,
    );
  const gain = (arm: Arm) => {
    const own = summary.arms[arm].goldGain!;
    return {
      label: `${armNames[arm]}: gold over base`,
      value: number(own.mean),
      note: `${number(own.ci95[0])} to ${number(own.ci95[1])}`,
      tone: own.ci95[0] > 0 ? ('good' as const) : own.ci95[1] < 0 ? ('bad' as const) : ('neutral' as const),
    };
  };
  return {
    title: 'A reward learned from preferences, and what aligning to it did',
    subtitle: `${config.model}, seed ${seed}, ${backend.name} backend, ${duration(summary.seconds)}`,
    paragraphs,
    highlights: (['bestOf8', 'dpo', 'grpo', 'grpoOveroptimised'] as const).map(gain),
    sections: [
      {
        title: 'All arms',
        kind: 'table',
        columns,
        rows,
        paragraphs: [
          `${config.evaluation.prompts} openings that no arm was trained on, ${config.evaluation.samplesPerPrompt} continuations each.`,
        ],
      },
      {
        title: 'While GRPO trains',
        kind: 'group',
        paragraphs: ['Both rewards on the training batches, averaged over up to eleven steps. The gold is watched and never trained on.'],
        blocks: [
          { title: 'Sound settings', kind: 'lineChart', x: step, y: { label: 'Reward', mark: 0 }, series: lines(outcome.curves.grpo) },
          {
            title: 'Too far on purpose',
            kind: 'lineChart',
            x: step,
            y: { label: 'Reward', mark: 0 },
            series: lines(outcome.curves.grpoOveroptimised),
          },
        ],
      },
      {
        title: 'Reward against KL',
        kind: 'group',
        paragraphs: ['How far each arm went from the base, and what it got for it: by the gold, and by the reward model.'],
        blocks: [
          {
            title: 'Gold reward',
            kind: 'scatter',
            x: kl,
            y: { label: 'Gold reward', mark: summary.arms.base.goldReward.mean },
            series: frontier('gold'),
          },
          { title: 'Learned reward', kind: 'scatter', x: kl, y: { label: 'Learned reward' }, series: frontier('learned') },
        ],
      },
      { title: 'The same openings, continued by each arm', kind: 'sideBySide', groups: shown, markDifferences: true },
      { title: 'Settings', kind: 'keyValues', entries: flatten({ seed, backend: backend.name, ...config }) },
    ],
    footer: 'Made by `npm start`. Beside this page: `summary.json`, and a folder for each stage with its metrics, checkpoints and model.',
  };
}

/** `{ dpo: { steps: 100 } }` as `[['dpo.steps', 100]]`. */
export function flatten(settings: object, prefix = ''): [string, string | number | boolean][] {
  return Object.entries(settings).flatMap(([key, value]): [string, string | number | boolean][] =>
    typeof value === 'object' && value !== null ? flatten(value, `${prefix}${key}.`) : [[prefix + key, value as string | number | boolean]],
  );
}
