import { repetition } from '@plumbline/data/statistics';
import { checkRange, type Verifier, verifier } from './verifier.js';

/**
 * Minus the share of the text's n-grams of words that stood in it before, times `penalty`: 0 where nothing repeats, near `-penalty` for a loop. Texts with fewer than `n` words
 * have none. Yeo et al. 2025, arXiv:2502.03373, section 4.
 */
export function repetitionPenalty({ n = 3, penalty = 1 }: { n?: number; penalty?: number } = {}): Verifier {
  checkRange('repetitionPenalty', 'n', n, 1);
  checkRange('repetitionPenalty', 'penalty', penalty, 0);
  return verifier(`repetition of ${n} words`, 'score', (text) => {
    const words = text.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{N}'’]*|[\p{Script=Han}]/gu) ?? [];
    return words.length < n ? 0 : -penalty * repetition(words, n) + 0; // + 0: no -0
  });
}
