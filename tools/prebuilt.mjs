// The per-platform packages of the compiled addon. `node tools/prebuilt.mjs pack OUT [gnu|musl]` puts what was built here into
// OUT/native-PLATFORM-ARCH[-LIBC]; `node tools/prebuilt.mjs link` names all of them, at this version, as optional dependencies of
// @plumbline/native. Run by .github/workflows/native.yml before a release; in a checkout nothing needs them.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../packages/native/', import.meta.url));
const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
const targets = ['linux-x64-gnu', 'linux-x64-musl', 'linux-arm64-gnu', 'linux-arm64-musl', 'darwin-x64', 'darwin-arm64', 'win32-x64'];
const [command, out, libc = 'gnu'] = process.argv.slice(2);

if (command === 'pack' && out) {
  const build = join(folder, 'build');
  if (!existsSync(join(build, 'plumbline.node'))) throw new Error(`${build}: nothing is built there; run node packages/native/build.mjs`);
  const target = `${process.platform}-${process.arch}${process.platform === 'linux' ? `-${libc}` : ''}`;
  if (!targets.includes(target)) throw new Error(`There is no package for ${target}. There are: ${targets.join(', ')}.`);
  const to = join(out, `native-${target}`);
  mkdirSync(to, { recursive: true });
  for (const file of ['plumbline.node', 'plumbline.json']) copyFileSync(join(build, file), join(to, file));
  writeFileSync(
    join(to, 'package.json'),
    `${JSON.stringify(
      {
        name: `@plumbline/native-${target}`,
        version: manifest.version,
        description: `The kernels of @plumbline/native, compiled for ${target}`,
        license: manifest.license,
        os: [process.platform],
        cpu: [process.arch],
        ...(process.platform === 'linux' && { libc: [libc === 'musl' ? 'musl' : 'glibc'] }),
        files: ['plumbline.node', 'plumbline.json'],
      },
      null,
      2,
    )}\n`,
  );
  writeFileSync(
    join(to, 'README.md'),
    `The kernels of @plumbline/native, compiled for ${target}. Installed with it where it fits; nothing to import.\n`,
  );
  console.log(to);
} else if (command === 'link') {
  manifest.optionalDependencies = Object.fromEntries(targets.map((target) => [`@plumbline/native-${target}`, manifest.version]));
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
} else {
  console.error('usage: node tools/prebuilt.mjs pack OUT [gnu|musl] | link');
  process.exit(2);
}
