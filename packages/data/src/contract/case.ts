/** Contract suites know no test framework: each is a list of cases that any runner can run. */
export type ContractCase = { name: string; run(): Promise<void> };

export function ensure(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`contract broken: ${message}`);
}

/** Every entry within `tolerance · (1 + |expected|)`. */
export function ensureClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  ensure(actual.length === expected.length, `${what}: ${actual.length} values, expected ${expected.length}`);
  for (let i = 0; i < actual.length; i++) {
    const error = Math.abs(actual[i] - expected[i]) / (1 + Math.abs(expected[i]));
    ensure(error <= tolerance, `${what}: at ${i} ${actual[i]}, expected ${expected[i]} within ${tolerance}`);
  }
}

/** The error that `f` throws. */
export async function ensureThrows(f: () => unknown, what: string): Promise<Error> {
  try {
    await f();
  } catch (error) {
    ensure(error instanceof Error && error.message.length > 0, `${what}: threw something that is not an error with a message`);
    return error;
  }
  throw new Error(`contract broken: ${what}: nothing was thrown`);
}
