import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { evalBenchmarks } from './eval.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-eval-'));
const servers: Server[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Reply = { status?: number; headers?: Record<string, string>; text?: string; slowMs?: number };
/** A server that answers each chat request as `reply` says, and counts. */
async function stub(
  reply: (question: string, request: number) => Reply,
): Promise<{ url: string; seen: { requests: number; most: number } }> {
  const seen = { requests: 0, most: 0 };
  let underWay = 0;
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString('utf8');
    });
    request.on('end', () => {
      seen.requests++;
      seen.most = Math.max(seen.most, ++underWay);
      const { messages } = JSON.parse(body) as { messages: { content: string }[] };
      const { status = 200, headers, text = '', slowMs = 2 } = reply(messages.at(-1)!.content, seen.requests);
      setTimeout(() => {
        underWay--;
        response.writeHead(status, { 'content-type': 'application/json', ...headers });
        const choices = [{ message: { role: 'assistant', content: text }, finish_reason: 'stop' }];
        response.end(
          status === 200 ? JSON.stringify({ choices, usage: { prompt_tokens: 10, completion_tokens: 3 } }) : '{"error":{"message":"busy"}}',
        );
      }, slowMs);
    });
  });
  servers.push(server);
  await new Promise<void>((ready) => void server.listen(0, '127.0.0.1', ready));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, seen };
}

/** Pairs of which the longer answer is right. */
const data = join(folder, 'judgebench.jsonl');
writeFileSync(
  data,
  Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({
      pair_id: `p${i}`,
      source: i < 6 ? 'livebench-math' : 'livecodebench',
      question: `question ${i}`,
      response_A: 'no',
      response_B: 'a longer answer',
      label: 'B>A',
    }),
  ).join('\n'),
);
const longer = (question: string) =>
  question.indexOf('longer') < question.indexOf('>no') || question.indexOf('longer') < question.indexOf('\nno\n') ? '[[A]]' : '[[B]]';
async function run(flags: Record<string, unknown>, ids = ['judgebench']): Promise<Record<string, unknown>> {
  const printed = vi.spyOn(console, 'log').mockImplementation(() => {});
  await evalBenchmarks(ids, { data: [data], model: 'stub', seed: '0', json: true, ...flags } as Parameters<typeof evalBenchmarks>[1]);
  const text = printed.mock.calls.map(([line]) => String(line)).join('\n');
  printed.mockRestore();
  return JSON.parse(text) as Record<string, unknown>;
}

describe('plumb eval on servers', () => {
  it('asks several at once, waits where one is busy, counts tokens, and asks nothing again', async () => {
    const first = await stub((question, n) =>
      n === 1 ? { status: 429, headers: { 'retry-after': '0' } } : { text: longer(question), slowMs: 8 },
    );
    const second = await stub((question) => ({ text: longer(question), slowMs: 8 }));
    const flags = { endpoints: `${first.url}, ${second.url}`, concurrency: '3', out: join(folder, 'one') };
    const result = await run(flags);
    expect(result).toMatchObject({ items: 12, missing: 0, orders: { agreement: 1, firstShown: 0.5 } });
    expect((result.numbers as { value: number }[])[0].value).toBe(1);
    expect(first.seen.requests + second.seen.requests).toBe(25); // both orders of 12 pairs, and one again
    expect(Math.min(first.seen.requests, second.seen.requests)).toBeGreaterThan(5);
    expect(Math.max(first.seen.most, second.seen.most)).toBeLessThanOrEqual(3);
    expect(result.spent).toMatchObject({ requests: 25, retries: 1, promptTokens: 240, completionTokens: 72 });
    const again = await run(flags);
    expect(first.seen.requests + second.seen.requests).toBe(25);
    expect(again).toMatchObject({ numbers: result.numbers, spent: { requests: 25, promptTokens: 240 } });
    const page = readFileSync(join(folder, 'one', 'judgebench-stub_as_a_judge', 'report.html'), 'utf8');
    expect(page).toContain('25 requests, 1 again');
    expect(page).toContain('72 written');
  });
  it('goes to the other server where one fails, and leaves out what all refuse, to be asked at the next start', async () => {
    let mended = false;
    const broken = await stub(() => ({ status: 400 }));
    const whole = await stub((question) => (question.includes('question 3') && !mended ? { status: 400 } : { text: longer(question) }));
    const flags = { endpoints: `${broken.url},${whole.url}`, out: join(folder, 'two') };
    const result = await run(flags);
    expect(result).toMatchObject({ items: 11, missing: 1 });
    expect(result.firstError).toMatch(/busy|400/);
    mended = true;
    const before = whole.seen.requests;
    expect(await run(flags)).toMatchObject({ items: 12, missing: 0 });
    expect(whole.seen.requests - before).toBe(2);
  });
  it('says how many answers of a judge could not be read, of all starts', async () => {
    const { url } = await stub((question) => ({ text: question.includes('question 3') ? 'I would rather not say.' : longer(question) }));
    const flags = { url, out: join(folder, 'unread') };
    const result = await run(flags);
    expect(result).toMatchObject({ items: 12, missing: 0, spent: { verdicts: 24, unparsed: 2 } });
    expect(await run(flags)).toMatchObject({ spent: { verdicts: 24, unparsed: 2 } });
    const page = readFileSync(join(folder, 'unread', 'judgebench-stub_as_a_judge', 'report.html'), 'utf8');
    expect(page).toContain('2 of 24 answers of the judge could not be read');
    const { url: steps } = await stub((question) => ({ text: question.includes('question 3') ? 'Perhaps.' : 'Yes.' }));
    expect(await run({ url: steps, as: 'steps', out: join(folder, 'steps') })).toMatchObject({ spent: { verdicts: 24, unparsed: 2 } });
    await expect(run({ ...flags, threshold: '0,5' })).rejects.toThrow('--threshold must be a number, got "0,5"');
  });
  it('rates answers one by one where asked, and says what it needs', async () => {
    const { url } = await stub((question) => ({ text: question.includes('longer') ? '[[9]]' : '[[2]]' }));
    const result = await run({ url, as: 'rating', out: join(folder, 'three') });
    expect(result).toMatchObject({ subject: 'stub, rating', items: 12 });
    expect((result.numbers as { value: number }[])[0].value).toBe(1);
    await expect(run({ endpoints: `${url},`, out: join(folder, 'four') })).rejects.toThrow('expected URLs with commas between');
    await expect(run({ url, model: undefined, reward: 'length', out: join(folder, 'four') })).rejects.toThrow(
      'need the name of the model there',
    );
    await expect(run({ url, out: join(folder, 'four') }, ['nothing'])).rejects.toThrow('there is no benchmark "nothing"');
    await expect(run({ url, judgeUrl: url, out: join(folder, 'four') })).rejects.toThrow('--judge');
    expect(existsSync(join(folder, 'four', 'judgebench-stub_as_a_judge', 'result.json'))).toBe(false);
  });
});
