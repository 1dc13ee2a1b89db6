/** `plumb doctor`: each rung of the backend ladder and why it was taken or not. */
import { backendInfo, describeBackends, initBackend } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import pc from 'picocolors';
import { backendOf } from '../backend.js';

export async function doctor(options: { json?: boolean; backend?: string; threads?: string }): Promise<void> {
  await initBackend(backendOf(options));
  const taken = backendInfo();
  const rungs = await describeBackends(backendOf(options));
  const versions = { node: process.version, platform: `${process.platform}-${process.arch}`, tfjs: tf.version_core };
  if (options.json) {
    console.log(JSON.stringify({ ...versions, backend: taken, rungs }, null, 2));
    return;
  }
  console.log(`Node ${versions.node} on ${versions.platform}, TensorFlow.js ${versions.tfjs}\n`);
  for (const rung of rungs) {
    const mark = rung.name === taken.name ? pc.green('taken  ') : pc.dim('skipped');
    console.log(`  ${rung.name.padEnd(14)} ${mark}  ${rung.why}`);
  }
}
