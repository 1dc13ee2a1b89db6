/** Models of the AI SDK as language models for judges: by their shape, without depending on the package. */
import type { Generation, LanguageModel, Message } from '@plumbline/data/light';

/** What is used of the AI SDK's `LanguageModelV2` to `V4` (and of `V1`, which answers `text`). */
export interface AiSdkModel {
  readonly modelId: string;
  readonly provider?: string;
  doGenerate(options: {
    prompt: { role: string; content: unknown }[];
    maxOutputTokens?: number;
    maxTokens?: number;
    temperature?: number;
    topP?: number;
    topK?: number;
    stopSequences?: string[];
    seed?: number;
    abortSignal?: AbortSignal;
    inputFormat?: 'messages';
    mode?: { type: 'regular' };
  }): PromiseLike<{ content?: readonly { type: string; text?: string }[]; text?: string; finishReason?: unknown }>;
}

/** An AI SDK model (`openai('...')`, `anthropic('...')`, ...) as a `LanguageModel`. It writes; it gives no log-probabilities. */
export function fromAiSdk(model: AiSdkModel): LanguageModel {
  const name = model.provider ? `${model.provider}/${model.modelId}` : model.modelId;
  return {
    name,
    can: { score: false, embed: false, logps: false },
    generate: (prompts, { n = 1, maxTokens, temperature, topP, topK, stop, rng, signal }) =>
      Promise.all(
        prompts.map((prompt, p) =>
          Promise.all(
            Array.from({ length: n }, async (_, k): Promise<Generation> => {
              const messages: readonly Message[] = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;
              const answer = await model.doGenerate({
                prompt: messages.map(({ role, content }) => ({
                  role,
                  content: role === 'system' ? content : [{ type: 'text', text: content }],
                })),
                maxOutputTokens: maxTokens,
                maxTokens,
                temperature,
                topP,
                topK,
                ...(stop && { stopSequences: [...stop] }),
                seed: rng.fork(p, k).seed32,
                abortSignal: signal,
                inputFormat: 'messages',
                mode: { type: 'regular' },
              });
              const text =
                answer.content
                  ?.filter(({ type }) => type === 'text')
                  .map(({ text = '' }) => text)
                  .join('') ??
                answer.text ??
                '';
              const reason =
                typeof answer.finishReason === 'string'
                  ? answer.finishReason
                  : (answer.finishReason as { unified?: string } | undefined)?.unified;
              return { text, tokens: new Int32Array(), samplingLogps: new Float32Array(), finish: reason === 'length' ? 'length' : 'stop' };
            }),
          ),
        ),
      ),
  };
}
