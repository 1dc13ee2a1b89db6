/** Progress of long work on standard error, with rate and time left: a bar on a terminal, a line now and then elsewhere. */
import { type Options, SingleBar } from 'cli-progress';

export interface Progress {
  /** `note` is a short reading to show beside the bar, such as the loss. */
  update(done: number, note?: string): void;
  stop(): void;
}

/** @param unit what is counted: steps, prompts, texts */
export function progress(label: string, total: number, unit: string): Progress {
  const tty = process.stderr.isTTY === true;
  const started = Date.now();
  let origin: { done: number; time: number } | undefined; // the first update: what an earlier process did does not count for the rate
  const reading = (done: number) => {
    const now = Date.now();
    const rate = origin && done > origin.done && now > origin.time ? ((done - origin.done) * 1000) / (now - origin.time) : 0;
    return {
      rate: rate > 0 ? rate.toPrecision(3) : '?',
      left: rate > 0 ? duration((total - done) / rate) : '?',
      spent: duration((now - started) / 1000),
    };
  };
  const options: Options = {
    stream: process.stderr,
    noTTYOutput: true,
    notTTYSchedule: 10_000,
    hideCursor: true,
    clearOnComplete: false,
    barsize: 22,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    format: tty
      ? `  ${label.padEnd(30)} {bar} {value}/{total} ${unit}  {rate}/s  {left} left  {note}`
      : `  ${label.padEnd(30)} {value}/{total} ${unit}  {rate}/s  {left} left  {note}`,
    fps: 5,
  };
  const bar = new SingleBar(options);
  bar.start(total, 0, { ...reading(0), note: '' });
  return {
    update(done, note = '') {
      origin ??= { done, time: Date.now() };
      bar.update(done, { ...reading(done), note });
    },
    stop: () => bar.stop(),
  };
}

/** The same around `work`: however it ends, the bar stops, which otherwise would keep the process alive. */
export async function withProgress<T>(label: string, total: number, unit: string, work: (bar: Progress) => Promise<T>): Promise<T> {
  const bar = progress(label, total, unit);
  try {
    return await work(bar);
  } finally {
    bar.stop();
  }
}

/** Seconds as a person says them: `8 s`, `2 min 5 s`, `1 h 3 min`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
