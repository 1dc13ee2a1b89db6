import { ConfigError } from '@plumbline/core';
import type { DecoderWeights } from './decoder.js';

/**
 * The weights of a model, in the order of `shapes`. `spare` says of which others it is known that files carry them needlessly.
 * @throws ConfigError listing what is missing, misshapen, or not part of `what`
 */
export function fittedWeights(
  shapes: Record<string, readonly number[]>,
  weights: DecoderWeights,
  name: string,
  what: string,
  spare: (key: string) => boolean = () => false,
): DecoderWeights {
  const problems: string[] = [];
  for (const [key, shape] of Object.entries(shapes)) {
    const found = weights[key];
    if (!found) problems.push(`"${key}" [${shape}] is missing`);
    else if (found.shape.join() !== shape.join()) problems.push(`"${key}" is [${found.shape}], not [${shape}]`);
  }
  for (const key of Object.keys(weights))
    if (!(key in shapes) && !spare(key)) problems.push(`"${key}" [${weights[key].shape}] is not part of ${what}`);
  if (problems.length > 0) {
    throw new ConfigError(
      `${name}: the weights do not fit the configuration: ${problems.slice(0, 6).join('; ')}${problems.length > 6 ? `; and ${problems.length - 6} more` : ''}`,
    );
  }
  return Object.fromEntries(Object.keys(shapes).map((key) => [key, weights[key]]));
}
