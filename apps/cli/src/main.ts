/** `plumb`: one program, one file a command. Commands load their packages when they run, so that help is instant. */
import { readFileSync } from 'node:fs';
import { Argument, Command, CommanderError, Option } from 'commander';
import type { AlignOptions } from './commands/align.js';
import type { StartOptions } from './commands/start.js';
import { reportFailure } from './failure.js';
import { adoptProcess, computesOffMain, runOffMain } from './offMain.js';
import type { TrainOptions } from './train/start.js';

const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;

const plumb = new Command('plumb')
  .description('Reward models, direct alignment and online RL for language models')
  .version(version)
  .showSuggestionAfterError()
  .exitOverride();

const backendOptions = (command: Command): Command =>
  command
    .option('--backend <name>', 'native, wasm, webgpu, tensorflow or cpu; the fastest that works here by default ($PLUMB_BACKEND)')
    .option('--threads <n>', 'threads of the native backend; all cores by default ($PLUMB_THREADS)');

const configOptions = (command: Command): Command =>
  command
    .option('--config <file>', 'settings from a YAML file')
    .option('--set <key=value...>', 'settings in place of those of the file; as --key value too');

/** Settings as flags: commander passes over what it does not know, `read` is given it, and `--help` lists what there is. */
function settingFlags<O extends { help?: boolean }>(
  command: Command,
  usage: string,
  { read, settings }: { read(options: O, rest: string[]): Promise<void>; settings(): Promise<string> },
): Command {
  return command
    .helpOption(false)
    .option('-h, --help', 'this, and every setting')
    .allowUnknownOption()
    .allowExcessArguments()
    .usage(usage)
    .action(async (options: O) => {
      if (!options.help) return read(options, command.args);
      command.outputHelp();
      console.log(await settings());
    });
}
const ofPairs = '--model M --dataset D [--SETTING value ...]';
const modelForms = 'a folder with config.json, safetensors and tokenizer.json, a .gguf file or its folder, or zoo:NAME';

settingFlags(
  configOptions(
    backendOptions(
      plumb
        .command('start')
        .description('learn a reward from preferences, align a small language model to it, and report what happened')
        .option('--seed <n>', 'seed of everything random', '0')
        .option('--out <folder>', 'where run folders go', 'runs')
        .option('--fresh', 'begin anew even if an interrupted run could be continued'),
    ),
  ),
  '[--SETTING value ...]',
  {
    read: async (options: StartOptions, rest) => (await import('./commands/start.js')).start(options, rest),
    settings: async () => (await import('./commands/start.js')).startHelp(),
  },
).addHelpText('after', '\nExamples:\n  plumb start\n  plumb start --seed 1 --dpo.steps 150\n  PLUMB_BACKEND=wasm plumb start');

settingFlags(
  configOptions(
    backendOptions(
      plumb
        .command('align')
        .description('the same job on your model and your preference pairs: reward model, DPO, report')
        .option('--model <folder>', modelForms)
        .option('--dataset <file>', 'preference pairs of any format: a file, a folder or a hub id')
        .option('--skip-bad', 'leave out rows that cannot be read')
        .option('--seed <n>', 'seed of everything random', '0')
        .option('--out <folder>', 'where run folders go', 'runs')
        .option('--fresh', 'begin anew even if an interrupted run could be continued')
        .option('--json', 'print the summary as JSON'),
    ),
  ),
  ofPairs,
  {
    read: async (options: AlignOptions, rest) => (await import('./commands/align.js')).align(options, rest),
    settings: async () => (await import('./commands/align.js')).alignHelp(),
  },
).addHelpText('after', '\nExample:\n  plumb align --model ./SmolLM2-135M-Instruct --dataset pairs.jsonl --pairs 300 --dpo.beta 0.05');

backendOptions(
  plumb
    .command('apply')
    .description("a paper's method on your model and your data: baseline and method, and what they leave")
    .argument('<id>', 'an experiment by id, or by the folder of your own')
    .requiredOption('--model <name>', 'a folder, a .gguf file, zoo:NAME or a hub id')
    .requiredOption(
      '--dataset <file>',
      "preference pairs (JSON lines, Parquet, CSV, a folder or a hub id), or a benchmark's files where the paper is one",
    )
    .option('--rewards <a,b,...>', 'reward models or functions of your own, for papers that compare or combine them; as for `plumb score`')
    .option(
      '--judge <reward>',
      'what scores the answers of both to held-out prompts: a reward by name, folder or URL, as for `plumb score`',
    )
    .option('--dry-run', 'say which rows serve, tokens, memory and hours, and train nothing')
    .option('--fresh', 'begin anew even if an interrupted run could be continued')
    .option('--store', 'keep the effect with this model under docs/reproductions, beside the main result')
    .option('--set <key=value...>', 'one setting, for instance --set steps=40')
    .option('--seed <n>', 'seed of everything random', '0')
    .option('--out <folder>', 'where run folders go', 'runs')
    .option('--json', 'print the plan or the result as JSON'),
)
  .addHelpText(
    'after',
    '\nExample:\n  plumb apply reward-augmented-dpo --model ./SmolLM2-135M-Instruct --dataset scored-pairs.jsonl --dry-run',
  )
  .action(async (id, options) => (await import('./commands/apply.js')).apply(id, options));

backendOptions(
  plumb
    .command('reproduce')
    .description("run a paper's experiment: the method beside its baseline, claim by claim")
    .argument('[id...]', 'experiments by id, or by the folder of your own')
    .option('--all', 'every experiment')
    .option('--jobs <n>', 'experiments at a time, each in a process of its own', '1')
    .option('--seeds <n>', 'how many counted seeds, or which (0; 3,7); as many as the pilot asks for by default, 5 to 20')
    .option(
      '--pilot <n>',
      "seeds that run first and never count: they fix the number of counted ones and the power; the experiment's own number unless --seeds is given, 0 for none",
    )
    .option('--scale <model>', 'with another model, such as words-6m or a folder; --store then adds a row by scale')
    .option('--quick', 'two steps an arm, to see that it runs')
    .option('--store', 'keep the result under docs/reproductions and rewrite docs/REPRODUCTIONS.md')
    .option('--confirm', 'measure one seed of the stored result again, and note there that the code as it is gives the same numbers')
    .option('--json', 'print the result as JSON')
    .option('--out <folder>', 'where run folders go', 'runs')
    .option('--set <key=value...>', 'one setting of the experiment'),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb reproduce par\n  plumb reproduce reward-augmented-dpo --seeds 1 --json\n  plumb reproduce ./my-paper --pilot 3\n  plumb reproduce --all --store --jobs 2\n  plumb reproduce par --scale words-6m --seeds 2 --store\n  plumb reproduce --all --confirm',
  )
  .action(async (ids, options) => (await import('./commands/reproduce.js')).reproduce(ids, options));

backendOptions(
  plumb
    .command('matrix')
    .description('every paper beside what was measured here, and whether the code has changed since')
    .option('--run', 'measure and store what is not stored yet; an interrupted matrix goes on')
    .option('--stale', 'with --run: measure again what other code measured')
    .option('--confirm', 'measure one seed again of each result that other code measured, as plumb reproduce --confirm does')
    .option('--seeds <n>', 'how many counted seeds')
    .option('--jobs <n>', 'with --run: experiments at a time', '1')
    .option('--all', 'show papers without an experiment too')
    .option('--json', 'as JSON')
    .option('--out <folder>', 'where run folders go', 'runs'),
)
  .addHelpText('after', '\nExamples:\n  plumb matrix\n  plumb matrix --run --stale')
  .action(async (options) => (await import('./commands/matrix.js')).matrix(options));

backendOptions(
  plumb
    .command('eval')
    .description('judge a reward model, a judge, a step scorer or a language model on the official files of benchmarks')
    .argument('[benchmark...]', 'benchmarks by id; --list names them')
    .option('--list', 'the benchmarks, and which files each reads')
    .option('--data <path...>', 'the official files: files, folders, or owner/name on the hub')
    .option('--reward <reward>', 'a reward model (folder), a verifier file, or the URL of a reward server')
    .option('--model <model>', 'a language model: it answers, or judges pairs and steps')
    .option('--url <url>', 'an OpenAI-compatible server that has the model')
    .option('--endpoints <urls>', 'several such servers, with commas between; each prompt goes to the least busy one')
    .option('--token <token>', 'for those servers; $OPENAI_API_KEY by default')
    .option('--encoder <model>', 'a sentence encoder, by similarity of question and answer: a reference point')
    .addOption(
      new Option(
        '--as <how>',
        'how a model judges: by the probability of a letter, in writing, by a rating of each answer, by how likely the answer is, or step by step',
      ).choices(['letters', 'text', 'rating', 'likelihood', 'steps']),
    )
    .option('--judge <model>', 'who compares critiques with references, for benchmarks of critiques')
    .option('--judge-url <url>', 'an OpenAI-compatible server that has the judge')
    .addOption(new Option('--storage <type>', 'how weights are kept').choices(['f32', 'bf16', 'int8']))
    .option('--limit <n>', 'only so many of the items, drawn by the seed')
    .option('--batch <n>', 'items at once')
    .option('--concurrency <n>', 'requests at once, to each server', '8')
    .option('--max-tokens <n>', 'tokens of an answer or verdict')
    .option('--threshold <x>', 'a step counts as sound above it', '0.5')
    .option('--command <command>', "what runs HumanEval's Python tasks, for instance 'python3 {file}'; for Verilog iverilog or yosys")
    .option('--split <name>', 'of a folder or repository with several')
    .option('--seed <n>', 'seed of everything random', '0')
    .option('--out <folder>', 'where results go; what is there already is kept', 'runs/eval')
    .option('--json', 'print the results as JSON'),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb eval --list\n  plumb eval judgebench --data judgebench.jsonl --reward ./reward-model\n  plumb eval ifeval --data input_data.jsonl --model ./SmolLM2-135M-Instruct --limit 50\n  plumb eval rm-bench --data ./RM-Bench/data --model judge --url http://localhost:8000/v1 --concurrency 16',
  )
  .action(async (ids, options) => (await import('./commands/eval.js')).evalBenchmarks(ids, options));

plumb
  .command('sweep')
  .description('one command over a grid or list of settings: one run a cell, kept when it is done')
  .argument('[command...]', 'behind --: `plumb COMMAND ...`, or another program with {key} and {out} where the values go')
  .option('--grid <key=a,b...>', 'an axis of the grid, for instance --grid dpo.beta=0.05,0.1 --grid dpo.steps=40,80')
  .option('--list <file>', 'a YAML or JSON list of settings, one cell an entry')
  .option('--jobs <n>', 'cells at a time; tasks of the array, or ranks of mpirun', '1')
  .addOption(new Option('--launch <how>', 'here, as a Slurm array, or under mpirun').choices(['local', 'slurm', 'mpirun']).default('local'))
  .option('--out <folder>', 'the folder of the sweep', 'runs/sweep')
  .option('--show <metric...>', 'columns of the table, by a part of their names')
  .option('--json', 'print the table as JSON')
  .addOption(new Option('--cell <n>').hideHelp())
  .addOption(new Option('--rank').hideHelp())
  .addHelpText(
    'after',
    '\nExamples:\n  plumb sweep --grid learningRate=3e-4,6e-4 --jobs 2 -- plumb reproduce par --seeds 1\n  plumb sweep --grid lr=1e-4,3e-4 -- node train.js --lr {lr} --out {out}\n  plumb sweep --list settings.yaml --jobs 16 --launch slurm -- plumb reproduce ./my-paper --seeds 5',
  )
  .action(async (command, options) => (await import('./commands/sweep.js')).sweep(command, options));

plumb
  .command('new')
  .description('begin something')
  .command('paper')
  .description("write a paper's experiment that runs as it stands, to be changed into yours")
  .argument('<name>', 'lower-case words joined by hyphens')
  .option('--out <folder>', 'where it goes; ./NAME by default')
  .addHelpText('after', '\nExample:\n  plumb new paper my-paper')
  .action(async (name, options) => (await import('./commands/paper.js')).newPaper(name, options));

const check = plumb.command('check').description('what must hold, and whether it does');
backendOptions(check.command('experiment').description('what every experiment must hold').argument('<id>', 'an experiment by id or folder'))
  .addHelpText('after', '\nExample:\n  plumb check experiment ./my-paper')
  .action(async (which, options) => (await import('./commands/paper.js')).checkExperiment(which, options));

backendOptions(
  check
    .command('trainer')
    .description('the invariants of training: over a trainer of ours, your own, or as far as the logs of TRL tell')
    .argument(
      '<which>',
      'sft, reward, dpo, kto, rl, dpo:LOSS, kto:LOSS, rl:LOSS or all; a module that exports an adapter; a folder with trainer_state.json',
    )
    .option('--json', 'as JSON'),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb check trainer dpo:simpo\n  plumb check trainer ./my-trainer.mjs\n  plumb check trainer ./trl-output/checkpoint-500',
  )
  .action(async (which, options) => (await import('./commands/checkTrainer.js')).checkTrainer(which, options));

backendOptions(
  plumb
    .command('doctor')
    .description('what this machine has: backends, device, threads, and why each rung was taken or not')
    .option('--json', 'as JSON'),
)
  .addHelpText('after', '\nExamples:\n  plumb doctor\n  plumb doctor --backend wasm --json')
  .action(async (options) => (await import('./commands/doctor.js')).doctor(options));

plumb
  .command('bench')
  .description('how fast the backends are on this machine, beside PyTorch in the same run')
  .addArgument(
    new Argument(
      '<suite>',
      'single operations, a training step of a small decoder, generation, or alignment beside TRL; history shows what earlier runs measured',
    ).choices(['kernels', 'train', 'generate', 'trl', 'history']),
  )
  .option('--backend <names>', 'names with commas between; those that work here of native, tensorflow and wasm by default')
  .option('--threads <n>', 'threads of each; all cores by default')
  .option('--no-peer', 'without PyTorch (it is installed under .plumbline/peers once)')
  .option(
    '--model <file>',
    'for generate: the GGUF file of a model, which llama.cpp then generates from too; weights of the sizes of SmolLM2-135M without',
  )
  .option('--tasks <names>', 'for trl: some of dpo, reward and grpo, with commas between')
  .option('--precision <names>', 'for trl: f32, bf16 or both with a comma between')
  .option('--steps <n>', 'for trl: steps of each side, of which the first is not counted where there are several (2)')
  .option('--quick', 'tiny shapes, to see that it runs')
  .option('--json', 'print the result as JSON')
  .addHelpText(
    'after',
    '\nExamples:\n  plumb bench kernels\n  plumb bench train --backend native,tensorflow --threads 2 --json\n  plumb bench history',
  )
  .action(async (suite, options) =>
    suite === 'history'
      ? (await import('./commands/benchHistory.js')).showBenchHistory(options)
      : suite === 'trl'
        ? (await import('./commands/benchTrl.js')).benchTrl(options)
        : suite === 'generate'
          ? (await import('./commands/benchGenerate.js')).benchGenerate(options)
          : (await import('./commands/bench.js')).bench(suite, options),
  );

plumb
  .command('gpu')
  .description('TensorFlow for the backend of the same name: the fast one on an NVIDIA card')
  .command('setup')
  .description('find or install TensorFlow, compile its binding once, test it; run again, it goes on where it stopped')
  .option('--cuda', 'the CUDA build; by default where there is a card that it has code for')
  .option('--cpu', 'the CPU build')
  .option('--path <folder>', 'a TensorFlow or a Python environment of yours instead of a new one ($PLUMB_TENSORFLOW)')
  .option('--remove', 'remove what setup made')
  .addHelpText('after', '\nExamples:\n  plumb gpu setup\n  plumb gpu setup --cpu\n  plumb gpu setup --remove')
  .action(async (options) => (await import('./commands/gpu.js')).gpuSetup(options));

const zoo = plumb.command('zoo').description('the small models that ship with Plumbline');
zoo
  .command('list')
  .description('what is there')
  .option('--json', 'as JSON')
  .addHelpText('after', '\nExample:\n  plumb zoo list')
  .action(async (options) => (await import('./commands/zoo.js')).list(options));
zoo
  .command('card')
  .description('the card of a model: its data, recipe, measurements and licence')
  .argument('<name>', 'for instance words-1m')
  .addHelpText('after', '\nExample:\n  plumb zoo card words-1m')
  .action(async (name) => (await import('./commands/zoo.js')).card(name));
backendOptions(
  zoo
    .command('train')
    .description('remake a zoo model from its recipe')
    .argument('<name>', 'for instance words-1m')
    .option('--seed <n>', 'seed of everything random; that of the shipped files by default')
    .option('--out <folder>', 'where the model goes; its place in the zoo by default'),
)
  .addHelpText('after', '\nExample:\n  plumb zoo train maths-1m --seed 1 --out ./maths-1m-again')
  .action(async (name, options) => (await import('./commands/zoo.js')).train(name, options));

const train = plumb.command('train').description('train a model of yours');
/** What all trainings are given beside their settings; each names model and data, and `more` adds what it needs. */
const training = (kind: string, about: string, dataset: string, more = (command: Command) => command): Command =>
  configOptions(
    backendOptions(
      more(train.command(kind).description(about).option('--model <folder>', modelForms).option('--dataset <file>', dataset))
        .option('--seed <n>', 'seed of everything random (0)')
        .option('--out <folder>', 'where run folders go', 'runs')
        .option('--resume [folder]', 'go on with this interrupted run, or with the newest, to the numbers that it would have given')
        .option('--fresh', 'begin anew even if an interrupted run could be continued')
        .option('--json', 'print the result as JSON'),
    ),
  );

settingFlags(
  training(
    'sft',
    'supervised finetuning on conversations, by an adapter (LoRA) or of all weights',
    'conversations, prompts with completions, preference pairs or text: a file, a folder or a hub id',
  ),
  ofPairs,
  {
    read: async (options: TrainOptions, rest) => (await import('./commands/trainSft.js')).trainSft(options, rest),
    settings: async () => (await import('./commands/trainSft.js')).sftHelp(),
  },
).addHelpText('after', '\nExample:\n  plumb train sft --model ./SmolLM2-135M-Instruct --dataset chats.jsonl --lora.r 16 --epochs 2');

settingFlags(
  training(
    'rl',
    'online reinforcement learning on prompts (GRPO, RLOO, ReMax, PPO, REINFORCE++ and more), by an adapter (LoRA) or of all weights',
    'prompts, or records of any kind that has some: a file, a folder or a hub id',
    (command) =>
      command.option(
        '--reward <reward...>',
        "one or several: a verifier's name (numeric, exact, code, ...), its specification (.yaml, .json), a reward model's folder, a server's URL",
      ),
  ),
  '--model M --dataset D --reward R [--SETTING value ...]',
  {
    read: async (options: TrainOptions & { reward?: string[] }, rest) => (await import('./commands/trainRl.js')).trainRl(options, rest),
    settings: async () => (await import('./commands/trainRl.js')).rlHelp(),
  },
).addHelpText(
  'after',
  '\nExample:\n  plumb train rl --model ./SmolLM2-135M-Instruct --dataset gsm8k.jsonl --reward numeric --algorithm grpo --steps 50 --maxTokens 128',
);

settingFlags(
  training(
    'reward',
    'a reward model from preferences, labels, scores or labelled steps, by an adapter (LoRA) or of all weights; transformers loads it',
    'records of the kind that --loss takes, preference pairs by default: a file, a folder or a hub id',
  ),
  ofPairs,
  {
    read: async (options: TrainOptions, rest) => (await import('./commands/trainReward.js')).trainRewardModel(options, rest),
    settings: async () => (await import('./commands/trainReward.js')).rewardHelp(),
  },
).addHelpText(
  'after',
  '\nExamples:\n  plumb train reward --model ./SmolLM2-135M-Instruct --dataset pairs.jsonl --lora.r 16 --centerCoefficient 0.01\n  plumb train reward --model ./SmolLM2-135M-Instruct --dataset helpsteer.jsonl --loss regression --attributes helpfulness verbosity\n  plumb train reward --model ./SmolLM2-135M-Instruct --dataset prm800k.jsonl --loss step',
);

settingFlags(
  training(
    'dpo',
    'align to preference pairs, given or written by the policy itself (--online), by an adapter (LoRA) or all weights, under any of the pair losses (sigmoid, ipo, simpo, orpo, ...)',
    'preference pairs, or with --online prompts: a file, a folder or a hub id',
  ),
  ofPairs,
  {
    read: async (options: TrainOptions, rest) => (await import('./commands/trainPreferences.js')).trainDpo(options, rest),
    settings: async () => (await import('./commands/trainPreferences.js')).preferenceHelp('dpo'),
  },
).addHelpText(
  'after',
  '\nExamples:\n  plumb train dpo --model ./SmolLM2-135M-Instruct --dataset pairs.jsonl --beta 0.1\n  plumb train dpo --model ./SmolLM2-135M-Instruct --dataset pairs.jsonl --loss sigmoid sft --lossWeights 1 0.2\n  plumb train dpo --model ./SmolLM2-135M-Instruct --dataset prompts.jsonl --online rounds --judge ./reward-model\n  plumb train dpo --model ./SmolLM2-135M-Instruct --dataset prompts.jsonl --online pairs --judge http://localhost:8000/v1 --judgeModel qwen3-8b',
);

settingFlags(
  training(
    'kto',
    'align to single answers with a thumb up or down (KTO, APO-zero, BCO)',
    'answers with a label, or preference pairs, which are taken apart: a file, a folder or a hub id',
  ),
  ofPairs,
  {
    read: async (options: TrainOptions, rest) => (await import('./commands/trainPreferences.js')).trainKto(options, rest),
    settings: async () => (await import('./commands/trainPreferences.js')).preferenceHelp('kto'),
  },
).addHelpText('after', '\nExample:\n  plumb train kto --model ./SmolLM2-135M-Instruct --dataset thumbs.jsonl --undesirableWeight 1.5');

const runs = plumb.command('runs').description('run folders: which there are, what is in one, how several differ');
const inspect = (command: Command): Command =>
  command.option('--out <folder>', 'where run folders are', 'runs').option('--json', 'as JSON');
inspect(runs.command('list').description('all runs, newest first'))
  .addHelpText('after', '\nExample:\n  plumb runs list --out runs --json')
  .action(async (options) => (await import('./commands/runs.js')).listRuns(options));
inspect(
  runs
    .command('show')
    .description('first and last value of what a run logged, its environment and hints')
    .argument('<run>', 'a run folder, its name, or the beginning of it'),
)
  .addHelpText('after', '\nExample:\n  plumb runs show dpo-seed0')
  .action(async (run, options) => (await import('./commands/runs.js')).showRun(run, options));
inspect(runs.command('compare').description('settings that differ and last values, side by side').argument('<runs...>', 'as for show'))
  .addHelpText('after', '\nExample:\n  plumb runs compare runs/dpo-seed0-native-... runs/dpo-seed1-native-...')
  .action(async (which, options) => (await import('./commands/runs.js')).compareRuns(which, options));

plumb
  .command('report')
  .description('the page of a run folder: its curves, result, settings and environment, finished or not')
  .argument('<run>', 'a run folder, its name, or the beginning of it')
  .option('--out <folder>', 'where run folders are', 'runs')
  .option('--to <file>', 'the page; run.html in the run folder by default')
  .addHelpText('after', '\nExample:\n  plumb report runs/dpo-seed0-native-...')
  .action(async (run, options) => (await import('./commands/runs.js')).report(run, options));

backendOptions(
  plumb
    .command('judge')
    .description('which answer of each pair a language model prefers, and how far it agrees with people')
    .argument('<file>', 'rows with prompt, a, b (and label a, b or tie), or preference pairs of any format')
    .option('--model <model>', 'the judge: a local model, or with --url its name on the server')
    .option('--url <url>', 'an OpenAI-compatible server, such as http://localhost:8000/v1')
    .option('--token <token>', 'its key ($OPENAI_API_KEY)')
    .option('--rubric <file>', 'criteria to judge by: YAML or JSON, a list of { name, description, weight }')
    .option('--swap', 'ask in both orders and average')
    .option('--votes <n>', 'written verdicts of each pair, put together', '1')
    .addOption(
      new Option('--verdict <how>', "from what the judge writes, or from the probabilities of A and B (local models' default)").choices([
        'text',
        'letters',
      ]),
    )
    .option('--max-tokens <n>', 'of a written verdict', '1024')
    .option('--calibrate [labels]', 'measure the judge against the labels of this file (by default of FILE itself)')
    .option('--out <file>', 'where the verdicts go (.jsonl, .parquet); printed by default')
    .option('--limit <n>', 'only so many pairs')
    .option('--seed <n>', 'seed of everything random', '0')
    .option('--storage <how>', 'how a local model is kept: f32, bf16 or int8')
    .option('--json', 'print the summary as JSON'),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb judge pairs.jsonl --model ./SmolLM2-135M-Instruct --swap --out verdicts.jsonl\n  plumb judge pairs.jsonl --url http://localhost:8000/v1 --model qwen3-8b --rubric rubric.yaml --votes 3\n  plumb judge labelled.jsonl --model ./SmolLM2-135M-Instruct --swap --calibrate',
  )
  .action(async (file, options) => (await import('./commands/judge.js')).judge(file, options));

backendOptions(
  plumb
    .command('score')
    .description('what a reward gives the completions of a file, written beside them')
    .argument('<file>', 'completions, preference pairs, conversations or groups: a file, a folder or a hub id')
    .requiredOption(
      '--reward <reward>',
      'a reward model (its folder or run folder), a reward by name, a verifier specification (.yaml, .json), or the URL of a reward server',
    )
    .requiredOption('--out <file>', 'the same rows with their scores: .jsonl, .json, .csv or .parquet')
    .addOption(
      new Option('--format <format>', "a server's protocol; by its path, else openrlhf").choices([
        'openrlhf',
        'vllm-classify',
        'vllm-score',
      ]),
    )
    .option('--token <token>', "a server's key ($PLUMB_REWARD_TOKEN)")
    .option('--batch <n>', 'rows at once', '64')
    .option('--limit <n>', 'only so many rows')
    .option('--json', 'print the summary as JSON'),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb score pairs.jsonl --reward runs/reward-.../model --out scored.jsonl\n  plumb score answers.jsonl --reward numeric.yaml --out scored.jsonl   (numeric.yaml: "verifier: numeric")\n  plumb score answers.jsonl --reward http://localhost:8100 --format openrlhf --out scored.parquet',
  )
  .action(async (file, options) => (await import('./commands/score.js')).score(file, options));

plumb
  .command('export')
  .description('write a model for other tools: GGUF for llama.cpp, safetensors for transformers, an adapter for PEFT')
  .argument('<model>', 'a model folder, a .gguf file, zoo:NAME, an adapter, or the run folder of a training')
  .addOption(new Option('--to <form>', 'what to write').choices(['gguf', 'peft', 'safetensors']).makeOptionMandatory())
  .requiredOption('--out <folder>', 'where it goes')
  .option(
    '--adapter <folder>',
    "an adapter in PEFT's format, or the run folder that holds it: merged into the weights, or written by itself with --to peft",
  )
  .option('--type <type>', 'how numbers are stored: F32, F16 or BF16, with GGUF also Q8_0 (default: F16 for GGUF, else F32)')
  .addHelpText(
    'after',
    '\nExamples:\n  plumb export ./my-model --adapter runs/sft-1/adapter --to gguf --type Q8_0 --out out\n  plumb export runs/sft-1 --to safetensors --out merged',
  )
  .action(async (model, options) => (await import('./commands/export.js')).exportModel(model, options));

const data = plumb.command('data').description('look at a data set, convert, split or deduplicate it');
const sourceOptions = (command: Command): Command =>
  command
    .option(
      '--kind <kind>',
      'preference, unpaired, prompt, completion, stepwise, multiscore, ranked, messages, trajectory or text; by its columns by default',
    )
    .option('--columns <name=column...>', 'columns by the name that they should have, such as chosen=postedit or prompt=question.problem')
    .option('--header <names>', 'names of the columns of a CSV or TSV file without a row of names, with commas between')
    .option('--split <name>', 'of a folder or a hub repository with several, such as train')
    .option('--format <format>', 'jsonl, json, csv, tsv, txt or parquet; by the file by default')
    .option('--limit <n>', 'only the first n records');
sourceOptions(
  data
    .command('check')
    .description('what its records are, which rows cannot be read and why, and what looks wrong; exit code 1 where rows cannot be read')
    .argument(
      '<source>',
      'a file (JSON Lines, JSON, CSV, TSV, text, Parquet, .gz), a folder, or owner/name[@revision][:config/split] of the hub',
    )
    .option('--tokenizer <model>', 'count tokens instead of characters')
    .option('--max-length <n>', 'name records that are longer, prompt and answer together')
    .option('--json', 'as JSON'),
)
  .addHelpText('after', '\nExamples:\n  plumb data check pairs.jsonl.gz\n  plumb data check questions.tsv --header question,answer')
  .action(async (source, options) => (await import('./commands/data.js')).check(source, options));
sourceOptions(
  data
    .command('stats')
    .description('lengths, words, label balance, duplicates, and whether the chosen side is the longer one')
    .argument('<source>', 'as for check')
    .option('--tokenizer <model>', 'count tokens instead of characters')
    .option('--json', 'as JSON'),
).action(async (source, options) => (await import('./commands/data.js')).stats(source, options));
sourceOptions(
  data
    .command('convert')
    .description('write the records as another kind, in another format, or both')
    .argument('<source>', 'as for check')
    .argument('<out>', 'a file whose end says the format: .jsonl, .jsonl.gz, .json or .parquet')
    .option('--to <kind,format>', 'a kind of record, a format, or both with a comma between')
    .option('--weights <attribute=weight...>', 'of several scores, what each counts in the one; all the same by default')
    .option('--threshold <score>', 'scores above it are true labels; 0 by default')
    .option('--min-gap <score>', 'pairs only of answers whose scores differ by more; 0 by default')
    .option('--group', 'put the scored answers of one prompt together first (done by itself where pairs are asked for; holds all records)')
    .option('--skip-bad', 'leave out rows that cannot be read'),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb data convert pairs.jsonl kto.jsonl --to unpaired\n  plumb data convert scored.csv pairs.parquet --to preference --weights helpfulness=1 verbosity=-0.5',
  )
  .action(async (source, out, options) => (await import('./commands/data.js')).convert(source, out, options));
sourceOptions(
  data
    .command('split')
    .description('write each record to one of several files by a hash of its prompt')
    .argument('<source>', 'as for check')
    .argument('<out>', 'a folder, or a file name to which the names of the sides are added')
    .option('--shares <name=share,...>', 'what each side gets; they add up to 1', 'train=0.9,test=0.1')
    .option('--seed <n>', 'another one gives another split', '0')
    .option('--skip-bad', 'leave out rows that cannot be read'),
).action(async (source, out, options) => (await import('./commands/data.js')).split(source, out, options));
sourceOptions(
  data
    .command('dedup')
    .description('write the records that say nothing that an earlier one said')
    .argument('<source>', 'as for check')
    .argument('<out>', 'as for convert')
    .option('--near [similarity]', 'also leave out what is nearly the same: this share of runs of words in common, 0.8 by default')
    .option('--ngram <words>', 'words in such a run', '5')
    .option('--skip-bad', 'leave out rows that cannot be read'),
).action(async (source, out, options) => (await import('./commands/data.js')).dedup(source, out, options));

const weightOptions = (command: Command): Command =>
  command
    .addOption(
      new Option('--storage <storage>', 'how weights are kept in memory: packed, rounded to bf16 or to 8 bits').choices([
        'f32',
        'bf16',
        'int8',
      ]),
    )
    .addOption(
      new Option('--products <products>', 'what is multiplied: float32, or both factors rounded to bf16').choices(['f32', 'bf16']),
    );

weightOptions(
  backendOptions(
    plumb
      .command('generate')
      .description('continue a prompt, or a file of them, with a local model')
      .requiredOption('--model <folder>', `${modelForms}; or what a training left: its run folder or its adapter`)
      .option('--prompt <text>', 'the prompt')
      .option('--chat', "put the prompt into the model's chat template, as the user's message")
      .option('--system <text>', 'the system message before it')
      .option('--prompts <file>', 'JSON lines with prompt (text or messages) or messages')
      .option('--n <n>', 'answers to each prompt', '1')
      .option('--max-tokens <n>', 'tokens of an answer at most', '128')
      .option('--temperature <t>', '0 takes the likeliest token', '1')
      .option('--top-p <p>', 'the likeliest tokens that reach this probability together')
      .option('--top-k <k>', 'the k likeliest tokens')
      .option('--min-p <p>', 'tokens at least this share as likely as the likeliest')
      .option('--repetition-penalty <p>', 'above 1 makes tokens that were there already less likely')
      .option('--stop <text...>', 'end an answer before this text')
      .option('--seed <n>', 'seed of the sampling', '0')
      .option('--stream', 'show the answer as it comes')
      .option('--out <file>', 'where answers go, as JSON lines with prompt and completion')
      .addOption(
        new Option('--long-prompts <policy>', 'a prompt too long for the context: an error, or its beginning is left out').choices([
          'error',
          'left',
        ]),
      ),
  ),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb generate --model zoo:words-1m --prompt "Once upon a time" --stream\n' +
      '  plumb generate --model ./SmolLM2-135M-Instruct --chat --prompt "Why is the sky blue?" --temperature 0\n' +
      '  plumb generate --model ./SmolLM2-135M-Instruct --prompts prompts.jsonl --n 4 --out answers.jsonl --storage int8',
  )
  .action(async (options) => (await import('./commands/generate.js')).generateText(options));

weightOptions(
  backendOptions(
    plumb
      .command('serve')
      .description("OpenAI's API over a local model, and the reward endpoints of OpenRLHF and vLLM over a reward")
      .option('--model <folder>', `${modelForms}; or what a training left: its run folder or its adapter`)
      .option(
        '--reward <reward>',
        "a reward model's folder, a verifier by name or by specification (.yaml, .json), or a reward server's URL",
      )
      .option('--host <host>', 'where to listen; beyond this machine a token is needed', '127.0.0.1')
      .option('--port <n>', '0 for any that is free', '8000')
      .option('--token <token>', 'what requests must carry as "Authorization: Bearer" ($PLUMB_TOKEN)')
      .option('--name <name>', "the model's name for clients; its folder's by default")
      .option('--rows <n>', 'sequences computed at once at most (64)')
      .option('--cache <MiB>', 'memory for keys and values (1024)'),
  ),
)
  .addHelpText(
    'after',
    '\nExamples:\n  plumb serve --model ./SmolLM2-135M-Instruct --storage int8\n  plumb serve --reward ./my-reward-model --port 8100\n  plumb serve --model zoo:words-1m --host 0.0.0.0 --token secret',
  )
  .action(async (options) => (await import('./commands/serve.js')).serveModel(options));

/** After a wrong flag, where the right ones are listed. */
function sayWhereHelpIs(command: Command, path: string): void {
  command.showHelpAfterError(`(${path} --help lists ${command.commands.length > 0 ? 'the commands' : 'the options'})`);
  for (const inner of command.commands) sayWhereHelpIs(inner, `${path} ${inner.name()}`);
}
sayWhereHelpIs(plumb, 'plumb');

// whoever reads what is printed may leave early, as `head` does
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(141); // 128 + SIGPIPE
  });

if (computesOffMain(process.argv.slice(2))) process.exitCode = await runOffMain(new URL(import.meta.url), process.argv.slice(2));
else {
  adoptProcess();
  try {
    await plumb.parseAsync(process.argv);
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else process.exitCode = reportFailure(error);
  }
}
