/** What can be judged on a benchmark beside reward functions and judges made for it. */
import { type Generation, type LanguageModel, type RewardFunction, type StepRewardFunction, textOf } from '@plumbline/data';

/** A sentence encoder as a reward: how near an answer is to its question, the cosine of their embeddings. A reference point that knows nothing of quality. */
export function similarityReward(model: Pick<LanguageModel, 'name' | 'embed'>): RewardFunction {
  if (!model.embed) throw new RangeError(`${model.name} gives no embeddings`);
  return {
    name: `${model.name}, by similarity`,
    async score(batch) {
      const vectors = await model.embed!(batch.flatMap(({ prompt, completion }) => [textOf(prompt), textOf(completion)]));
      return { scores: Float32Array.from(batch, (_, i) => cosine(vectors[2 * i], vectors[2 * i + 1])) };
    },
  };
}

/** A language model as a reward: the mean log-probability of the answer's tokens. A reference point as well. */
export function likelihoodReward(model: Pick<LanguageModel, 'name' | 'score'>): RewardFunction {
  if (!model.score) throw new RangeError(`${model.name} gives no log-probabilities of given answers`);
  return {
    name: `${model.name}, by likelihood`,
    async score(batch) {
      const scored = await model.score!(batch.map(({ prompt, completion }) => ({ prompt, completion })));
      return { scores: Float32Array.from(scored, ({ logps }) => logps.reduce((sum, logp) => sum + logp, 0) / Math.max(1, logps.length)) };
    },
  };
}

/** An outcome reward read at every step: the sigmoid of its score of the solution so far. */
export function prefixSteps(reward: RewardFunction): StepRewardFunction {
  return {
    name: `${reward.name}, step by step`,
    async scoreSteps(batch, ctx) {
      const asked = batch.flatMap(({ prompt, steps }) => steps.map((_, t) => ({ prompt, completion: steps.slice(0, t + 1).join('\n') })));
      const { scores } = await reward.score(asked, ctx);
      let at = 0;
      return batch.map(({ steps }) => Float32Array.from(steps, () => 1 / (1 + Math.exp(-scores[at++]))));
    },
  };
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb || 1);
}

/**
 * One model on several servers: each prompt goes to the server that has the fewest under way, and to the others in turn where that one fails. A server that failed is asked last until
 * it answers again, so that one that is down does not hold up every prompt. A prompt's randomness is its own, whichever server has it.
 *
 * @throws the last server's error where all of them failed
 */
export function sharedModel(servers: readonly LanguageModel[]): LanguageModel {
  if (servers.length === 0) throw new RangeError('sharedModel: there are no servers');
  const busy = servers.map(() => 0);
  const failed = servers.map(() => 0);
  const one = async (run: (server: LanguageModel) => Promise<Generation[][]>, signal?: AbortSignal): Promise<Generation[]> => {
    const order = [...servers.keys()].sort((a, b) => failed[a] - failed[b] || busy[a] - busy[b] || a - b);
    let failure: unknown;
    for (const i of order) {
      busy[i]++;
      try {
        const [answer] = await run(servers[i]);
        failed[i] = 0;
        return answer;
      } catch (error) {
        failure = error;
        if (signal?.aborted) break;
        failed[i] = 1;
      } finally {
        busy[i]--;
      }
    }
    throw failure;
  };
  return {
    name: servers[0].name,
    can: { score: false, embed: false, logps: servers.every(({ can }) => can.logps) },
    generate: (prompts, sampling) =>
      Promise.all(
        prompts.map((prompt, i) =>
          one((server) => server.generate([prompt], { ...sampling, rng: sampling.rng.fork('prompt', i) }), sampling.signal),
        ),
      ),
  };
}
