import { backendInfo } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { registerNativeBackend } from '/work/main/packages/native/src/index.ts';
import { settings, trainWords } from './zoo/words.js';

if (tf.getBackend() !== 'native') {
  console.log('register', registerNativeBackend());
  tf.setBackend('native');
}
console.log(backendInfo());
let last = '';
const r = await trainWords(
  { ...settings, steps: Number(process.env.N ?? settings.steps) },
  {
    seed: 0,
    out: process.env.OUT!,
    runDir: process.env.RUN!,
    onProgress: (p) => {
      const l = `${p.stage} ${p.done}/${p.total} ${p.note ?? ''}`;
      if (l !== last) console.log(new Date().toISOString().slice(11, 19), l);
      last = l;
    },
  },
);
console.log(JSON.stringify(r, null, 1));
