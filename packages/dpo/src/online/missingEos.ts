/** What an answer that did not come to its end is worth less: TRL `missing_eos_penalty`, which is taken from the reward before answers are compared. */
import { ConfigError } from '@plumbline/core';
import type { PairVerdict, Tokenizer } from '@plumbline/data';

/** Whether an answer lacks its end token. @throws ConfigError where the tokenizer has none */
export function missesEos(tokens: Int32Array, { eosId }: Tokenizer): boolean {
  if (eosId === undefined) throw new ConfigError('missingEosPenalty: the tokenizer has no end token that an answer could lack');
  return tokens.at(-1) !== eosId;
}

/**
 * The verdicts on answers of which `missing` lack their end, `probA = σ(logOdds − penalty·(a lacks it) + penalty·(b lacks it))`. One that was not parsed stays as it is.
 *
 * @param judge   who gave them, for errors
 * @param missing of each pair, whether a and b lack it
 * @throws ConfigError where a verdict has no log-odds: a judge that compares gives no reward that something could be taken from
 */
export function penaliseMissingEos(
  judge: string,
  verdicts: readonly PairVerdict[],
  missing: readonly (readonly [a: boolean, b: boolean])[],
  penalty: number,
): PairVerdict[] {
  return verdicts.map((verdict, i) => {
    if (!verdict.parsed) return verdict;
    if (verdict.logOdds === undefined)
      throw new ConfigError(`missingEosPenalty is taken from a reward, and ${judge} compares answers without one`);
    const [a, b] = missing[i];
    const logOdds = verdict.logOdds - penalty * (Number(a) - Number(b));
    return { ...verdict, logOdds, probA: 1 / (1 + Math.exp(-logOdds)), winner: logOdds > 0 ? 'a' : logOdds < 0 ? 'b' : 'tie' };
  });
}
