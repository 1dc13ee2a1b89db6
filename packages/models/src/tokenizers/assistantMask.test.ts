import { ConfigError, FormatError, rng } from '@plumbline/core';
import type { Message } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { sftBatches } from '../sft/batches.js';
import { chatSequences } from '../sft/chats.js';
import { chatTemplate } from './chatTemplate.js';
import { type LocalTokenizer, tokenizerFromJson } from './tokenizer.js';
import { trainByteBpe } from './trainByteBpe.js';

const json = trainByteBpe(['user assistant Hello there, hello again'], { vocabSize: 270, specialTokens: ['<|im_start|>', '<|im_end|>'] });
const withTemplate = (chat_template: string): LocalTokenizer => tokenizerFromJson(json, { eos_token: '<|im_end|>', chat_template });
/** The assistant's tokens as text, one string for each run of them. */
function learned(tokenizer: LocalTokenizer, messages: readonly Message[]): string[] {
  const { tokens, assistantMask } = tokenizer.renderChat(messages, { returnAssistantMask: true });
  const runs: number[][] = [];
  tokens.forEach((token, t) => {
    if (!assistantMask[t]) return;
    if (t === 0 || !assistantMask[t - 1]) runs.push([]);
    runs.at(-1)!.push(token);
  });
  return runs.map((run) => tokenizer.decode(run));
}

const chatMl = (before = '', after = '') =>
  `{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}${before}{{ m.content + '<|im_end|>' }}${after}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;
const talk: Message[] = [
  { role: 'user', content: 'Hello' },
  { role: 'assistant', content: 'Hello there' },
  { role: 'user', content: 'again' },
  { role: 'assistant', content: '' },
  { role: 'user', content: 'and?' },
];

describe("the assistant's tokens", () => {
  it('are those that the template marks', () => {
    expect(learned(withTemplate(chatMl('{% generation %}', '{% endgeneration %}')), talk)).toEqual(['Hello there<|im_end|>', '<|im_end|>']);
  });

  it('are found without marks by rendering up to each answer and with it, its end token included and the newline behind it not', () => {
    expect(learned(withTemplate(chatMl()), talk)).toEqual(['Hello there<|im_end|>', '<|im_end|>']);
  });

  it('end with the end token where later messages shorten an answer', () => {
    const thoughts =
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</t>')[-1] }}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    const messages: Message[] = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'thought</t>b' },
      { role: 'user', content: 'c' },
      { role: 'assistant', content: 'thought</t>d' },
    ];
    expect(learned(withTemplate(thoughts), messages)).toEqual(['b<|im_end|>', 'thought</t>d<|im_end|>']);
  });

  it('are refused where the template rewrites what stands before an answer', () => {
    const counting =
      '{% for m in messages %}[{{ loop.index }}/{{ loop.length }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[?]{% endif %}';
    expect(() => learned(withTemplate(counting), talk)).toThrow(ConfigError);
    expect(() => learned(withTemplate(counting), talk)).toThrow(
      /no {% generation %} marks, and writes the conversation before answer 2 of 5 messages differently/,
    );
  });

  it('are none where the assistant says nothing', () => {
    expect(learned(withTemplate(chatMl()), talk.slice(0, 1))).toEqual([]);
  });
});

describe('chatSequences', () => {
  it('gives sequences in which all answers count and nothing else does', async () => {
    const tokenizer = withTemplate(chatMl());
    const { sequences, dropped } = chatSequences(
      tokenizer,
      [
        { id: 'one', messages: talk },
        { id: 'mute', messages: talk.slice(0, 1) },
        { messages: [...talk, { role: 'assistant', content: 'long '.repeat(100) }] },
      ],
      { maxTokens: 200 },
    );
    expect(dropped).toEqual([
      { id: 'mute', reason: 'no answer' },
      { id: '2', reason: 'too long' },
    ]);
    const batch = await sftBatches(sequences, { sequencesPerStep: 1, steps: 1, rng: rng(0) }).at(0);
    const counted = batch.packed.tokens.filter((_, t) => batch.packed.completionMask[t] === 1);
    expect(tokenizer.decode(counted)).toBe('Hello there<|im_end|><|im_end|>');
    expect(batch.countedTokens).toBe(counted.length);
  });

  it('names the conversation that the template refuses', () => {
    const strict = withTemplate("{% if messages[0].role != 'user' %}{{ raise_exception('users begin') }}{% endif %}");
    expect(() => chatSequences(strict, [{ id: 'file.jsonl:7', messages: talk.slice(1) }])).toThrow(FormatError);
    expect(() => chatSequences(strict, [{ id: 'file.jsonl:7', messages: talk.slice(1) }])).toThrow(
      /^conversation file.jsonl:7: .*users begin/,
    );
  });
});

describe('a chat template', () => {
  const render = (template: string, messages: readonly Message[] = talk) => chatTemplate(template)(messages);
  it('keeps what was written before continue and break', () => {
    expect(render('{% for m in messages %}a{% if loop.index0 % 2 == 1 %}b{% continue %}{% endif %}c{% endfor %}')).toBe('acabacabac');
    expect(render('{% for m in messages %}a{% if loop.index == 2 %}b{% break %}{% endif %}c{% endfor %}')).toBe('acab');
  });
  it('prints as Python does', () => {
    expect(render("{{ [1, 2.5, true, none, 'it''s'] }}".replace("''", "\\'"))).toBe('[1, 2.5, True, None, "it\'s"]');
    expect(render("{{ {'a': [], 'é': '\\n'} }} {{ none }} {{ true }} {{ 1.0 }} {{ missing }}")).toBe(
      "{'a': [], 'é': '\\n'} None True 1.0 ",
    );
    expect(render("{{ [true, 1] | join('-') }} {{ 'x' ~ none ~ 2 }}")).toBe('True-1 xNone2');
  });
  it('strips the characters that it is told to', () => {
    expect(render("{{ 'xxaxx'.strip('x') }}|{{ ' \\na\\n'.rstrip('\\n') }}|{{ 'yxa'.lstrip('xy') }}")).toBe('a| \na|a');
  });
  it('does not let what is set in a generation block out of it, as Python does not', () => {
    expect(render('{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}')).toBe('21');
  });
});
