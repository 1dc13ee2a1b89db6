// Vulkan on the CPU, out of a package that ships it for headless Chromium: Dawn, tfjs's WebGPU backend and our shaders run for real.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

/** Whether the package has it for this machine. */
export const hasSwiftShader = process.platform === 'linux' && process.arch === 'x64';

/**
 * Unpacks it into `folder`. Node has to be started with what this returns in its environment.
 *
 * @param {string} folder   an existing folder
 * @param {string | URL} from   a file of the package that depends on `@sparticuz/chromium`
 * @returns {{ LD_LIBRARY_PATH: string, VK_ICD_FILENAMES: string }}
 */
export function swiftShader(folder, from) {
  // The package's exports hide its files: from its entry, up to the folder that holds bin/.
  let at = dirname(createRequire(from).resolve('@sparticuz/chromium'));
  while (!readdirSync(at).includes('bin')) at = dirname(at);
  const archive = join(folder, 'swiftshader.tar');
  writeFileSync(archive, brotliDecompressSync(readFileSync(join(at, 'bin', 'swiftshader.tar.br'))));
  spawnSync('tar', ['xf', archive, '-C', folder]);
  return { LD_LIBRARY_PATH: folder, VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json') };
}
