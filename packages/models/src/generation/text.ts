/** Text out of tokens as they come. */
import type { Tokenizer } from '@plumbline/data';

export type TextStream = {
  /** What the new token makes certain: whole characters, and nothing that a stop string may yet take back. */
  push(tokens: readonly number[]): string;
  /** The rest of the sequence's text. */
  end(text: string): string;
};

/** All pieces together are the sequence's text: special tokens and what follows a stop string are not in it. */
export function textStream(tokenizer: Tokenizer, stop: readonly string[]): TextStream {
  let context = 0; // tokens before this one are settled; from here on they are decoded again, since a token's text may depend on the one before
  let settled = 0; // tokens whose text is in `text`
  let text = '';
  let given = 0;
  const decode = (tokens: readonly number[]) => tokenizer.decode(tokens, { skipSpecial: true });
  return {
    push(tokens) {
      const before = decode(tokens.slice(context, settled));
      const now = decode(tokens.slice(context));
      if (now.length <= before.length || now.endsWith('\ufffd')) return ''; // no text, or in the middle of a character
      text += now.slice(before.length);
      context = settled;
      settled = tokens.length;
      const safe = text.length - heldBack(text.slice(given), stop);
      const piece = text.slice(given, safe);
      given = Math.max(given, safe);
      return piece;
    },
    end(whole) {
      const piece = whole.slice(given);
      given = whole.length;
      return piece;
    },
  };
}

/** How many characters at the end may be the beginning of a stop string, or hold one. */
function heldBack(text: string, stop: readonly string[]): number {
  let held = 0;
  for (const one of stop) {
    const whole = text.indexOf(one);
    if (whole >= 0) held = Math.max(held, text.length - whole);
    for (let length = Math.min(one.length - 1, text.length); length > held; length--)
      if (text.endsWith(one.slice(0, length))) held = length;
  }
  return held;
}

/** The text before the first of the stop strings in it. */
export function cutAtStop(text: string, stop: readonly string[]): string {
  const found = stop.map((one) => text.indexOf(one)).filter((at) => at >= 0);
  return found.length > 0 ? text.slice(0, Math.min(...found)) : text;
}
