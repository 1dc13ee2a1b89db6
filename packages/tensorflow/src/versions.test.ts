import { describe, expect, it } from 'vitest';
import { usableCard, whyUnused } from './backend.js';
import { cardRefusal, missingLibraries, oneVisible, parseCards } from './card.js';
import { refuseWrongShape } from './faults.js';
import { environmentFor } from './open.js';
import { convolutionKills, nodeRefusal, nodeRemark, refusalOf, remarkOn, roundsIntegersToZero } from './versions.js';

describe('versions of TensorFlow', () => {
  it('that were tested need no remark, others are called untested', () => {
    expect(remarkOn('2.21.0')).toBe('');
    expect(remarkOn('2.16.2')).toBe('');
    expect(remarkOn('2.20.0')).toMatch(/^TensorFlow 2\.20\.0 is untested/);
    expect(remarkOn('2.18.1')).toContain('transposed convolution');
  });
  it('before 2.10 are refused', () => {
    expect(refusalOf('2.9.3')).toContain('too old');
    expect(refusalOf('2.10.1')).toBeNull();
  });
  it('2.17 to 2.21 round whole numbers to zero', () => {
    expect(['2.16.2', '2.17.0', '2.18.1', '2.21.0', '2.22.0', '2.23.0'].map(roundsIntegersToZero)).toEqual([
      false,
      true,
      true,
      true,
      false,
      false,
    ]);
  });
  it('2.18 alone dies of a convolution, which is refused by its shapes', () => {
    expect(['2.16.2', '2.18.1', '2.21.0'].map(convolutionKills)).toEqual([false, true, false]);
    const call = (dy: number[]): Parameters<typeof refuseWrongShape>[0] => ({
      inputs: { dy: { dataId: {}, shape: dy, dtype: 'float32' }, filter: { dataId: {}, shape: [8, 8, 8, 8], dtype: 'float32' } },
      attrs: { strides: 1, pad: 'same', dataFormat: 'NHWC', inputShape: [1, 4, 4, 8] },
    });
    expect(() => refuseWrongShape(call([1, 8, 8, 8]))).toThrow('gives [1,4,4,8], not [1,8,8,8]');
    expect(() => refuseWrongShape(call([1, 4, 4, 8]))).not.toThrow();
  });
});

describe('versions of Node', () => {
  it('before 20.19 are refused, after the newest tried remarked on', () => {
    expect(nodeRefusal('18.20.4')).toContain('too old');
    expect(nodeRefusal('20.18.0')).toContain('20.19 or newer');
    expect(nodeRefusal('20.19.0')).toBeNull();
    expect(nodeRemark('24.1.0')).toBe('');
    expect(nodeRemark('26.0.0')).toContain('newer than the newest tried');
  });
});

describe('cards', () => {
  it('are read from nvidia-smi', () => {
    expect(parseCards('NVIDIA H100 80GB HBM3, 9.0, 81559 MiB, 570.86.15\nQuadro, [N/A], 8 GiB, 570.86.15\n')).toEqual([
      { name: 'NVIDIA H100 80GB HBM3', capability: 9, memory: '81559 MiB', driver: '570.86.15' },
      { name: 'Quadro', memory: '8 GiB', driver: '570.86.15' },
    ]);
  });
  it('that stock builds have no code for are named, with the way on', () => {
    expect(cardRefusal({ name: 'H100', capability: 9 })).toBeNull();
    expect(cardRefusal({ name: 'RTX 5090', capability: 12 })).toMatch(/no code for the RTX 5090 .*Blackwell.*webgpu/);
    expect(cardRefusal({ name: 'Tesla K80', capability: 3.7 })).toContain('6.0 to 9.0');
    expect(cardRefusal({ name: 'unknown' })).toBeNull();
  });
  it('are seen one at a time, the one that the user chose', () => {
    expect(oneVisible({})).toBe('0');
    expect(oneVisible({ CUDA_VISIBLE_DEVICES: '2,3' })).toBe('2');
    expect(oneVisible({ CUDA_VISIBLE_DEVICES: '-1' })).toBe('-1');
  });
});

describe('a card that is present but unused', () => {
  const h100 = { name: 'H100', capability: 9 };
  it('is used by a CUDA build, and by one of which nobody knows', () => {
    expect(usableCard({ cuda: true }, [h100], '0')).toEqual({ card: h100 });
    expect(usableCard({}, [h100], 'GPU-8f1c')).toEqual({ card: h100 });
  });
  it('is no card at all where the user hides it, or where it is another one', () => {
    expect(usableCard({ cuda: true }, [h100], '-1')).toEqual({ card: null });
    expect(usableCard({ cuda: true }, [h100], '1')).toEqual({ card: null });
    expect(usableCard({ cuda: true }, [], '0')).toEqual({ card: null });
  });
  it('says so: a CPU build, a card without code', () => {
    expect(usableCard({ cuda: false }, [h100], '0').why).toMatch(/^GPU present but unused: .*built for the CPU; `plumb gpu setup --cuda`/);
    expect(usableCard({ cuda: true }, [{ name: 'B200', capability: 10 }], '0').why).toMatch(/^GPU present but unused: .*B200.*webgpu/);
  });
  it('names the libraries that neither the wheels nor the system have', () => {
    const found = { folder: '/nowhere/tensorflow', framework: '', cc: '', from: 'option' } as const;
    const missing = missingLibraries(found, {
      tryOpen: (name) => (name.includes('cudnn') ? `${name}: cannot open shared object file` : null),
    });
    expect(missing).toEqual(['libcudnn.so.9']);
    expect(whyUnused('H100', '2.21.0', missing, '')).toContain('TensorFlow cannot open libcudnn.so.9 for the H100');
  });
  it('passes on what TensorFlow said, where no library is missing', () => {
    const said = 'I0000 port.cc:153] oneDNN on\nE0000 00:00:1 77 cuda_platform.cc:51] failed call to cuInit: CUDA_ERROR_NO_DEVICE\n';
    expect(whyUnused('H100', '2.21.0', [], said)).toMatch(/does not take the H100\. It says: failed call to cuInit: CUDA_ERROR_NO_DEVICE$/);
    expect(whyUnused('H100', '2.21.0', [], '')).toContain('TF_CPP_MIN_LOG_LEVEL=0');
  });
});

describe('what TensorFlow is told before it is opened', () => {
  it('is to let memory grow, to compute in float32, to be quiet, and to see one card', () => {
    expect(environmentFor({}, {})).toEqual({
      TF_FORCE_GPU_ALLOW_GROWTH: 'true',
      TF_CPP_MIN_LOG_LEVEL: '2',
      CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
      NVIDIA_TF32_OVERRIDE: '0',
      CUDA_VISIBLE_DEVICES: '0',
    });
  });
  it('leaves alone what the user has set, and follows the options', () => {
    expect(environmentFor({ tf32: true, threads: 3 }, { TF_CPP_MIN_LOG_LEVEL: '0', OMP_NUM_THREADS: '1' })).toEqual({
      TF_FORCE_GPU_ALLOW_GROWTH: 'true',
      CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
      TF_NUM_INTRAOP_THREADS: '3',
      CUDA_VISIBLE_DEVICES: '0',
    });
    expect(environmentFor({}, { PLUMB_TF32: '1' })).not.toHaveProperty('NVIDIA_TF32_OVERRIDE');
    expect(environmentFor({ cpuOnly: true }, {}).CUDA_VISIBLE_DEVICES).toBe('-1');
  });
});
