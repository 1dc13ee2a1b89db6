/** Why TensorFlow cannot be used here, in one sentence that says what to do. */
export class TensorflowError extends Error {
  override name = 'TensorflowError';
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
