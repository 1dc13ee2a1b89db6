/**
 * The JavaScript of @tensorflow/tfjs-node-gpu, loaded file by file from wherever it lies, with the modules that it asks for
 * replaced: the umbrella package @tensorflow/tfjs by the tfjs-core of this process (the umbrella would bring a second one),
 * node-pre-gyp and protobuf by nothing, `util` by one that has the two functions that Node 23 dropped. Nothing global changes.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { compileFunction } from 'node:vm';
import * as tf from '@tensorflow/tfjs-core';
import { TensorflowError } from './errors.js';
import type { Binding } from './open.js';
import { places, readSetup } from './store.js';
import { pinnedTfjsNode } from './versions.js';

/** tfjs-node's backend, as far as it is used here. */
export interface TfjsNodeBackend extends tf.KernelBackend {
  readonly binding: Binding;
  readonly isUsingGpuDevice: boolean;
  readonly tensorMap: { get(id: object): { id: number; values: tf.backend_util.BackendValues | null; shape: number[] } };
  getInputTensorIds(inputs: tf.TensorInfo[]): number[];
  createOutputTensor(made: { id: number; shape: number[]; dtype: number }): tf.Tensor;
  executeSingleOutput(
    name: string,
    attributes: { name: string; type: unknown; value: unknown }[],
    inputs: (tf.Tensor | tf.TensorInfo)[],
  ): tf.Tensor;
}

export type TfjsNode = {
  NodeJSKernelBackend: new (binding: Binding, packageName: string) => TfjsNodeBackend;
  createTensorsTypeOpAttr(name: string, type: tf.DataType): { name: string; type: unknown; value: unknown };
};

const require = createRequire(import.meta.url);

/** The user's own copy where there is one, else the one that setup fetched; null where there is neither. */
export function findTfjsNode(from: string = process.cwd()): string | null {
  const stored = readSetup()?.tfjsNode;
  const candidates = [tryResolve(createRequire(join(from, 'noop.js'))), tryResolve(require), stored, join(places().tfjsNode, 'package')];
  return candidates.find((folder) => folder && usable(folder)) ?? null;
}

function tryResolve(from: NodeJS.Require): string | null {
  try {
    return dirname(from.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  } catch {
    return null;
  }
}

function usable(folder: string): boolean {
  try {
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
    return version === pinnedTfjsNode && existsSync(join(folder, 'dist', 'register_all_kernels.js')) && existsSync(join(folder, 'binding'));
  } catch {
    return false;
  }
}

/** What is mended in the text of its files, by file name. A pattern that is not found is an error: the files are pinned. */
const mends: Record<string, [RegExp, string][]> = {
  // Compiled to ES5, it calls its base class as a function, which classes of ES2017 refuse.
  'nodejs_kernel_backend.js': [[/_super\.call\(this\) \|\| this/, 'Reflect.construct(_super, [], new.target)']],
  // Chained ops exist only where somebody has registered them; Exp frees the tensor of its caller.
  'Exp.js': [
    [/x\.toFloat\(\)/, "(0, tfjs_1.cast)(x, 'float32')"],
    [/x\.dispose\(\);/, ''],
    [/return (backend\.executeSingleInput\(tfjs_1\.Exp, xTensor\));/, 'var y = $1; if (xTensor !== x) xTensor.dispose(); return y;'],
  ],
  'ArgMax.js': [[/x\.toInt\(\)/, "(0, tfjs_1.cast)(x, 'int32')"]],
  'ArgMin.js': [[/x\.toInt\(\)/, "(0, tfjs_1.cast)(x, 'int32')"]],
  'Prelu.js': [
    [/alpha\.mul\(x\.sub\(\(0, tfjs_1\.abs\)\(x\)\)\)\.mul\(0\.5\)/, 'tfjs_1.mul(tfjs_1.mul(alpha, tfjs_1.sub(x, tfjs_1.abs(x))), 0.5)'],
    [/pos\.add\(neg\)/, 'tfjs_1.add(pos, neg)'],
  ],
  // It reads the indices back to check them. The check stays where they are still here; elsewhere TensorFlow's own has to do.
  'GatherV2.js': [[/backend\.readSync\(indices\.dataId\)/, 'backend.tensorMap.get(indices.dataId).values || []']],
};

/** Registers its kernels with tfjs under `tensorflow`. */
export function loadTfjsNode(folder: string): TfjsNode {
  const loaded = new Map<string, { exports: unknown }>();
  const util = require('node:util') as Record<string, unknown>;
  const replaced: Record<string, unknown> = {
    '@tensorflow/tfjs': tf,
    '@tensorflow/tfjs-core': tf,
    os: require('node:os'),
    util: { ...util, isNullOrUndefined: (x: unknown) => x === null || x === undefined, isArray: Array.isArray },
  };
  const load = (file: string): unknown => {
    const known = loaded.get(file);
    if (known) return known.exports;
    const module = { exports: {} as unknown };
    loaded.set(file, module);
    if (file.endsWith('api_pb.js')) return module.exports; // messages of TensorBoard
    let text = readFileSync(file, 'utf8');
    for (const [pattern, mended] of mends[file.slice(dirname(file).length + 1)] ?? []) {
      if (!pattern.test(text))
        throw new TensorflowError(`${file} is not that of @tensorflow/tfjs-node-gpu ${pinnedTfjsNode}: ${pattern} is not in it.`);
      text = text.replace(pattern, mended);
    }
    const inner = (name: string): unknown => {
      if (name in replaced) return replaced[name];
      if (!name.startsWith('.')) throw new TensorflowError(`${file} asks for ${name}, which is not expected of it.`);
      const path = resolve(dirname(file), name);
      return load(path.endsWith('.js') ? path : `${path}.js`);
    };
    const body = compileFunction(text, ['exports', 'require', 'module', '__filename', '__dirname'], { filename: file });
    body(module.exports, inner, module, file, dirname(file));
    return module.exports;
  };
  const dist = join(folder, 'dist');
  load(join(dist, 'register_all_kernels.js'));
  return load(join(dist, 'nodejs_kernel_backend.js')) as TfjsNode;
}
