import { initBackend } from '../index.node.js';

/** Those of these backends that start here; tests run on each, and name what is missing. */
export async function backendsHere(
  names: readonly string[] = ['cpu', 'native', 'wasm'],
): Promise<{ present: string[]; missing: string[] }> {
  const present: string[] = [];
  const missing: string[] = [];
  for (const backend of names)
    await initBackend({ backend }).then(
      () => present.push(backend),
      (error: Error) => missing.push(`${backend}: ${error.message}`),
    );
  return { present, missing };
}
