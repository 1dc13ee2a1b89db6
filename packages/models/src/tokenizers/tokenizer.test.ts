import { FormatError } from '@plumbline/core';
import type { Message } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { readJson, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { tokenizerFromJson } from './tokenizer.js';
import { trainByteBpe } from './trainByteBpe.js';

type Row = { text: string; ids: number[]; offsets: [number, number][]; decoded: string; decoded_without_special: string };

describe('tokenizerFromJson', () => {
  it('names what a file lacks', () => {
    expect(() => tokenizerFromJson({ version: '1.0' }, { name: 'my-model' })).toThrow(
      /my-model: not a tokenizer.json.*"model".*keys: version/,
    );
  });

  it('leaves out ids that have no token, as models with room for more may give', () => {
    const tokenizer = tokenizerFromJson(trainByteBpe([], { vocabSize: 256 }));
    expect(tokenizer.decode([...tokenizer.encode('ab'), 256, 9999])).toBe('ab');
    expect(tokenizer.decode([300])).toBe('');
  });

  it('names a special token that is not in the vocabulary', () => {
    const json = trainByteBpe([], { vocabSize: 256 });
    expect(() => tokenizerFromJson(json, { eos_token: '</s>' })).toThrow(/eos_token is "<\/s>"/);
  });
});

describe.skipIf(!sharedFolder)(`tokenizers against Python's${whySkipped}`, () => {
  it.each(['smollm2', 'minilm'])('gives ids, offsets and text of 200 strings with %s', (name) => {
    const special = name === 'minilm';
    const tokenizer = tokenizerFromJson(readJson(sharedFixture(`tokenizers/${name}.tokenizer.json`)));
    const { rows } = readJson<{ rows: Row[] }>(sharedFixture(`tokenizers/${name}.strings.json`));
    expect(rows).toHaveLength(200);
    expect(tokenizer.vocabSize).toBe(name === 'minilm' ? 30522 : 49152);
    for (const { text, ids, offsets, decoded, decoded_without_special } of rows) {
      expect([...tokenizer.encode(text, { special })], JSON.stringify(text)).toEqual(ids);
      const aligned = tokenizer.encodeWithOffsets(text, { special });
      expect([...aligned.ids], JSON.stringify(text)).toEqual(ids);
      expect(aligned.offsets, JSON.stringify(text)).toEqual(offsets);
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(decoded_without_special);
    }
  });

  it('joins pairs of sentences', () => {
    const tokenizer = tokenizerFromJson(readJson(sharedFixture('tokenizers/minilm.tokenizer.json')));
    for (const { first, second, ids, type_ids } of readJson<Pair[]>(sharedFixture('tokenizers/minilm.pairs.json'))) {
      const pair = tokenizer.encodePair(first, second);
      expect([...pair.ids]).toEqual(ids);
      expect([...pair.typeIds]).toEqual(type_ids);
    }
  });

  const none: Chats = { templates: {}, special_tokens: { bos_token: '', eos_token: '' }, tools: [], conversations: [], renders: [] };
  const chats = sharedFolder ? readJson<Chats>(sharedFixture('tokenizers/chat_templates.json')) : none; // a skipped suite is collected too
  const { templates, special_tokens, tools, conversations, renders } = chats;
  it.each(Object.keys(templates))('renders the chat template %s as transformers does, refusals and assistant masks included', (name) => {
    const json = readJson(sharedFixture('tokenizers/smollm2.tokenizer.json'));
    const tokenizer = tokenizerFromJson(json, { ...special_tokens, chat_template: templates[name] });
    const ours = renders.filter(({ template }) => template === name);
    expect(ours).toHaveLength(60);
    for (const { conversation, add_generation_prompt: addGenerationPrompt, kwargs, text, error, ids, assistant_mask } of ours) {
      const { tools: wanted, ...variables } = kwargs;
      const options = { addGenerationPrompt, variables, tools: wanted ? tools : undefined };
      const at = `conversation ${conversation}`;
      if (error !== undefined) {
        expect(() => tokenizer.renderChat(conversations[conversation], options), at).toThrow(FormatError);
        if (/^T/.test(error))
          expect(() => tokenizer.renderChat(conversations[conversation], options), at).toThrow(error.replace(/^\w+: /, ''));
        continue;
      }
      expect(tokenizer.renderChat(conversations[conversation], options), at).toBe(text);
      if (!assistant_mask) continue;
      const masked = tokenizer.renderChat(conversations[conversation], { ...options, returnAssistantMask: true });
      expect(masked.text, at).toBe(text);
      expect([...masked.tokens], at).toEqual(ids);
      expect([...masked.assistantMask], at).toEqual(assistant_mask);
    }
  });
});

describe.skipIf(!sharedFolder)(`masks without marks${whySkipped}`, () => {
  it.each(['chatml_generation', 'tools'])('are those of the marked template %s', (name) => {
    const { templates, special_tokens, tools, conversations, renders } = readJson<Chats>(sharedFixture('tokenizers/chat_templates.json'));
    const bare = templates[name].replaceAll('endgeneration', 'endif').replaceAll('generation %}', 'if true %}');
    const tokenizer = tokenizerFromJson(readJson(sharedFixture('tokenizers/smollm2.tokenizer.json')), {
      ...special_tokens,
      chat_template: bare,
    });
    for (const { template, conversation, kwargs, add_generation_prompt, assistant_mask } of renders) {
      if (template !== name || add_generation_prompt || !assistant_mask) continue;
      const options = { tools: kwargs.tools ? tools : undefined, returnAssistantMask: true } as const;
      const { assistantMask } = tokenizer.renderChat(conversations[conversation], options);
      expect([...assistantMask], `conversation ${conversation}`).toEqual(assistant_mask);
    }
  });
});

type Pair = { first: string; second: string; ids: number[]; type_ids: number[] };
type Chats = {
  templates: Record<string, string>;
  special_tokens: { bos_token: string; eos_token: string };
  tools: object[];
  conversations: Message[][];
  renders: {
    template: string;
    conversation: number;
    add_generation_prompt: boolean;
    kwargs: Record<string, unknown>;
    text?: string;
    error?: string;
    ids?: number[];
    assistant_mask?: number[];
  }[];
};
