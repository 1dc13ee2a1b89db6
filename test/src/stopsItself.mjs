/**
 * Preloaded into a process that a test stops. The process sends the signal to itself at a moment of its own course: one that is watched from outside may be past it, or at its end, before the
 * watcher gets to run. STOP is JSON, of one of these forms:
 *
 * - `{ signal, printed }`: once this text has been printed.
 * - `{ signal, path, at }`: in place of the `at`-th operation on files whose path matches. Between operations nothing changes on the disk, so these are all the moments that a killed process can leave behind.
 * - `{ path, tally }`: never; the file `tally` gets the number of these operations.
 *
 * It is loaded in each thread: the main one answers to signals, and commands may compute in another.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const { signal, printed, path, at, tally } = JSON.parse(process.env.STOP);
const stop = () => process.kill(process.pid, signal);

if (printed !== undefined) {
  let text = '';
  for (const stream of [process.stdout, process.stderr]) {
    const { write } = stream;
    stream.write = function (chunk, ...rest) {
      const more = write.call(this, chunk, ...rest);
      const before = text.includes(printed);
      text += chunk;
      if (!before && text.includes(printed)) {
        if (isMainThread) stop();
        else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000); // until the main thread has heard of it
      }
      return more;
    };
  }
}

if (path !== undefined) {
  const matches = new RegExp(path);
  let operations = 0;
  const pathOf = new Map(); // by descriptor
  const count = (where) => {
    if (matches.test(where) && ++operations === at) stop();
  };
  /** Counts the calls of `names` before they are made; `then` gets what they returned and the path. */
  const watch = (object, names, then = (made) => made) => {
    for (const name of names) {
      const original = object[name];
      object[name] = function (target, ...rest) {
        const where = typeof target === 'number' ? (pathOf.get(target) ?? '') : String(target);
        count(where);
        return then(original.call(this, target, ...rest), where);
      };
    }
  };
  watch(fs, ['writeFileSync', 'appendFileSync', 'writeSync', 'fsyncSync', 'mkdirSync', 'renameSync', 'rmSync', 'unlinkSync']);
  watch(fs, ['openSync'], (descriptor, where) => {
    pathOf.set(descriptor, where);
    return descriptor;
  });
  watch(fs.promises, ['writeFile', 'appendFile', 'mkdir', 'rename', 'rm', 'unlink']);
  watch(fs.promises, ['open'], async (opening, where) => {
    const file = await opening;
    for (const name of ['write', 'sync']) {
      const original = file[name];
      file[name] = function (...args) {
        count(where);
        return original.apply(this, args);
      };
    }
    return file;
  });
  syncBuiltinESMExports();
  process.on('exit', () => tally !== undefined && operations > 0 && fs.writeFileSync(tally, String(operations)));
}
