/** GRPO on a user's own questions, databases and model: on whether a query runs, and on that and how near it comes to its question. */
import { applyOnlineSettings, applySettings, defineApply, openSpider, spiderPairs } from '@plumbline/bench';
import { mean } from '@plumbline/bench/metrics';
import { encodePrompt, promptBatches, type RewardFunction, textOf } from '@plumbline/data';
import { judgeSql, sqlReward, wrongQueries } from '@plumbline/envs';
import { generate, type LocalDecoder, loadEncoder, saveEncoder, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import { contrastiveSqlReward } from '@plumbline/rewards';
import { trainPolicy } from '@plumbline/rl';
import { z } from 'zod';
import { newEncoder, queryOf, trainSqlEncoder } from './models.js';

/** What a record holds beside the right and the wrong query. */
const Known = z.object({
  db_id: z.string(),
  question: z.string(),
  schema: z.string().describe('CREATE TABLE statements'),
  database: z.string().optional().describe('Its SQLite file'),
});

export const apply = defineApply({
  config: z.strictObject({
    ...applySettings,
    ...applyOnlineSettings,
    maxTokens: z.int().positive().default(768).describe('Longer pairs are left out, never cut; a schema of ten tables has about 500'),
    encoder: z.string().default('').describe('The text encoder to begin with: a folder or owner/name; a small new one unless given'),
    encoderSteps: z.int().positive().default(300).describe('Its updates, of 32 questions each'),
    encoderLearningRate: z.number().positive().default(1e-3).describe('Of a new encoder; a pretrained one takes 2e-5'),
    negatives: z.int().min(0).default(3).describe('Wrong queries beside each question'),
    temperature: z.number().positive().default(0.07).describe('Of the contrastive loss'),
    samplesPerPrompt: z.int().min(2).default(4).describe('Queries for each question: the group'),
    klCoef: z.number().min(0).default(0.04).describe('Weight of the KL to the model as it was'),
  }),
  read: (path: string) => spiderPairs(path),
  needs: "a folder of Spider's or MultiSpider's files: tables.json, questions such as dev.json, and database/ where there is one",
  unusable: ({ meta, chosen }) =>
    Known.safeParse(meta).success && typeof chosen === 'string' ? undefined : 'question, schema or db_id is missing in meta',
  leaves: [
    { path: 'encoder/model', what: 'the encoder of questions and queries' },
    { path: 'execution/model', what: 'the baseline: GRPO on whether a query runs' },
    { path: 'contrastive/model', what: 'the method: GRPO on whether it runs and how near it comes to its question' },
  ],
  // a sample is half of a pair, and there are two policies
  work: ({ steps, pairsPerStep, samplesPerPrompt }) => ({
    trainedPairs: steps * pairsPerStep * samplesPerPrompt,
    writtenAnswers: 2 * steps * pairsPerStep * samplesPerPrompt,
  }),
  laptopParameters: 500e6,
  async run({ config, base, train, heldOutPrompts, rng, signal, say, run, policy: begin, show, onEnd }) {
    const { steps, pairsPerStep, samplesPerPrompt, learningRate, klCoef, answerTokens, encoderSteps } = config;
    const tasks = train.map(({ id, prompt, chosen, meta }) => ({ id: id!, prompt, query: chosen as string, ...Known.parse(meta) }));
    const files = new Map(tasks.flatMap(({ db_id, database }) => (database === undefined ? [] : [[db_id, database] as const])));
    const { databases, filled } = await openSpider({ schemas: new Map(tasks.map(({ db_id, schema }) => [db_id, schema])), files });
    onEnd(() => databases.forEach((db) => void db.close()));
    say(`${databases.size} databases, ${filled.size} of them with rows`);

    say(`the encoder: ${encoderSteps} steps on ${tasks.length} questions`);
    const texts = tasks.flatMap(({ question, query }) => [question, query]);
    const tokenizer = () => tokenizerFromJson(trainByteBpe(texts, { vocabSize: 2000, specialTokens: ['<|endoftext|>'], splitDigits: true }), { eos_token: '<|endoftext|>' }); // biome-ignore format: one line
    const encoder = config.encoder === '' ? newEncoder(tokenizer(), rng.fork('encoder', 'weights')) : await loadEncoder(config.encoder);
    onEnd(() => encoder.dispose());
    const pairs = tasks.map((task) => ({
      ...task,
      negatives: wrongQueries(databases.get(task.db_id)!, task, rng.fork('wrong', task.id), { withoutRows: !filled.has(task.db_id) }),
    }));
    const encoderRun = await run('encoder');
    const { negatives, temperature, encoderLearningRate } = config;
    const settings = { steps: encoderSteps, negatives, temperature, learningRate: encoderLearningRate };
    await trainSqlEncoder(encoder, pairs, { ...settings, rng: rng.fork('encoder'), run: encoderRun });
    await saveEncoder(`${encoderRun.dir}/model`, encoder);

    const executes = sqlReward(databases, 'executes');
    const records = tasks.map(({ id, prompt, ...meta }) => ({ id, prompt, meta }));
    const shares: [string, number][] = [];
    /** Of the queries for held-out questions, how many run on databases of the prompts' schemas. */
    const measure = async (name: string, policy: LocalDecoder) => {
      const ids = heldOutPrompts.map((prompt) => encodePrompt(base.tokenizer, prompt));
      const written = await generate(policy, ids, { maxTokens: answerTokens, temperature: 0, rng: rng.fork('held out'), signal });
      const ran: number[] = [];
      for (const [i, prompt] of heldOutPrompts.entries()) {
        const { databases: own } = await openSpider({
          schemas: new Map([['held out', textOf(prompt).split('\n-- ')[0]]]),
          files: new Map(),
        });
        ran.push(Number(judgeSql(own.get('held out')!, 'SELECT 1', written[i][0].text).runs));
        own.get('held out')!.close();
      }
      if (ran.length > 0) shares.push([name, mean(ran)]);
    };
    await measure('before', base);
    const align = async (name: string, reward: RewardFunction) => {
      say(`${name}: ${steps} steps`);
      const policy = await begin(name);
      await trainPolicy(
        {
          steps,
          promptsPerStep: pairsPerStep,
          samplesPerPrompt,
          learningRate,
          klCoef,
          maxTokens: answerTokens,
          lossOptions: { epsilon: 0.2 },
          schedule: { kind: 'constant', warmupSteps: Math.ceil(steps / 10) },
        },
        {
          policy,
          reference: base,
          prompts: promptBatches(records, { promptsPerStep: pairsPerStep, steps, rng: rng.fork('prompts') }),
          reward,
          run: await run(name),
        },
      );
      await measure(name, policy);
      signal.throwIfAborted();
      return { policy };
    };
    const trained = {
      execution: await align('execution', executes),
      contrastive: await align('contrastive', contrastiveSqlReward(encoder, { executes, answer: queryOf })),
    };
    show({
      kind: 'table',
      title: 'Queries for held-out questions',
      columns: [
        { key: 'policy', label: 'Policy' },
        { key: 'runs', label: 'Run on the tables of their schema', percent: true },
      ],
      rows: shares.map(([policy, runs]) => ({ policy, runs })),
    });
    return trained;
  },
});
