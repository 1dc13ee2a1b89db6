/** Benchmarks of preferences: right answers beside wrong ones. Each reads its official files unchanged and reports its official numbers. */
import { FormatError } from '@plumbline/core';
import type { Completion, Message, Prompt } from '@plumbline/data';
import { at, dialogue, label, media, oneOf, text, texts, wrong } from './fields.js';
import { moments, plain, row, tabulate } from './numbers.js';
import type { BenchmarkNumber, PreferenceBenchmark, PreferenceItem, PreferenceOutcome, Row, RowPlace } from './types.js';

/** What one right candidate `i` got against one wrong candidate `j`: 1, 0, or `tie`. */
export function outcomeOf(item: PreferenceItem, outcome: PreferenceOutcome, i: number, j: number, tie: 0 | 0.5 = 0): number {
  if ('wins' in outcome) return outcome.wins[i * (item.candidates.length - item.correct) + (j - item.correct)];
  const [right, wrongScore] = [outcome.scores[i], outcome.scores[j]];
  return right > wrongScore ? 1 : right === wrongScore ? tie : 0;
}

/** Accuracy over pairs of one right and one wrong answer. A tie between scores is a loss, verdicts of a judge that cancel in the two orders are half a win. */
const pairAccuracy =
  (options: Parameters<typeof tabulate>[1]) => (items: readonly PreferenceItem[], outcomes: readonly PreferenceOutcome[]) =>
    tabulate(
      items.map((item, i) => ({ subset: item.subset, value: outcomeOf(item, outcomes[i], 0, 1) })),
      options,
    );

function pair(id: string, subset: string, prompt: Prompt, chosen: Completion, rejected: Completion): PreferenceItem {
  return { id, subset, prompt, candidates: [chosen, rejected], correct: 1 };
}

/** The subsets of RewardBench by category. */
const rewardBenchGroups = {
  Chat: ['alpacaeval-easy', 'alpacaeval-length', 'alpacaeval-hard', 'mt-bench-easy', 'mt-bench-med'],
  'Chat Hard': [
    'mt-bench-hard',
    'llmbar-natural',
    'llmbar-adver-neighbor',
    'llmbar-adver-GPTInst',
    'llmbar-adver-GPTOut',
    'llmbar-adver-manual',
  ],
  Safety: ['refusals-dangerous', 'refusals-offensive', 'xstest-should-refuse', 'xstest-should-respond', 'donotanswer'],
  Reasoning: ['math-prm', 'hep-cpp', 'hep-go', 'hep-java', 'hep-js', 'hep-python', 'hep-rust'],
};
const knownSubset = (r: Row, name: string, place: RowPlace) => oneOf(r, name, Object.values(rewardBenchGroups).flat(), place);
/** Official weights of the subsets: their sizes, `math-prm` raised to the size of all code together. */
const weightsOf = (sizes: Record<keyof typeof rewardBenchGroups, readonly number[]>) =>
  Object.fromEntries(
    Object.entries(rewardBenchGroups).flatMap(([group, subsets]) =>
      subsets.map((subset, i) => [subset, sizes[group as keyof typeof sizes][i]]),
    ),
  );
const rewardBenchWeights = weightsOf({
  Chat: [100, 95, 95, 28, 40],
  'Chat Hard': [37, 100, 134, 92, 47, 46],
  Safety: [100, 100, 154, 250, 136],
  Reasoning: [984, 164, 164, 164, 164, 164, 164],
});
const mRewardBenchWeights = weightsOf({
  Chat: [79, 79, 76, 24, 38],
  'Chat Hard': [35, 76, 124, 87, 42, 43],
  Safety: [100, 100, 154, 247, 135],
  Reasoning: [983, 164, 164, 164, 164, 163, 164],
});

/** RewardBench. Lambert et al. 2024, arXiv:2403.13787: accuracy on pairs, subsets weighted by their official sizes, the score the mean of four categories. */
export const rewardBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'rewardbench',
  title: 'RewardBench',
  paper: '2403.13787',
  files: 'filtered.parquet or JSON lines with prompt, chosen, rejected, subset, id',
  metric: 'mean accuracy of four categories',
  read: (r, place) =>
    pair(
      label(r, 'id', place),
      knownSubset(r, 'subset', place),
      dialogue(r, 'prompt', place),
      dialogue(r, 'chosen', place),
      dialogue(r, 'rejected', place),
    ),
  report: pairAccuracy({ overall: 'groups', groups: rewardBenchGroups, weights: rewardBenchWeights, name: 'score' }),
};

/**
 * M-RewardBench. Gureja et al. 2024, arXiv:2410.15522: RewardBench's pairs in 23 languages. The headline is the mean over the languages other than English of the mean
 * of four categories; where English is there (`eng_Latn`), its score and the drop from it are reported too. The translation task stands apart.
 */
export const mRewardBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'm-rewardbench',
  title: 'M-RewardBench',
  paper: '2410.15522',
  files:
    'one file a language, Parquet or JSON lines, with id, language, prompt, chosen, rejected and source (or subset); `translation` is the translation task',
  metric: 'mean score of the languages other than English',
  read(r, place) {
    const language = typeof r.language === 'string' ? r.language : place.file;
    const isTranslation = /translation/.test(place.file);
    const column = 'source' in r ? 'source' : 'subset';
    const subset = isTranslation ? text(r, column, place) : knownSubset(r, column, place);
    const id = `${language}/${label(r, 'id', place)}`;
    const item = pair(id, subset, dialogue(r, 'prompt', place), dialogue(r, 'chosen', place), dialogue(r, 'rejected', place));
    return { ...item, info: { language: isTranslation ? 'translation' : language } };
  },
  report(items, outcomes) {
    const languages = [...new Set(items.map((item) => item.info!.language))].sort();
    const scoreOf = (language: string) => {
      const at = items.flatMap((item, i) => (item.info!.language === language ? [i] : []));
      const [whole] = pairAccuracy(
        language === 'translation'
          ? { overall: 'items', name: language }
          : { overall: 'groups', groups: rewardBenchGroups, weights: mRewardBenchWeights, name: language },
      )(
        at.map((i) => items[i]),
        at.map((i) => outcomes[i]),
      );
      return { ...whole, level: 'group' as const };
    };
    const scores = languages.map(scoreOf);
    const others = scores.filter(({ name }) => !/^eng|^en$|translation/.test(name));
    const english = scores.find(({ name }) => /^eng|^en$/.test(name));
    const mean = others.reduce((sum, { value }) => sum + value, 0) / others.length;
    const n = others.reduce((sum, one) => sum + one.n, 0);
    return [
      plain('multilingual average', 'overall', mean, n),
      ...(english && others.length > 0 ? [plain('drop from English', 'detail', english.value - mean, n)] : []),
      ...scores,
    ];
  },
};

/**
 * RewardBench 2. Malik et al. 2025, arXiv:2506.01937: one right answer among four has to score highest, shared first places counting their share. The subset Ties has
 * several right answers a prompt and a formula of its own (60% accuracy, 40% margins). The score is the mean of the subsets.
 */
export const rewardBench2: PreferenceBenchmark = {
  kind: 'preference',
  id: 'rewardbench-2',
  title: 'RewardBench 2',
  paper: '2506.01937',
  files: 'the test split, Parquet or JSON lines, with id, subset, prompt, chosen and rejected (lists)',
  metric: 'mean of the six subsets',
  read(r, place) {
    const chosen = texts(r, 'chosen', place);
    const candidates = [...chosen, ...texts(r, 'rejected', place)];
    return {
      id: label(r, 'id', place),
      subset: text(r, 'subset', place),
      prompt: dialogue(r, 'prompt', place),
      candidates,
      correct: chosen.length,
    };
  },
  report(items, outcomes) {
    const indices = items.map((_, i) => i);
    const ties = indices.filter((i) => items[i].subset === 'Ties');
    const values = indices
      .filter((i) => items[i].subset !== 'Ties')
      .map((i) => ({ subset: items[i].subset, value: sharedFirst(items[i], outcomes[i]) }));
    const rows = values.length > 0 ? tabulate(values, { overall: 'subsets' }).filter(({ level }) => level === 'subset') : [];
    if (ties.length > 0)
      rows.push(
        plain(
          'Ties',
          'subset',
          tiesScore(
            ties.map((i) => items[i]),
            ties.map((i) => outcomes[i]),
          ),
          ties.length,
        ),
      );
    const mean = rows.reduce((sum, { value }) => sum + value, 0) / rows.length;
    return [plain('score', 'overall', mean, items.length), ...rows];
  },
};

/** 1 over the number of candidates that share the first place, if a right one is among them. */
function sharedFirst(item: PreferenceItem, outcome: PreferenceOutcome): number {
  if ('wins' in outcome) return outcome.wins.every((win) => win === 1) ? 1 : 0;
  const highest = Math.max(...outcome.scores);
  const first = outcome.scores.flatMap((score, i) => (score === highest ? [i] : []));
  return first.some((i) => i < item.correct) ? 1 / first.length : 0;
}

/** @throws FormatError where a judge gave no scores, or no prompt has both kinds of item */
function tiesScore(items: readonly PreferenceItem[], outcomes: readonly PreferenceOutcome[]): number {
  type Stats = { accurate: boolean; spread: number; gap: number };
  const stats = { ref: new Map<string, Stats>(), tied: new Map<string, Stats>() };
  for (const [i, item] of items.entries()) {
    const outcome = outcomes[i];
    if (!('scores' in outcome)) throw new FormatError('the subset Ties of RewardBench 2 needs scores, not comparisons of pairs');
    const [kind, prompt] = item.id.split(':');
    if (kind !== 'ref' && kind !== 'tied') throw new FormatError(`item "${item.id}" of Ties: its id must be ref:N or tied:N`);
    const right = outcome.scores.slice(0, item.correct);
    const gap = Math.min(...right) - Math.max(...outcome.scores.slice(item.correct));
    stats[kind].set(prompt, { accurate: gap > 0, spread: Math.max(...right) - Math.min(...right), gap });
  }
  const share = (list: readonly boolean[]) => (list.length > 0 ? list.filter(Boolean).length / list.length : 0);
  const both = [...stats.tied].flatMap(([prompt, tied]) => (stats.ref.has(prompt) ? [{ tied, ref: stats.ref.get(prompt)! }] : []));
  const margins = both.map(({ tied, ref }) => Math.tanh(Math.min(ref.gap, tied.gap) / tied.spread - 1) || 0); // 0 / 0 counts as 0, as in the reference
  return (
    0.3 * share([...stats.tied.values()].map(({ accurate }) => accurate)) +
    0.3 * share([...stats.ref.values()].map(({ accurate }) => accurate)) +
    0.2 * share(both.map(({ tied }) => tied.gap > tied.spread)) +
    0.2 * share(both.map(({ tied, ref }) => Math.min(ref.gap, tied.gap) > tied.spread)) +
    0.01 * (margins.length > 0 ? margins.reduce((sum, one) => sum + one, 0) / margins.length : 0)
  );
}

const rmBenchDomains = { chat: ['chat'], math: ['math'], code: ['code'], safety: ['safety-refuse', 'safety-response'] };
function rmBenchSubset(r: Row, place: RowPlace): string {
  const named = `${place.file} ${String(r.subset ?? '')}`;
  if (/safety-refuse|refusals|should-refuse|donotanswer/.test(named)) return 'safety-refuse';
  if (/safety-response|should-respond/.test(named)) return 'safety-response';
  const domain = (['chat', 'code', 'math'] as const).find((one) => named.includes(one));
  if (domain) return domain;
  if (/alpacaeval/.test(named)) return 'chat';
  if (/humaneval/.test(named)) return 'code';
  throw wrong(r, 'subset', 'of the chat, math, code or safety part', place);
}

/**
 * RM-Bench. Liu et al. 2024, arXiv:2410.16184: three right and three wrong answers of rising style (concise, detailed, detailed with Markdown). Hard is a plain right
 * answer against a styled wrong one, normal the same style, easy a styled right one; each is a mean over three cells. A tie is a loss.
 */
export const rmBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'rm-bench',
  title: 'RM-Bench',
  paper: '2410.16184',
  files:
    'chat_filtered, math_filtered, code_filtered, safety-refuse_filtered, safety-response_filtered (or total_dataset), JSON or JSON lines',
  metric: 'mean accuracy of four domains over all nine cells',
  read(r, place) {
    const [chosen, rejected] = [texts(r, 'chosen', place), texts(r, 'rejected', place)];
    if (chosen.length !== 3 || rejected.length !== 3)
      throw wrong(r, chosen.length === 3 ? 'rejected' : 'chosen', 'a list of three texts', place);
    const subset = rmBenchSubset(r, place);
    return {
      id: `${subset}/${label(r, 'id', place)}`,
      subset,
      prompt: dialogue(r, 'prompt', place),
      candidates: [...chosen, ...rejected],
      correct: 3,
    };
  },
  report(items, outcomes) {
    const cell = (k: number, i: number, j: number) => outcomeOf(items[k], outcomes[k], i, 3 + j);
    const over = (cells: readonly (readonly [number, number])[]) =>
      items.map((item, k) => ({ subset: item.subset, value: cells.reduce((sum, [i, j]) => sum + cell(k, i, j), 0) / cells.length }));
    const nine = [0, 1, 2].flatMap((i) => [0, 1, 2].map((j) => [i, j] as const));
    const options = { overall: 'groups' as const, groups: rmBenchDomains };
    const [whole, ...parts] = tabulate(over(nine), { ...options, name: 'accuracy' });
    const level = (name: string, holds: (i: number, j: number) => boolean): BenchmarkNumber => ({
      ...tabulate(over(nine.filter(([i, j]) => holds(i, j))), options)[0],
      name,
      level: 'group',
    });
    return [
      whole,
      level('easy', (i, j) => i > j),
      level('normal', (i, j) => i === j),
      level('hard', (i, j) => i < j),
      ...parts,
      ...nine.map(([i, j]) =>
        row(`chosen ${styles[i]}, rejected ${styles[j]}`, 'detail', moments(over([[i, j]]).map(({ value }) => value))),
      ),
    ];
  },
};
const styles = ['concise', 'detailed', 'with Markdown'];

const llmBarGroups = {
  Natural: ['Natural'],
  Adversarial: ['Neighbor', 'GPTInst', 'GPTOut', 'Manual'],
  Processed: ['FairEval', 'LLMEval^2', 'MT-Bench'],
};

/**
 * LLMBar. Zeng et al. 2024, arXiv:2310.07641: which of two answers follows the instruction; natural pairs, and adversarial ones that look better than they are. The pairs
 * of other benchmarks that come with it (Processed) stand beside the headline, not in it.
 */
export const llmBar: PreferenceBenchmark = {
  kind: 'preference',
  id: 'llmbar',
  title: 'LLMBar',
  paper: '2310.07641',
  files: 'dataset.json of each part (or one file a part, JSON or JSON lines) with input, output_1, output_2, label',
  metric: 'mean accuracy of Natural and of the mean of the adversarial parts',
  read(r, place) {
    const subset = llmBarSubset(place);
    const answers = [text(r, 'output_1', place), text(r, 'output_2', place)];
    if (oneOf(r, 'label', ['1', '2'], place) === '2') answers.reverse();
    return pair(`${subset}/${place.line}`, subset, text(r, 'input', place), answers[0], answers[1]);
  },
  report(items, outcomes) {
    const table = pairAccuracy({ overall: 'groups', groups: llmBarGroups });
    const [whole, ...parts] = table(items, outcomes);
    const own = items.flatMap(({ subset }, i) => ([...llmBarGroups.Natural, ...llmBarGroups.Adversarial].includes(subset) ? [i] : []));
    if (own.length === 0) return [whole, ...parts];
    const [headline] = table(
      own.map((i) => items[i]),
      own.map((i) => outcomes[i]),
    );
    return [headline, ...parts];
  },
};
function llmBarSubset({ path }: RowPlace): string {
  const squeezed = path.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  const known = Object.values(llmBarGroups).flat();
  return known.find((name) => squeezed.includes(name.toLowerCase().replaceAll(/[^a-z0-9]/g, ''))) ?? 'other';
}

/**
 * JudgeBench. Tan et al. 2024, arXiv:2410.12784: pairs of which one is objectively right, hard for judges. A judge is right where its verdicts in both orders together
 * favour the right answer; verdicts that cancel, and equal scores, are wrong.
 */
export const judgeBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'judgebench',
  title: 'JudgeBench',
  paper: '2410.12784',
  files: 'JSON lines with pair_id, source, question, response_A, response_B, label',
  metric: 'accuracy over all pairs',
  read(r, place) {
    const answers = [text(r, 'response_A', place), text(r, 'response_B', place)];
    if (oneOf(r, 'label', ['A>B', 'B>A'], place) === 'B>A') answers.reverse();
    return pair(text(r, 'pair_id', place), text(r, 'source', place), text(r, 'question', place), answers[0], answers[1]);
  },
  report: (items, outcomes) =>
    tabulate(
      items.map((item, i) => ({ subset: item.subset, value: outcomeOf(item, outcomes[i], 0, 1) === 1 ? 1 : 0 })),
      {
        overall: 'items',
        weights: 'items',
        groups: {
          Knowledge: [...new Set(items.map(({ subset }) => subset))].filter((one) => one.startsWith('mmlu-pro')),
          Reasoning: ['livebench-reasoning'],
          Math: ['livebench-math'],
          Coding: ['livecodebench'],
        },
      },
    ),
};

/** Its roles, as chat templates know them: a tool call is the assistant's. */
const agentRoles: Record<string, string> = { tool_call: 'assistant', tool_response: 'tool' };

/** Plan-RewardBench: which of two trajectories of a tool-using agent is the better one. The headline is the mean of the subsets. */
export const planRewardBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'plan-rewardbench',
  title: 'Plan-RewardBench',
  files: 'the JSON lines files of the benchmark folder, with query, tools, chosen, reject, uuid, _lcp_bucket',
  metric: 'mean accuracy of the subsets',
  read(r, place) {
    const trajectory = (name: 'chosen' | 'reject' | 'rejected'): Message[] => {
      const value = r[name] as { messages?: unknown } | undefined;
      if (!Array.isArray(value?.messages)) throw wrong(r, name, 'an object with messages', place);
      const messages = (value.messages as Row[]).map((message) => ({
        role: agentRoles[String(message.role)] ?? String(message.role),
        content: typeof message.content === 'string' ? message.content : JSON.stringify(message.content),
      }));
      // the query is the prompt; what follows it is the trajectory
      return messages[0]?.role === 'user' ? messages.slice(1) : messages;
    };
    const query = text(r, 'query', place);
    const tools = Array.isArray(r.tools) && r.tools.length > 0 ? `Tools: ${JSON.stringify(r.tools)}` : undefined;
    const prompt: Message[] = [...(tools ? [{ role: 'system', content: tools }] : []), { role: 'user', content: query }];
    return pair(`${place.file}/${place.line}`, place.file, prompt, trajectory('chosen'), trajectory('reject' in r ? 'reject' : 'rejected'));
  },
  report: pairAccuracy({ overall: 'subsets' }),
};

/** Writing Quality benchmark. Chakrabarty et al. 2025, arXiv:2504.07532: which of two paragraphs is better written. The headline is the mean of the sets. */
export const writingQuality: PreferenceBenchmark = {
  kind: 'preference',
  id: 'writing-quality',
  title: 'Writing Quality benchmark',
  paper: '2504.07532',
  files: 'JSON or JSON lines with paragraph1, paragraph2, reference_preference, sample_type; rows of single paragraphs are left out',
  metric: 'mean accuracy of the sets',
  read(r, place) {
    if (!('paragraph1' in r)) return undefined;
    const answers = [text(r, 'paragraph1', place), text(r, 'paragraph2', place)];
    if (oneOf(r, 'reference_preference', ['1', '2'], place) === '2') answers.reverse();
    const set = typeof r.sample_type === 'string' && r.sample_type !== 'pairwise' ? r.sample_type : place.file;
    return pair(`${set}/${place.line}`, set, 'Which paragraph is better written?', answers[0], answers[1]);
  },
  report: pairAccuracy({ overall: 'subsets' }),
};

/** Groups by where the pair comes from. */
const vlSources: readonly (readonly [RegExp, string])[] = [
  [/VLFeedback|WildVision/i, 'general'],
  [/POVID|RLHF-V|RLAIF-V/i, 'hallucination'],
  [/reasoning|MathVerse|MMMU/i, 'reasoning'],
];

/** VL-RewardBench. Li et al. 2024, arXiv:2411.17451: pairs of answers about an image. Overall accuracy is over all pairs, macro accuracy over the three categories. */
export const vlRewardBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'vl-rewardbench',
  title: 'VL-RewardBench',
  paper: '2411.17451',
  files: 'JSON or JSON lines with id, query, response (two texts), human_ranking, query_source, and image paths',
  metric: 'accuracy over all pairs',
  read(r, place) {
    const answers = texts(r, 'response', place);
    const ranking = r.human_ranking;
    if (answers.length !== 2 || !Array.isArray(ranking) || ranking.length !== 2)
      throw wrong(r, 'human_ranking', 'two ranks, the lower the better, for two responses', place);
    if (Number(ranking[1]) < Number(ranking[0])) answers.reverse();
    const id = label(r, 'id', place);
    const source = text(r, 'query_source', place);
    const category = vlSources.find(([pattern]) => pattern.test(source))?.[1];
    if (!category) throw wrong(r, 'query_source', 'one of VLFeedback, WildVision, POVID, RLHF-V, RLAIF-V, reasoning_tasks', place);
    return {
      ...pair(id, category, text(r, 'query', place), answers[0], answers[1]),
      media: media(r, 'image' in r ? 'image' : 'image_path', 'image'),
    };
  },
  report(items, outcomes) {
    const [micro, ...rest] = pairAccuracy({ overall: 'items' })(items, outcomes);
    return [micro, { ...pairAccuracy({ overall: 'subsets', name: 'macro' })(items, outcomes)[0], level: 'detail' }, ...rest];
  },
};

/** VideoRewardBench. arXiv:2509.00484: pairs of answers about a video in five dimensions. The printed overall is over all pairs; macro is the mean of the dimensions. */
export const videoRewardBench: PreferenceBenchmark = {
  kind: 'preference',
  id: 'videorewardbench',
  title: 'VideoRewardBench',
  paper: '2509.00484',
  files: 'JSON or JSON lines with question (or prompt), chosen, rejected, dimension (or category), and video paths',
  metric: 'accuracy over all pairs',
  read(r, place) {
    const pick = (...names: string[]) => names.find((name) => name in r) ?? names[0];
    const [chosen, rejected] = [text(r, 'chosen', place), text(r, 'rejected', place)];
    if (chosen === rejected) throw new FormatError(`${at(place)}: chosen and rejected are the same text`);
    const id = 'id' in r ? label(r, 'id', place) : String(place.line);
    const item = pair(
      id,
      text(r, pick('dimension', 'category', 'type'), place),
      dialogue(r, pick('question', 'prompt', 'query'), place),
      chosen,
      rejected,
    );
    return { ...item, media: media(r, pick('video', 'video_path', 'videos'), 'video') };
  },
  report: vlRewardBench.report,
};
