/** Episodes of several turns: the policy acts, a world answers in text, and only what the policy wrote is learned from. */
import { ConfigError, type Rng } from '@plumbline/core';
import { type Episode, isMessages, type Message, type PromptRecord, type TextEnv, type Tokenizer } from '@plumbline/data';
import { generate } from '@plumbline/models';
import type { Rollout, RolloutOptions, RolloutSample } from './generate.js';

export type EpisodeOptions = {
  /** A new world for each episode. */
  env: (record: PromptRecord) => TextEnv;
  /** Actions of an episode at most. */
  maxTurns: number;
  /** Tokens of an action; `maxTokens` of the trainer unless given. */
  maxTokensPerTurn?: number;
  /** Prompt, actions and observations together; the policy's context unless given. */
  maxContext?: number;
  /** End an action as the end token does, and belong to it. */
  stop?: readonly string[];
  /** What the world is told of what the policy wrote. An action that is not valid is counted, and the world sees it all the same. */
  parse?: (text: string) => { action: string; valid: boolean };
  /** How an observation stands between two actions; see `observationText`. `closed`: the action before it has its end token. */
  render?: (observation: string, about: { role: 'user' | 'tool'; first: boolean; closed: boolean }) => string;
  /** Where an action is cut by `maxTokensPerTurn` the episode ends, unless the world shall answer it nevertheless. */
  continueCut?: boolean;
};

type Live = {
  env: TextEnv;
  record: PromptRecord;
  group: number;
  index: number;
  rng: Rng;
  prompt: Int32Array;
  tokens: number[];
  mask: number[];
  logps: number[];
  episode: Episode;
  finish: RolloutSample['finish'];
  over: boolean;
  anchor?: string;
};

/**
 * A rollout of episodes for `trainPolicy`, all of a batch turn by turn.
 *
 * The ids that were sampled are the ids that are trained on: nothing is tokenized again, and observations are tokenized apart. The samples of a prompt
 * live in equal worlds (one seed a prompt), so that they can be compared. An observation that leaves no room for an action of `maxTokensPerTurn` tokens
 * ends the episode and is dropped whole. Each turn computes the conversation before it again.
 *
 * @throws ConfigError for options out of range, and where a prompt with the world's first observation leaves no room
 */
export function episodes(options: EpisodeOptions): Rollout {
  const { maxTurns, parse = (text: string) => ({ action: text, valid: true }), stop = [], continueCut = false } = options;
  if (!(Number.isInteger(maxTurns) && maxTurns >= 1))
    throw new ConfigError(`episodes: maxTurns must be a whole number above 0, got ${maxTurns}`);
  return async (rollout) => {
    const { policy, sampling, signal } = rollout;
    const { tokenizer } = policy;
    const perTurn = options.maxTokensPerTurn ?? sampling.maxTokens;
    const most = Math.min(options.maxContext ?? policy.contextLength, policy.contextLength);
    const render = options.render ?? ((text, { role, closed }) => observationText(tokenizer, text, { role, closed }));
    const all = await begin(options, rollout, render);
    try {
      for (const one of all)
        if (one.prompt.length + perTurn > most)
          throw new ConfigError(
            `episodes: prompt ${one.group} has ${one.prompt.length} tokens with what the world says first; ${most} leave no room for ${perTurn} more`,
          );
      for (let turn = 0; turn < maxTurns; turn++) {
        const live = all.filter(({ over }) => !over);
        if (live.length === 0 || signal?.aborted) break;
        const written = await generate(
          policy,
          live.map(({ prompt, tokens }) => Int32Array.from([...prompt, ...tokens])),
          {
            ...sampling,
            maxTokens: perTurn,
            stop: [...(sampling.stop ?? []), ...stop],
            n: 1,
            rng: eachItsOwn(rollout.rng, live, turn),
            signal,
            onProgress: rollout.onProgress,
          },
        );
        await Promise.all(
          live.map(async (one, i) => {
            const [{ tokens, samplingLogps, text, finish }] = written[i];
            one.tokens.push(...tokens);
            one.mask.push(...new Uint8Array(tokens.length).fill(1));
            one.logps.push(...samplingLogps);
            one.finish = finish;
            one.episode.turnEnds.push(one.logps.length - 1);
            one.episode.messages.push({ role: 'assistant', content: text });
            if (one.anchor !== undefined) one.episode.anchors = [...(one.episode.anchors ?? []), one.anchor];
            if (finish === 'aborted' || (finish === 'length' && !continueCut)) {
              one.episode.turnRewards.push(0);
              return close(one, finish === 'aborted' ? 'aborted' : 'cut');
            }
            const { action, valid } = parse(text);
            const answer = await one.env.step(action);
            if (!Number.isFinite(answer.reward))
              throw new ConfigError(
                `episodes: the world of prompt ${one.group}, sample ${one.index}, gave a reward of ${answer.reward} at turn ${turn}`,
              );
            one.episode.turnRewards.push(answer.reward);
            if (!valid || !answer.valid) one.episode.invalid++;
            if (answer.success !== undefined) one.episode.success = answer.success;
            if (answer.done) return close(one, 'done');
            one.anchor = answer.anchor;
            if (turn + 1 === maxTurns) return close(one, 'turns');
            const role = answer.role ?? 'user';
            const closed = tokenizer.eosId !== undefined && tokens[tokens.length - 1] === tokenizer.eosId;
            const said = tokenizer.encode(render(answer.observation, { role, first: false, closed }));
            if (one.prompt.length + one.tokens.length + said.length + perTurn > most) return close(one, 'context');
            one.tokens.push(...said);
            one.mask.push(...new Uint8Array(said.length));
            one.episode.messages.push({ role, content: answer.observation });
          }),
        );
      }
    } finally {
      for (const { env } of all) env.close();
    }
    return all.map((one) => sampleOf(one, tokenizer, signal?.aborted === true));
  };
}

/**
 * What stands between two actions. Under a chat template it is what the template writes between two answers: the end of the one before (unless the
 * policy wrote it), the observation's message and the beginning of the next answer. Else the observation between line ends.
 */
export function observationText(
  tokenizer: Tokenizer,
  observation: string,
  { role, closed }: { role: 'user' | 'tool'; closed: boolean },
): string {
  if (!tokenizer.hasChatTemplate) return `\n${observation}\n`;
  const mark = 'PLUMBLINE-ANSWER';
  const before: Message[] = [
    { role: 'user', content: '?' },
    { role: 'assistant', content: mark },
  ];
  const whole = tokenizer.renderChat([...before, { role, content: observation }], { addGenerationPrompt: true });
  const at = whole.indexOf(mark);
  if (at < 0)
    throw new ConfigError(
      `${tokenizer.name}: its chat template does not write the answer of an earlier turn; give episodes a render of its own`,
    );
  const rest = whole.slice(at + mark.length);
  const end = tokenizer.eosId === undefined ? '' : tokenizer.decode([tokenizer.eosId]);
  return closed && end !== '' && rest.startsWith(end) ? rest.slice(end.length) : rest;
}

async function begin(
  options: EpisodeOptions,
  { policy, prompts, records, n, rng }: RolloutOptions,
  render: NonNullable<EpisodeOptions['render']>,
): Promise<Live[]> {
  if (!records) throw new ConfigError('episodes: the worlds need the records of the prompts');
  const groups = await Promise.all(
    prompts.map(async (prompt, group) => {
      const { seed32 } = rng.fork('world', group);
      let shared: Int32Array | undefined; // one array for the samples of a prompt, which can then compute it once
      const own: Live[] = [];
      for (let index = 0; index < n; index++) {
        const env = options.env(records[group]);
        const { observation, anchor } = await env.reset(seed32, records[group]);
        if (observation !== '' && isMessages(records[group].prompt))
          throw new ConfigError('episodes: a world whose prompts are conversations says its first words in the prompt, not at reset');
        const said = observation === '' ? [] : policy.tokenizer.encode(render(observation, { role: 'user', first: true, closed: false }));
        const whole = Int32Array.from([...prompt, ...said]);
        shared = shared && shared.length === whole.length && shared.every((token, i) => token === whole[i]) ? shared : whole;
        own.push({
          env,
          record: records[group],
          group,
          index,
          rng: rng.fork(group, index),
          prompt: shared,
          tokens: [],
          mask: [],
          logps: [],
          episode: {
            turnEnds: [],
            turnRewards: [],
            end: 'turns',
            invalid: 0,
            messages: observation === '' ? [] : [{ role: 'user', content: observation }],
          },
          finish: 'stop',
          over: false,
          anchor,
        });
      }
      return own;
    }),
  );
  return groups.flat();
}

function close(one: Live, end: Episode['end']): void {
  one.over = true;
  one.episode.end = end;
}

function sampleOf(
  { prompt, group, tokens, mask, logps, episode, finish, over }: Live,
  tokenizer: Tokenizer,
  aborted: boolean,
): RolloutSample {
  if (aborted && !over) episode.end = 'aborted';
  return {
    prompt,
    group,
    tokens: Int32Array.from(tokens),
    mask: Uint8Array.from(mask),
    samplingLogps: Float32Array.from(logps),
    text: tokenizer.decode(tokens, { skipSpecial: true }),
    finish:
      episode.end === 'aborted' ? 'aborted' : episode.end === 'done' || (episode.end === 'turns' && finish === 'stop') ? 'stop' : 'length',
    episode,
  };
}

/** `generate` forks by position among those that are still going; an episode draws from its own stream whoever else is. */
function eachItsOwn(rng: Rng, live: readonly Live[], turn: number): Rng {
  return Object.assign(Object.create(rng) as Rng, { fork: (i: string | number) => live[i as number].rng.fork('turn', turn) });
}

/** The world's rewards, summed over the turns of each episode, as a reward function. */
export const episodeReturn = {
  name: 'episode',
  score: async (batch: readonly { meta?: Record<string, unknown> }[]) => ({
    scores: Float32Array.from(batch, ({ meta }, i) => {
      const episode = meta?.episode as Episode | undefined;
      if (!episode) throw new ConfigError(`reward "episode": completion ${i} is not an episode; give trainPolicy a rollout of episodes`);
      return episode.turnRewards.reduce((a, b) => a + b, 0);
    }),
  }),
};
