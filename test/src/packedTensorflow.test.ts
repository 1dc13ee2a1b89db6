/** @plumbline/tensorflow as any user of tfjs would take it: the tarball, tfjs-core, and nothing else of ours. */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { installPacked } from './install.js';

const full = Boolean(process.env.PLUMB_FULL);

it.skipIf(!full)(
  `@plumbline/tensorflow alone starts its backend on import, or says how to get one${full ? '' : ' (not run: PLUMB_FULL=1 packs it)'}`,
  () => {
    const { project } = installPacked(['tensorflow']);
    expect(existsSync(join(project, 'node_modules/@plumbline/tensorflow/src/cc/opener.c'))).toBe(true);
    writeFileSync(
      join(project, 'example.mjs'),
      `import * as tf from '@tensorflow/tfjs-core';
import { tensorflowAvailable } from '@plumbline/tensorflow/api';
const available = tensorflowAvailable();
console.log(JSON.stringify(available));
await import('@plumbline/tensorflow');
console.log(tf.getBackend(), (await tf.matMul(tf.ones([2, 3]), tf.ones([3, 2])).data()).join());`,
    );
    const start = (env: Record<string, string>) =>
      spawnSync(process.execPath, ['example.mjs'], { cwd: project, encoding: 'utf8', env: { ...process.env, ...env } });
    const without = start({ PLUMB_TENSORFLOW_HOME: join(project, 'nothing'), PLUMB_TENSORFLOW: '', VIRTUAL_ENV: '', CONDA_PREFIX: '' });
    expect(without.stderr).toContain('TensorflowError: no TensorFlow found (optional); `plumb gpu setup` installs one');
    const here = start({});
    if ((JSON.parse(here.stdout.split('\n')[0]!) as { ok: boolean }).ok) expect(here.stdout.split('\n')[1]).toBe('tensorflow 3,3,3,3');
    else expect(here.stderr).toContain('TensorflowError');
  },
);
