import type { Message } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { readJson, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { chatTemplate } from './chatTemplate.js';
import { tokenizerFromJson } from './tokenizer.js';
import { trainByteBpe } from './trainByteBpe.js';

type Row = { text: string; ids: number[]; decoded: string; decoded_without_special: string };

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
  it('gives SmolLM2 ids and text of 200 strings', () => {
    const tokenizer = tokenizerFromJson(readJson(sharedFixture('tokenizers/smollm2.tokenizer.json')));
    const { rows } = readJson<{ rows: Row[] }>(sharedFixture('tokenizers/smollm2.strings.json'));
    expect(tokenizer.vocabSize).toBe(49152);
    for (const { text, ids, decoded, decoded_without_special } of rows) {
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(decoded_without_special);
    }
  });

  const none: Chats = { templates: {}, special_tokens: { bos_token: '', eos_token: '' }, tools: [], conversations: [], renders: [] };
  const chats = sharedFolder ? readJson<Chats>(sharedFixture('tokenizers/chat_templates.json')) : none; // a skipped suite is collected too
  const { templates, special_tokens, tools, conversations, renders } = chats;
  // Content that is no string (absent, a list of parts, a record) is where @huggingface/jinja prints JSON and Python prints Python.
  const plain = (conversation: number) => conversations[conversation].every(({ content }) => typeof content === 'string');
  it.each(Object.keys(templates))('renders the chat template %s as transformers does', (name) => {
    const render = chatTemplate(templates[name], { bosToken: special_tokens.bos_token, eosToken: special_tokens.eos_token });
    for (const { template, conversation, add_generation_prompt, kwargs, text, error } of renders) {
      if (template !== name || !plain(conversation)) continue;
      const { tools: wanted, ...variables } = kwargs;
      const ours = () =>
        render(conversations[conversation], { addGenerationPrompt: add_generation_prompt, variables, tools: wanted ? tools : undefined });
      if (error === undefined) expect(ours(), `conversation ${conversation}`).toBe(text);
      else expect(ours, `conversation ${conversation}`).toThrow();
    }
  });
});

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
  }[];
};
