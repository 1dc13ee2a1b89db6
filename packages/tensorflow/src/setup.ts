/**
 * Sets TensorFlow up for this user: finds or installs it, fetches tfjs-node-gpu's files, compiles the binding, tests the
 * whole. Everything goes into one folder (store.ts). Each step looks whether it is done, so that a second run goes on
 * where the first was stopped.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { readdir, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { cardRefusal, cards } from './card.js';
import { compileAddons, findCompiler } from './compile.js';
import { messageOf, TensorflowError } from './errors.js';
import { type Found, findTensorflow, inEnvironment } from './find.js';
import { type SelfTest, selfTest } from './selfTest.js';
import { home, type Origin, places, readSetup, type SetupRecord, writeWhole } from './store.js';
import { findTfjsNode } from './tfjsNode.js';
import { maven, nodeRefusal, pinned, pinnedTfjsNode } from './versions.js';

export type SetupOptions = {
  /** Which build to install; by default `cuda` where there is a card that it has code for. */
  flavour?: 'cpu' | 'cuda';
  /** A folder with a TensorFlow, or a Python environment that has one, to use instead of installing. */
  path?: string;
  /** Receives a line before each step. */
  say?: (line: string) => void;
};

/** What is downloaded and what it takes on disk, in bytes. The CUDA build's were not measured. */
const sizes: Record<Exclude<Origin, 'yours'>, { download: number; disk: number; measured: boolean }> = {
  cpu: { download: 0.28e9, disk: 1.4e9, measured: true },
  cuda: { download: 3e9, disk: 8e9, measured: false },
  maven: { download: 0.17e9, disk: 1.1e9, measured: true },
};

/** @throws TensorflowError naming the step that failed and what to do; run again, it goes on there */
export async function setupTensorflow({ flavour, path, say = () => {} }: SetupOptions = {}): Promise<SetupRecord> {
  const old = nodeRefusal();
  if (old) throw new TensorflowError(`${old}.`);
  if (process.platform === 'win32')
    throw new TensorflowError('TensorFlow has no CUDA build for Windows. Install WSL (`wsl --install`) and run this in it.');
  const compiler = findCompiler();
  if ('why' in compiler) throw new TensorflowError(`${compiler.why}.`);
  const kind = chooseFlavour(flavour, say);

  const stored = readSetup();
  const { record, unfinished } = places();
  try {
    mkdirSync(home(), { recursive: true });
    writeWhole(unfinished, JSON.stringify({ started: new Date().toISOString(), flavour: kind }));
    const { found, origin } = await provide(kind, path, stored, say);
    const tfjsNode = await prepareBinding(say);
    say('Testing: a product and a gradient against known values, and the speed');
    const test = await testApart({ path: found.folder, cpuOnly: kind === 'cpu' });
    if (kind === 'cuda' && !test.gpu) throw new TensorflowError('the self-test ran on the CPU: TensorFlow found no card that it can use');
    const made: SetupRecord = {
      format: 1,
      origin,
      tensorflow: found.folder,
      version: test.version,
      ...(found.cuda !== undefined && { cuda: found.cuda }),
      tfjsNode,
      device: test.device,
      gflops: test.gflops,
    };
    writeWhole(record, `${JSON.stringify(made, null, 2)}\n`);
    rmSync(unfinished, { force: true });
    return made;
  } catch (error) {
    throw explain(error);
  }
}

/**
 * Fetches tfjs-node-gpu's files and compiles the two addons; needs no TensorFlow. The folder can then be carried to a machine of the
 * same kind without compiler and network, and named there by `PLUMB_TENSORFLOW_HOME`.
 * @returns the folder of tfjs-node-gpu
 */
export async function prepareBinding(say: (line: string) => void = () => {}): Promise<string> {
  mkdirSync(home(), { recursive: true });
  const tfjsNode = findTfjsNode() ?? (await fetchTfjsNode(say));
  say('Compiling the binding (about 15 s, once)');
  const { seconds } = await compileAddons(tfjsNode);
  say(seconds > 0 ? `Compiled in ${seconds.toFixed(0)} s` : 'It is there already');
  return tfjsNode;
}

/** Removes what setup made; a TensorFlow that it only used stays. @returns the folder, or null where there was none */
export function removeSetup(): string | null {
  const folder = home();
  if (!existsSync(folder)) return null;
  rmSync(folder, { recursive: true, force: true });
  return folder;
}

function chooseFlavour(asked: SetupOptions['flavour'], say: (line: string) => void): 'cpu' | 'cuda' {
  const [card] = cards();
  say(
    card
      ? `Card: ${card.name}${card.memory ? `, ${card.memory}` : ''}${card.driver ? `, driver ${card.driver}` : ''}`
      : 'Card: no NVIDIA card or no driver for it',
  );
  const refused = card && cardRefusal(card);
  if (asked === 'cuda') {
    if (process.platform !== 'linux' || process.arch !== 'x64')
      throw new TensorflowError(`There is a CUDA build for Linux on x64 alone, and this is ${process.platform} on ${process.arch}.`);
    if (!card)
      throw new TensorflowError(
        'No NVIDIA card, or no driver for it (`nvidia-smi` shows both). `plumb gpu setup --cpu` sets the CPU build up.',
      );
    if (refused) throw new TensorflowError(`${refused}.`);
    return 'cuda';
  }
  if (asked === 'cpu') return 'cpu';
  if (refused) say(`${refused}; setting the CPU build up`);
  return card && !refused && process.platform === 'linux' && process.arch === 'x64' ? 'cuda' : 'cpu';
}

/** A TensorFlow of this kind: one that was named or is active, the one installed before, or a new one. */
async function provide(
  kind: 'cpu' | 'cuda',
  path: string | undefined,
  stored: SetupRecord | null,
  say: (line: string) => void,
): Promise<{ found: Found; origin: Origin }> {
  const named = path ?? process.env.PLUMB_TENSORFLOW;
  const active = [process.env.VIRTUAL_ENV, process.env.CONDA_PREFIX]
    .map((environment) => environment && inEnvironment(environment))
    .find(Boolean);
  const yours = named ?? active;
  if (yours) {
    const found = findTensorflow({ path: yours });
    if ('why' in found) throw new TensorflowError(`${found.why}.`);
    if (kind === 'cuda' && found.cuda === false) {
      if (named)
        throw new TensorflowError(`The TensorFlow in ${found.folder} is built for the CPU. Name a CUDA build, or leave the path out.`);
      say(`The TensorFlow in ${found.folder} is built for the CPU; leaving it alone`);
    } else {
      say(`Using your TensorFlow${found.version ? ` ${found.version}` : ''} in ${found.folder}`);
      return { found, origin: 'yours' };
    }
  }
  if (stored && stored.origin !== 'yours' && (kind === 'cuda') === (stored.cuda === true)) {
    const found = findTensorflow({ path: stored.tensorflow });
    if (!('why' in found) && (stored.origin === 'maven' || found.version === pinned)) {
      say(`TensorFlow ${stored.version} is installed already in ${found.folder}`);
      return { found, origin: stored.origin };
    }
  }
  const python = findPython();
  if ('why' in python) {
    say(`${python.why}; taking TensorFlow ${maven.tensorflow} from Maven Central instead`);
    return { found: await installJar(kind, say), origin: 'maven' };
  }
  return { found: await installWheel(kind, python.command, say), origin: kind };
}

/** A Python that the wheels exist for and that can make environments. */
export function findPython(): { command: string } | { why: string } {
  const wanted = process.env.PLUMB_PYTHON
    ? [process.env.PLUMB_PYTHON]
    : ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python'];
  let seen = '';
  for (const command of wanted) {
    const asked = spawnSync(command, ['-c', 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])'], { encoding: 'utf8' });
    if (asked.status !== 0) {
      if (/ensurepip|venv/.test(asked.stderr ?? '')) seen ||= `${command} cannot make environments (Debian: apt install python3-venv)`;
      continue;
    }
    const version = asked.stdout.trim();
    if (/^3\.1[0-3]$/.test(version)) return { command };
    seen ||= `${command} is ${version}, and TensorFlow ${pinned} has wheels for 3.10 to 3.13`;
  }
  return { why: seen || 'no Python here' };
}

async function announce(origin: Exclude<Origin, 'yours'>, what: string, say: (line: string) => void): Promise<void> {
  const { download, disk, measured } = sizes[origin];
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  say(`${what}: about ${gigabytes(download)} to download, ${gigabytes(disk)} on disk${measured ? '' : ' (estimated)'}, into ${home()}`);
  const { bavail, bsize } = await statfs(home());
  if (bavail * bsize < disk)
    throw new TensorflowError(
      `${home()} has ${gigabytes(bavail * bsize)} free, and ${gigabytes(disk)} are needed. Make room, or set PLUMB_TENSORFLOW_HOME to a folder on another disk.`,
    );
}

async function installWheel(kind: 'cpu' | 'cuda', python: string, say: (line: string) => void): Promise<Found> {
  const { environment } = places();
  const already = installed(environment, kind);
  if (already) {
    say(`TensorFlow ${pinned} is installed already in ${already.folder}`);
    return already;
  }
  const cpuWheel = process.platform === 'linux' && process.arch === 'x64' ? 'tensorflow-cpu' : 'tensorflow';
  const wanted = kind === 'cuda' ? [`tensorflow[and-cuda]==${pinned}`] : ['--no-deps', `${cpuWheel}==${pinned}`]; // none of its Python code runs
  await announce(kind, `Installing ${wanted.at(-1)} with pip`, say);
  const other = inEnvironment(environment);
  const usable =
    existsSync(environment) && !other && spawnSync(join(environment, 'bin', 'python'), ['-m', 'pip', '--version']).status === 0;
  if (!usable) {
    rmSync(environment, { recursive: true, force: true });
    await run(python, ['-m', 'venv', environment], 'making the Python environment');
  }
  await run(
    join(environment, 'bin', 'python'),
    ['-m', 'pip', 'install', '--disable-pip-version-check', ...wanted],
    'installing TensorFlow',
  );
  const found = installed(environment, kind);
  if (!found) throw new TensorflowError(`pip has installed TensorFlow, but its libraries are not in ${environment}`);
  return found;
}

function installed(environment: string, kind: 'cpu' | 'cuda'): Found | null {
  const folder = inEnvironment(environment);
  const found = folder ? findTensorflow({ path: folder }) : null;
  return found && !('why' in found) && found.version === pinned && (found.cuda === true) === (kind === 'cuda') ? found : null;
}

/** TensorFlow's two libraries out of the jar of its Java bindings: no Python needed. */
async function installJar(kind: 'cpu' | 'cuda', say: (line: string) => void): Promise<Found> {
  const platforms: Record<string, string> = { 'linux-x64': 'linux-x86_64', 'linux-arm64': 'linux-arm64', 'darwin-arm64': 'macosx-arm64' };
  const platform = platforms[`${process.platform}-${process.arch}`];
  if (!platform)
    throw new TensorflowError(
      `There is no TensorFlow on Maven Central for ${process.platform} on ${process.arch}. Install Python 3.10 to 3.13.`,
    );
  if (kind === 'cuda')
    throw new TensorflowError("The CUDA build needs Python 3.10 to 3.13, whose packages bring CUDA's libraries. Install it, or use --cpu.");
  const name = `tensorflow-core-native-${maven.version}-${platform}.jar`;
  const folder = join(places().jar, platform);
  const done = existsSync(folder) ? findTensorflow({ path: folder }) : null;
  if (done && !('why' in done)) return done;
  await announce('maven', `Fetching ${name}`, say);
  mkdirSync(folder, { recursive: true });
  const jar = join(places().jar, name);
  const from = process.env.PLUMB_MAVEN ?? 'https://repo1.maven.org/maven2';
  if (!existsSync(jar)) await download(`${from}/org/tensorflow/tensorflow-core-native/${maven.version}/${name}`, jar, say);
  const { unzip, zipEntries } = await import('./zip.js');
  for (const entry of await zipEntries(jar)) {
    const file = basename(entry.name);
    if (!/^libtensorflow_(cc|framework)\.(so\.2|2\.dylib)$/.test(file)) continue;
    say(`Unpacking ${file}`);
    await unzip(jar, entry, join(folder, `${file}.part`));
    renameSync(join(folder, `${file}.part`), join(folder, file));
  }
  rmSync(jar);
  const found = findTensorflow({ path: folder });
  if ('why' in found) throw new TensorflowError(`${found.why}.`);
  return { ...found, version: maven.tensorflow, cuda: false };
}

/** Goes on where an interrupted download stopped. */
async function download(url: string, target: string, say: (line: string) => void): Promise<void> {
  const part = `${target}.part`;
  const have = existsSync(part) ? statSync(part).size : 0;
  const answer = await fetch(url, have > 0 ? { headers: { range: `bytes=${have}-` } } : {}).catch((error: unknown) => {
    throw new TensorflowError(`${url} cannot be reached: ${messageOf(error)}. PLUMB_MAVEN names another Maven repository.`);
  });
  if (!answer.ok || !answer.body) throw new TensorflowError(`${url} answers ${answer.status} ${answer.statusText}.`);
  const resumed = answer.status === 206;
  const total = Number(answer.headers.get('content-length') ?? 0) + (resumed ? have : 0);
  let done = resumed ? have : 0;
  let next = Date.now() + 5000;
  const body = Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]);
  body.on('data', (chunk: Buffer) => {
    done += chunk.length;
    if (Date.now() < next) return;
    next = Date.now() + 5000;
    say(`${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`);
  });
  await pipeline(body, createWriteStream(part, { flags: resumed ? 'a' : 'w' }));
  renameSync(part, target);
}

/** The JavaScript and the binding's sources, from the npm registry, without the install script that would fail. */
async function fetchTfjsNode(say: (line: string) => void): Promise<string> {
  const { tfjsNode } = places();
  say(`Fetching @tensorflow/tfjs-node-gpu ${pinnedTfjsNode} (0.2 MB, without its install script)`);
  rmSync(tfjsNode, { recursive: true, force: true });
  mkdirSync(tfjsNode, { recursive: true });
  await run(
    'npm',
    ['pack', `@tensorflow/tfjs-node-gpu@${pinnedTfjsNode}`, '--silent', '--pack-destination', tfjsNode],
    'fetching @tensorflow/tfjs-node-gpu',
    true,
  );
  const archive = (await readdir(tfjsNode)).find((name) => name.endsWith('.tgz'));
  if (!archive) throw new TensorflowError('npm pack left no archive of @tensorflow/tfjs-node-gpu');
  await run('tar', ['-xzf', join(tfjsNode, archive), '-C', tfjsNode], 'unpacking @tensorflow/tfjs-node-gpu');
  rmSync(join(tfjsNode, archive));
  return join(tfjsNode, 'package');
}

/** In a process of its own: its TensorFlow must not stay in this one, and a crash is an answer too. */
async function testApart(options: { path: string; cpuOnly: boolean }): Promise<SelfTest> {
  const script = join(dirname(fileURLToPath(import.meta.url)), 'selfTestProcess.js');
  if (!existsSync(script)) return selfTest(options); // from the sources, in our own tests
  const { code, signal, out, err } = await collect(process.execPath, [script, JSON.stringify(options)]);
  if (code === 0) return JSON.parse(out.trim().split('\n').at(-1)!) as SelfTest;
  throw new TensorflowError(
    `The self-test ${signal ? `was ended by ${signal}` : 'failed'}: ${err.trim().split('\n').at(-1) || 'no message'}`,
  );
}

type Outcome = { code: number | null; signal: string | null; out: string; err: string };

/** `shown`: where the child's two streams go besides being kept. */
function collect(command: string, args: string[], shown: 'nothing' | 'all' = 'nothing'): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', shown === 'all' ? 2 : 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout?.on('data', (data: Buffer) => {
      out += data.toString();
    });
    child.stderr!.on('data', (data: Buffer) => {
      err += data.toString();
      if (shown === 'all') process.stderr.write(data);
    });
    child.on('error', (error) => resolve({ code: -1, signal: null, out, err: messageOf(error) }));
    child.on('close', (code, signal) => resolve({ code, signal, out, err }));
  });
}

async function run(command: string, args: string[], what: string, quiet = false): Promise<void> {
  const { code, signal, err } = await collect(command, args, quiet ? 'nothing' : 'all');
  if (code === 0) return;
  if (/ENOENT/.test(err) && code === -1) throw new TensorflowError(`${what}: ${command} is not installed`);
  const lines = err.trim().split('\n');
  const line = lines.find((text) => /No space left/i.test(text)) ?? lines.filter((text) => /error/i.test(text)).at(-1) ?? lines.at(-1);
  throw new TensorflowError(`${what}: ${signal ? `stopped by ${signal}` : line || `${command} exits with ${code}`}`);
}

/** What went wrong, said so that its reader knows what to do. */
export function explain(error: unknown): TensorflowError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || /No space left/i.test(messageOf(error)))
    return new TensorflowError(
      `The disk of ${home()} is full. Make room and run \`plumb gpu setup\` again, it goes on where it stopped; or set PLUMB_TENSORFLOW_HOME to a folder on another disk.`,
    );
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM' || code === 'ENOTDIR')
    return new TensorflowError(`${home()} cannot be written to. Set PLUMB_TENSORFLOW_HOME to a folder that can.`);
  return error instanceof TensorflowError ? error : new TensorflowError(messageOf(error));
}
