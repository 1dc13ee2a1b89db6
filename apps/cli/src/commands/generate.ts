/** `plumb generate`: continuations of a prompt, or of a file of them. */
import { readFileSync } from 'node:fs';
import { ConfigError, rng, writeFileAtomic } from '@plumbline/core';
import { encodePrompt, type Prompt } from '@plumbline/data';
import { generate } from '@plumbline/models';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { modelParts, openDecoder } from '../models.js';
import { wholeNumber } from '../settings.js';
import { stopSignal } from '../stop.js';

export type GenerateFlags = BackendFlags & {
  model: string;
  prompt?: string;
  chat?: boolean;
  system?: string;
  prompts?: string;
  n: string;
  maxTokens: string;
  temperature: string;
  topP?: string;
  topK?: string;
  minP?: string;
  repetitionPenalty?: string;
  stop?: string[];
  seed: string;
  stream?: boolean;
  out?: string;
  longPrompts?: 'error' | 'left';
  storage?: 'f32' | 'bf16' | 'int8';
  products?: 'f32' | 'bf16';
};

type Row = { prompt: Prompt } & Record<string, unknown>;

export async function generateText(flags: GenerateFlags): Promise<void> {
  const { model, storage, products, out, stop, stream, longPrompts } = flags;
  if ((flags.prompt === undefined) === (flags.prompts === undefined))
    throw new ConfigError('give either --prompt TEXT or --prompts FILE.jsonl');
  const rows = flags.prompts === undefined ? [{ prompt: promptOf(flags) }] : readPrompts(flags.prompts);
  const n = wholeNumber('--n', flags.n, 1);
  if (stream && (rows.length > 1 || n > 1)) throw new ConfigError('--stream shows one answer as it comes; it takes one prompt and --n 1');
  const options = {
    n,
    maxTokens: wholeNumber('--max-tokens', flags.maxTokens, 1),
    temperature: number('--temperature', flags.temperature),
    ...(flags.topP !== undefined && { topP: number('--top-p', flags.topP) }),
    ...(flags.topK !== undefined && { topK: wholeNumber('--top-k', flags.topK) }),
    ...(flags.minP !== undefined && { minP: number('--min-p', flags.minP) }),
    ...(flags.repetitionPenalty !== undefined && { repetitionPenalty: number('--repetition-penalty', flags.repetitionPenalty) }),
    ...(longPrompts && { longPrompts }),
    stop,
    rng: rng(wholeNumber('--seed', flags.seed)),
  };
  modelParts(model); // an error now, not after the start of the backend
  await startBackend(flags);
  const signal = stopSignal('stopping: what there is by now is kept; once more to stop at once');
  const decoder = await openDecoder(model, { storage, products });
  try {
    const prompts = rows.map(({ prompt }) => encodePrompt(decoder.tokenizer, prompt));
    const start = performance.now();
    let tokens = 0;
    const answers = await generate(decoder, prompts, {
      ...options,
      signal,
      onToken: ({ text }) => {
        tokens++;
        if (stream) process.stdout.write(text);
      },
    });
    const seconds = (performance.now() - start) / 1000;
    if (stream)
      await new Promise<void>((written) => process.stdout.write('\n', () => written())); // before what standard error says
    else if (out === undefined && flags.prompts === undefined)
      for (const { text } of answers[0]) console.log(n > 1 ? `${text}\n${pc.dim('---')}` : text);
    else await writeAnswers(out, rows, answers);
    const aborted = answers.flat().filter(({ finish }) => finish === 'aborted').length;
    console.error(
      pc.dim(
        `${tokens} tokens in ${seconds.toFixed(1)} s, ${(tokens / seconds).toFixed(0)} a second${aborted > 0 ? `; ${aborted} answers were cut short` : ''}`,
      ),
    );
  } finally {
    decoder.dispose();
  }
}

function promptOf({ prompt, chat, system }: GenerateFlags): Prompt {
  if (!chat && system === undefined) return prompt!;
  return [...(system === undefined ? [] : [{ role: 'system', content: system }]), { role: 'user', content: prompt! }];
}

/** Rows with a `prompt` (text or messages), `messages`, or text alone; the other columns stay with the answers. */
function readPrompts(path: string): Row[] {
  const rows: Row[] = [];
  readFileSync(path, 'utf8')
    .split('\n')
    .forEach((line, i) => {
      if (line.trim() === '') return;
      let row: unknown;
      try {
        row = JSON.parse(line);
      } catch (error) {
        throw new ConfigError(`${path}:${i + 1}: not JSON: ${(error as Error).message}`);
      }
      const { prompt, messages, ...rest } = (typeof row === 'string' ? { prompt: row } : (row ?? {})) as Record<string, unknown>;
      const found = prompt ?? messages;
      if (typeof found !== 'string' && !Array.isArray(found))
        throw new ConfigError(
          `${path}:${i + 1}: expected a "prompt" (text or messages) or "messages", found ${Object.keys(row as object).join(', ') || 'nothing'}`,
        );
      rows.push({ prompt: found as Prompt, ...rest });
    });
  if (rows.length === 0) throw new ConfigError(`${path}: there are no prompts in it`);
  return rows;
}

async function writeAnswers(out: string | undefined, rows: readonly Row[], answers: Awaited<ReturnType<typeof generate>>): Promise<void> {
  const lines = rows.flatMap((row, i) =>
    answers[i].map(({ text, finish, tokens, samplingLogps }, sample) =>
      JSON.stringify({
        ...row,
        completion: typeof row.prompt === 'string' ? text : [{ role: 'assistant', content: text }],
        sample,
        finish,
        tokens: tokens.length,
        logp: samplingLogps.reduce((a, b) => a + b, 0),
      }),
    ),
  );
  if (out === undefined) console.log(lines.join('\n'));
  else await writeFileAtomic(out, `${lines.join('\n')}\n`);
}

function number(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new ConfigError(`${flag} must be a number, got "${text}"`);
  return value;
}
