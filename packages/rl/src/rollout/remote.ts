/** Sampling by a vLLM server that holds the base model and is given the policy's adapter after each update. */
import { ConfigError } from '@plumbline/core';
import { createRequester, type LocalDecoder, type RequestOptions, ServerError } from '@plumbline/models';
import type { Rollout, RolloutSample } from './generate.js';

export type RemoteOptions = RequestOptions & {
  /** What the adapter is called on the server; a version is `name-v7`. */
  name?: string;
  /** Puts the policy's adapter where the server can read it, such as with `saveAdapter` into a folder that both see, and answers its path on the server. */
  publish: (policy: LocalDecoder, version: number) => Promise<string>;
  /** Ask for the sampler's log-probabilities: they are compared with the trainer's (`policy/samplerGap`), and corrections need them. */
  logps?: boolean;
};

export interface RemotePolicy {
  rollout: Rollout;
  /** Brings the policy to the server; the version before it is unloaded. */
  afterUpdate: (policy: LocalDecoder, version: number) => Promise<void>;
}

/**
 * What `trainPolicy` needs to have its samples drawn by a server: `trainPolicy(config, { ...remotePolicy(options), policy, ... })`.
 *
 * The server is vLLM's, started with `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True` (and `--max-lora-rank`, for an adapter of a rank above its 16); adapters come and go by
 * `/load_lora_adapter` and `/unload_lora_adapter`. Every sampling parameter is sent, since what a request leaves out vLLM takes from the model's `generation_config.json`. Each answer says which version wrote it, and samples are tagged with that; the trainer refuses those that are older than
 * `maxStaleness`. Prompts travel as token ids and come back as such. At a temperature other than 1, or with a repetition penalty, start the server with
 * `--logprobs-mode processed_logprobs`, or its log-probabilities are of another distribution than the trainer's.
 *
 * @throws ConfigError for a server that cannot load adapters; ServerError where it refuses, answers under another name, or does not name its tokens
 */
export function remotePolicy({ name = 'plumbline', publish, logps = true, ...request }: RemoteOptions): RemotePolicy {
  const requester = createRequester(request);
  const send = request.fetch ?? fetch;
  const base = request.url.replace(/\/$/, '');
  const nameOf = (version: number) => `${name}-v${version}`;
  let loaded: number | undefined;

  /** Adapters are loaded and unloaded with an answer that is plain text, and not twice. */
  const tell = async (path: string, body: object): Promise<{ status: number; text: string }> => {
    const headers = {
      'content-type': 'application/json',
      ...(request.apiKey && { authorization: `Bearer ${request.apiKey}` }),
      ...request.headers,
    };
    try {
      const limit = AbortSignal.timeout((request.timeoutSeconds ?? 120) * 1000);
      const response = await send(`${base}${path}`, { method: 'POST', headers, body: JSON.stringify(body), signal: limit });
      return { status: response.status, text: await response.text() };
    } catch (error) {
      throw new ServerError(`${base}${path} gave no answer: ${(error as Error).message}`);
    }
  };

  const bring = async (policy: LocalDecoder, version: number): Promise<void> => {
    if (loaded === version) return;
    const load = { lora_name: nameOf(version), lora_path: await publish(policy, version) };
    let answer = await tell('/load_lora_adapter', load);
    if (answer.status === 400 && /already/i.test(answer.text)) {
      await tell('/unload_lora_adapter', { lora_name: load.lora_name }); // of a run before this one
      answer = await tell('/load_lora_adapter', load);
    }
    if (cannotLoad(answer))
      throw new ConfigError(
        `${base} cannot load adapters (${answer.status}); a server that samples for a trainer must: start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and give the URL of its API, such as http://localhost:8000/v1`,
      );
    if (answer.status !== 200)
      throw new ServerError(
        `${base}/load_lora_adapter refused ${load.lora_path}: ${answer.status} ${answer.text.slice(0, 200)}`,
        answer.status,
      );
    if (loaded !== undefined) await tell('/unload_lora_adapter', { lora_name: nameOf(loaded) });
    loaded = version;
  };

  return {
    afterUpdate: bring,
    rollout: async ({ policy, prompts, n, sampling, rng, version = 0, signal, onProgress }) => {
      await bring(policy, version);
      const { tokenizer } = policy;
      const { maxTokens, temperature = 1, topP = 1, topK = 0, minP = 0, repetitionPenalty = 1, stop } = sampling;
      const total = prompts.length * n;
      let [finished, tokens] = [0, 0];
      const drawn = await Promise.all(
        prompts.map(async (prompt, group): Promise<RolloutSample[]> => {
          const body = {
            model: nameOf(version),
            prompt: Array.from(prompt),
            n,
            max_tokens: maxTokens,
            temperature,
            top_p: topP,
            top_k: topK > 0 ? topK : -1,
            min_p: minP,
            repetition_penalty: repetitionPenalty,
            presence_penalty: 0,
            frequency_penalty: 0,
            ...(stop && stop.length > 0 && { stop }),
            ...(tokenizer.eosId !== undefined && { stop_token_ids: [tokenizer.eosId] }),
            seed: rng.fork(group).seed32 & 0x7fffffff,
            logprobs: 1,
            return_tokens_as_token_ids: true,
          };
          let answer: Answer;
          try {
            answer = (await requester.post('/completions', body, signal)) as Answer;
          } catch (error) {
            if (!signal?.aborted) throw error;
            const none = { text: '', tokens: new Int32Array(0), samplingLogps: new Float32Array(0), finish: 'aborted' as const };
            return Array.from({ length: n }, () => ({ ...none, prompt, group }));
          }
          const by = versionIn(answer.model, name);
          if (by === undefined)
            throw new ServerError(
              `${base} answered as ${JSON.stringify(answer.model)}, and ${nameOf(version)} was asked for: these are not samples of the policy`,
            );
          const choices = [...(answer.choices ?? [])].sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
          if (choices.length !== n) throw new ServerError(`${base} gave ${choices.length} completions for the ${n} that were asked for`);
          const samples = choices.map((choice) => ({ ...sampleOf(choice, base, logps), prompt, group, version: by }));
          finished += n;
          tokens += samples.reduce((sum, sample) => sum + sample.tokens.length, 0);
          onProgress?.({ tokens, finished, total });
          return samples.map((sample) => ({ ...sample, text: tokenizer.decode(sample.tokens, { skipSpecial: true }) }));
        }),
      );
      return drawn.flat();
    },
  };
}

/** No such path, or vLLM without `--enable-lora`; a path where there is no adapter is a 404 as well, which says so. */
const cannotLoad = ({ status, text }: { status: number; text: string }): boolean =>
  (status === 404 && !/no adapter found/i.test(text)) || status === 405 || status === 501 || /LoRA is not enabled/i.test(text);

type Choice = {
  index?: number;
  finish_reason?: string | null;
  logprobs?: { tokens?: string[]; token_logprobs?: (number | null)[] } | null;
};
type Answer = { model?: string; choices?: Choice[] };

function sampleOf({ finish_reason, logprobs }: Choice, base: string, logps: boolean) {
  const tokens = (logprobs?.tokens ?? []).map((token) => Number(/^token_id:(\d+)$/.exec(token)?.[1] ?? -1));
  if (tokens.includes(-1))
    throw new ServerError(`${base} does not name its tokens (return_tokens_as_token_ids); the ids are what is trained on`);
  const values = logprobs?.token_logprobs ?? [];
  if (logps && (values.length !== tokens.length || values.some((value) => typeof value !== 'number' || !Number.isFinite(value))))
    throw new ServerError(`${base} gave ${values.length} log-probabilities for ${tokens.length} tokens (logps: false goes without)`);
  return {
    tokens: Int32Array.from(tokens),
    samplingLogps: logps ? Float32Array.from(values as number[]) : new Float32Array(0),
    finish: finish_reason === 'length' ? ('length' as const) : ('stop' as const),
  };
}

function versionIn(model: string | undefined, name: string): number | undefined {
  const found = model?.startsWith(`${name}-v`) ? /^\d+$/.exec(model.slice(name.length + 2)) : null;
  return found ? Number(found[0]) : undefined;
}
