/** What the user sees when a command cannot go on: one line for a mistake or a stop, the stack only for what is our own fault. */
import { ConfigError, InterruptedError, PlumblineError } from '@plumbline/core';
import pc from 'picocolors';
import { ZodError, z } from 'zod';

const systemErrors: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EROFS: 'the disk is read-only',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'part of the path is a file, not a folder',
  EISDIR: 'it is a folder, not a file',
};

/** Prints `error` and returns the exit code: 130 after an interruption, 2 for what was asked wrongly (as with an unknown flag), else 1. */
export function reportFailure(error: unknown): number {
  if (error instanceof InterruptedError) {
    console.error(pc.yellow(error.message));
    return 130;
  }
  if (error instanceof DOMException && error.name === 'AbortError') {
    console.error(pc.yellow('Stopped before there was anything new to save; the same command goes on from what there is.'));
    return 130;
  }
  console.error(pc.red(`plumb: ${messageOf(error)}`));
  return error instanceof ConfigError ? 2 : 1;
}

function messageOf(error: unknown): string {
  if (error instanceof ZodError) return z.prettifyError(error).replaceAll('\n', ' ');
  if (error instanceof PlumblineError || error instanceof RangeError) return inCommands(error.message);
  if (error instanceof Error) {
    const { code, path, syscall } = error as NodeJS.ErrnoException;
    const known = code && systemErrors[code];
    if (known) return `${path ?? syscall ?? 'a file'}: ${known}`;
    return error.stack ?? error.message;
  }
  return String(error);
}

/** The way on as the command line has it, where a package names an option of its functions. */
const inCommands = (message: string): string =>
  message.replace("badRows: 'skip' leaves such rows out", '`plumb data convert SOURCE OUT --skip-bad` writes the others');
