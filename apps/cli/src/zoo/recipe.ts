/** What a zoo recipe is: code that remakes one of the models in packages/zoo from text that can be generated or fetched. */
export type RecipeOptions = {
  /** Of the weights, the batches and the sampled stories of the card. */
  seed: number;
  /** Where the model goes: config.json, model.safetensors, tokenizer.json, README.md. */
  out: string;
  /** The run folder: checkpoints and metrics.jsonl. A run that was interrupted goes on from there. */
  runDir: string;
  signal?: AbortSignal;
  /** `stage` is what is being done, `done` of `total` in `unit`; `note` a short reading such as the loss. */
  onProgress?: (progress: { stage: string; done: number; total: number; unit: string; note?: string }) => void;
};

export type RecipeResult = {
  /** By file name, as hexadecimal. */
  sha256: Record<string, string>;
  seconds: number;
  /** What the model card says, by name. */
  measured: Record<string, number>;
};

export type Recipe = {
  readonly name: string;
  readonly about: string;
  /** The seed that the shipped files were made with, and the one that is used where none is given; 0 by default. */
  readonly seed?: number;
  train(options: RecipeOptions): Promise<RecipeResult>;
};
