/** `plumb gpu setup`: TensorFlow for the backend `tensorflow`, found or installed, tested, and forgotten again. */
import { PlumblineError } from '@plumbline/core';
import { removeSetup, setupTensorflow, TensorflowError } from '@plumbline/tensorflow/api';
import pc from 'picocolors';

export type GpuSetupFlags = { cpu?: boolean; cuda?: boolean; remove?: boolean; path?: string };

/** @throws PlumblineError naming the step that failed and the way on */
export async function gpuSetup({ cpu, cuda, remove, path }: GpuSetupFlags): Promise<void> {
  if ([cpu, cuda, remove].filter(Boolean).length > 1) throw new PlumblineError('--cpu, --cuda and --remove exclude each other; give one.');
  if (remove) {
    if (path) throw new PlumblineError('--remove takes no --path: it removes what setup made, and only that.');
    const folder = removeSetup();
    console.log(folder ? `Removed ${folder}` : 'There is nothing to remove.');
    return;
  }
  try {
    const made = await setupTensorflow({
      ...(cpu && { flavour: 'cpu' as const }),
      ...(cuda && { flavour: 'cuda' as const }),
      path,
      say: (line) => console.error(pc.dim(line)),
    });
    console.log(`${pc.green('Ready')}: TensorFlow ${made.version} on ${made.device}, ${made.gflops} GFLOP/s, in ${made.tensorflow}`);
    console.log(
      made.device === 'CPU'
        ? 'Commands take it with --backend tensorflow; by themselves they prefer native on a CPU.'
        : 'Commands take it by themselves; `plumb doctor` shows it.',
    );
  } catch (error) {
    if (error instanceof TensorflowError) throw new PlumblineError(error.message);
    throw error;
  }
}
