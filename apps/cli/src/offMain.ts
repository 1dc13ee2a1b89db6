/**
 * Commands that compute run in a thread of their own, so that the main one stays free: Ctrl-C is heard while a long product runs, and the
 * second one ends the process at once.
 */
import { createInterface } from 'node:readline/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import pc from 'picocolors';

const computing = new Set([
  'start',
  'align',
  'apply',
  'reproduce',
  'matrix',
  'sweep',
  'eval',
  'check',
  'zoo',
  'train',
  'judge',
  'score',
  'generate',
]);
const signals = { SIGINT: 130, SIGTERM: 143 } as const;
type Signal = keyof typeof signals;
/** One press can arrive twice, from the terminal and from npm or another program that passes it on. */
const samePress = 400;

/** What a thread cannot ask of its own streams. */
type Terminal = { stdin: boolean; stdout: boolean; stderr: boolean; columns?: number; rows?: number };
type ToThread = { signal: Signal } | { answer: string };

/** Whether `argv` (without node and the script) is to run in a thread: it computes, and this is the main one. */
export const computesOffMain = (argv: readonly string[]): boolean =>
  isMainThread && computing.has(argv[0]) && !argv.includes('--help') && !argv.includes('-h');

/** Runs `program` with `argv` in a thread, with this process's streams and signals, and answers its exit code. */
export async function runOffMain(program: URL, argv: readonly string[]): Promise<number> {
  const { stdin, stdout, stderr } = process;
  const terminal: Terminal = {
    stdin: !!stdin.isTTY,
    stdout: !!stdout.isTTY,
    stderr: !!stderr.isTTY,
    columns: stderr.columns,
    rows: stderr.rows,
  };
  const worker = new Worker(program, {
    argv: [...argv],
    env: { ...process.env, ...(pc.isColorSupported && { FORCE_COLOR: process.env.FORCE_COLOR ?? '1' }) },
    workerData: { terminal },
  });
  const send = (message: ToThread) => worker.postMessage(message);
  let asked: number | undefined;
  for (const name of Object.keys(signals) as Signal[])
    process.on(name, () => {
      if (asked === undefined) send({ signal: name });
      else if (Date.now() - asked < samePress) return;
      else process.exit(signals[name]);
      asked = Date.now();
    });
  worker.on('message', ({ question }: { question: string }) => void askHere(question).then((answer) => send({ answer })));
  return new Promise<number>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', resolve);
  });
}

/** In the thread: its streams say what those of the process are, and signals arrive as they do in a process. */
export function adoptProcess(): void {
  const { terminal } = (workerData ?? {}) as { terminal?: Terminal };
  if (isMainThread || !parentPort || !terminal) return;
  const { columns, rows } = terminal;
  for (const name of ['stdin', 'stdout', 'stderr'] as const) Object.assign(process[name], { isTTY: terminal[name], columns, rows });
  parentPort.on('message', (message: ToThread) => {
    if ('signal' in message && !process.emit(message.signal, message.signal)) process.exit(signals[message.signal]); // nobody has begun to listen
  });
  parentPort.unref();
}

/** What the user answers on the terminal, asked in the main thread wherever this is called. */
export async function ask(question: string): Promise<string> {
  const port = parentPort;
  if (!port) return askHere(question);
  port.ref();
  try {
    return await new Promise<string>((resolve) => {
      const hear = (message: ToThread) => {
        if (!('answer' in message)) return;
        port.off('message', hear);
        resolve(message.answer);
      };
      port.on('message', hear);
      port.postMessage({ question });
    });
  } finally {
    port.unref();
  }
}

async function askHere(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}
