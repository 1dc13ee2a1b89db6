/** The settings of the words recipes, as measured in the model cards. */
import type { PretrainingConfig } from './pretrain.js';

export const endOfText = '<|endoftext|>';

export type WordsConfig = PretrainingConfig & {
  /** The card's first paragraph: one line that says what it is, and what it is not. */
  readonly about: string;
  readonly shape: {
    vocabSize: number;
    width: number;
    layers: number;
    heads: number;
    mlpWidth: number;
    contextLength: number;
  };
  readonly stories: number;
  readonly heldOutStories: number;
  /** Share of the prose documents. */
  readonly heldOutDocuments: number;
  /** More than the steps read: no window of prose is likely to come twice. */
  readonly proseBytes: number;
  /** One step in so many reads prose. */
  readonly proseEvery: number;
  readonly storiesPerStep: number;
  readonly proseWindowsPerStep: number;
  /** How much the card samples. */
  readonly measured: { stories: number; prompts: number; samplesPerPrompt: number };
};

export const words1mSettings: WordsConfig = {
  name: 'words-1m',
  about: `A decoder of 1.07 million parameters for Plumbline's words bed: it continues simple stories. It is not a model of English: what it writes
as prose is not, and it knows nothing. It is small enough to be aligned in front of one's eyes.`,
  shape: { vocabSize: 2048, width: 128, layers: 4, heads: 4, mlpWidth: 352, contextLength: 128 },
  stories: 40_000,
  heldOutStories: 1000,
  heldOutDocuments: 0.03,
  proseBytes: 5e6,
  proseEvery: 4,
  steps: 3000,
  storiesPerStep: 18,
  proseWindowsPerStep: 10,
  learningRate: 4e-3,
  warmupSteps: 60,
  flatShare: 0.3,
  beta1: 0.9,
  beta2: 0.98,
  weightDecay: 0.05,
  measured: { stories: 200, prompts: 128, samplesPerPrompt: 8 },
};

/** Six layers of twice the width, and a vocabulary twice as large: a token costs five times as much, and a story has fewer of them. */
export const words6mSettings: WordsConfig = {
  ...words1mSettings,
  name: 'words-6m',
  about: `A decoder of 5.9 million parameters for Plumbline's words bed, the larger sister of words-1m: it continues simple stories. It is not a
model of English: its prose has the words and the rhythm of its sources, and no meaning.`,
  shape: { vocabSize: 4096, width: 256, layers: 6, heads: 8, mlpWidth: 704, contextLength: 256 },
  stories: 60_000,
  proseBytes: 8e6,
  steps: 4000,
  storiesPerStep: 20,
  proseWindowsPerStep: 5,
  learningRate: 2.5e-3,
};

/** The text and tokenizer of `words-1m`, other weights and batches. */
export const words1mSeedSettings = (seed: number): WordsConfig => ({
  ...words1mSettings,
  name: `words-1m-seed${seed}`,
  about: `A decoder of 1.07 million parameters like words-1m, pretrained on the same text from other weights and in another order, in half the steps: members of
ensembles that differ by pretraining (Eisenstein et al. 2023, arXiv:2312.09244) are made of words-1m and its sisters.`,
  steps: 1500,
  measured: { ...words1mSettings.measured, prompts: 48 },
});
