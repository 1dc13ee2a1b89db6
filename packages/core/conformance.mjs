// tfjs-core's own test suite on tfjs's other backends, with what core mends there: `node conformance.mjs --backend wasm|webgpu
// [--grep WORDS]`. WebGPU runs on SwiftShader where there is no GPU. What is known to fail there is in conformance-known.json, listed and counted apart.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
// @boundaries-ignore the workspace's own tools
import { argument, conformance } from '../../tools/conformance.mjs';
// @boundaries-ignore the workspace's own tools
import { hasSwiftShader, swiftShader } from '../../tools/swiftshader.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const backend = argument('backend', 'wasm');
if (backend !== 'wasm' && backend !== 'webgpu') {
  console.error(`There is no backend "${backend}" here. Valid: wasm, webgpu.`);
  process.exit(2);
}

if (backend === 'webgpu' && !process.env.VK_ICD_FILENAMES && hasSwiftShader && !existsSync('/dev/dri')) {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-swiftshader-'));
  const child = spawnSync(process.execPath, process.argv.slice(1), {
    stdio: 'inherit',
    env: { ...process.env, ...swiftShader(folder, import.meta.url) },
  });
  rmSync(folder, { recursive: true, force: true });
  process.exit(child.status ?? 1);
}

const wasmFolder = join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist');
const prepare = {
  wasm: `
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { mendWasm } from '${join(here, 'src/wasm/mend.ts')}';
setWasmPaths('${wasmFolder}/');
mendWasm();
`,
  webgpu: `
const { create, globals } = await import('webgpu');
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]), userAgent: 'node' }, configurable: true });
await import('@tensorflow/tfjs-backend-webgpu');
(await import('${join(here, 'src/mendWebgpu.ts')}')).mendWebgpu();
`,
};
const known = JSON.parse(readFileSync(join(here, 'conformance-known.json'), 'utf8'))[backend];
await conformance({
  here,
  backend,
  packages: ['@tensorflow/tfjs-backend-cpu', `@tensorflow/tfjs-backend-${backend}`],
  prepare: prepare[backend],
  isDataSync: backend !== 'webgpu',
  external: ['webgpu'],
  expected: (name) => known.includes(name),
});
