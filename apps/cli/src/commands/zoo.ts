/** `plumb zoo`: the small models that ship, and the recipes that remake them. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { ConfigError, onInterrupt } from '@plumbline/core';
import { type BackendFlags, startBackend } from '../backend.js';
import { duration, type Progress, progress } from '../progress.js';
import { wholeNumber } from '../settings.js';
import { recipes } from '../zoo/index.js';

export async function list({ json }: { json?: boolean } = {}): Promise<void> {
  const models = shipped().map((name) => {
    const { size: bytes } = statSync(join(zooFolder(), name, 'model.safetensors'));
    const paragraph = readFileSync(join(zooFolder(), name, 'README.md'), 'utf8').split(/\n\s*\n/)[1] ?? '';
    const about = /^.*?[.!?](?=\s[A-Z]|$)/s.exec(paragraph)?.[0].replaceAll(/\s+/g, ' ') ?? ''; // its first sentence
    return { name: `zoo:${name}`, bytes, about };
  });
  if (json) console.log(JSON.stringify(models, null, 2));
  else for (const { name, bytes, about } of models) console.log(`${name.padEnd(20)} ${(bytes / 1e6).toFixed(1).padStart(4)} MB  ${about}`);
}

/** Prints a model's card as it is in its folder. */
export async function card(name: string): Promise<void> {
  const known = name.replace(/^zoo:/, '');
  if (!shipped().includes(known)) throw new ConfigError(`there is no zoo:${known}; there are ${shipped().join(', ')}`);
  console.log(readFileSync(join(zooFolder(), known, 'README.md'), 'utf8').trimEnd());
}

export async function train(name: string, options: BackendFlags & { seed?: string; out?: string }): Promise<void> {
  const recipe = Object.hasOwn(recipes, name) ? recipes[name] : undefined;
  if (!recipe) throw new ConfigError(`no recipe for "${name}"; there are ${Object.keys(recipes).join(', ')}`);
  const seed = options.seed === undefined ? (recipe.seed ?? 0) : wholeNumber('--seed', options.seed);
  const backend = await startBackend(options);
  const out = resolve(options.out ?? join(zooFolder(), name));
  const signal = onInterrupt();
  let shown: { stage: string; bar: Progress } | undefined;
  const result = await recipe
    .train({
      seed,
      out,
      runDir: resolve(`runs/zoo-${name}-seed${seed}-${backend.name}`),
      signal,
      onProgress: ({ stage, done, total, unit, note }) => {
        if (shown?.stage !== stage) {
          shown?.bar.stop();
          shown = { stage, bar: progress(stage, total, unit) };
        }
        shown.bar.update(done, note);
      },
    })
    .finally(() => shown?.bar.stop()); // a bar that goes on ticking would keep the process alive
  for (const [what, value] of Object.entries(result.measured)) console.log(`${what.padEnd(40)} ${value.toPrecision(4)}`);
  console.log(`${duration(result.seconds)} on ${backend.name}; the model is in ${out}`);
}

const shipped = () => readdirSync(zooFolder()).filter((name) => existsSync(join(zooFolder(), name, 'config.json')));
const zooFolder = () => dirname(createRequire(import.meta.url).resolve('@plumbline/zoo/package.json'));
