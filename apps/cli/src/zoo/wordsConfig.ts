/** The settings of the words recipe, as measured in the model card. */
export const endOfText = '<|endoftext|>';
export const settings = {
  shape: { vocabSize: 2048, width: 128, layers: 4, heads: 4, mlpWidth: 352, contextLength: 128 },
  stories: 40_000,
  heldOutStories: 1000,
  heldOutDocuments: 0.03,
  /** More than the steps read: no window of prose is likely to come twice. */
  proseBytes: 5e6,
  steps: 3000,
  storiesPerStep: 18,
  proseWindowsPerStep: 10,
  learningRate: 4e-3,
  warmupSteps: 60,
  flatShare: 0.3,
  beta1: 0.9,
  beta2: 0.98,
  weightDecay: 0.05,
  /** How much the card samples. */
  measured: { stories: 200, prompts: 128, samplesPerPrompt: 8 },
};
/** Every fourth step reads prose. */
export const proseEvery = 4;

export type WordsConfig = typeof settings;
