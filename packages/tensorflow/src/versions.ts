/** Which versions of TensorFlow and Node this was run with, and what is known to be wrong with some. */

/** What setup installs. */
export const pinned = '2.21.0';
export const pinnedTfjsNode = '4.22.0';
export const maven = { version: '1.1.0', tensorflow: '2.18.0' };

/** Minor versions that passed tfjs-core's suite here (README.md has the table). */
const tried = ['2.10', '2.12', '2.16', '2.18', '2.21', '2.23'];

export const minorOf = (version: string): string => version.split('.').slice(0, 2).join('.');
const numbers = (version: string): [number, number] => version.split('.').slice(0, 2).map(Number) as [number, number];
const before = (a: string, b: string): boolean =>
  numbers(a)[0] < numbers(b)[0] || (numbers(a)[0] === numbers(b)[0] && numbers(a)[1] < numbers(b)[1]);

/** What a reader of `plumb doctor` has to know about a version; empty where it is a tested one. */
export function remarkOn(version: string): string {
  if (minorOf(version) === '2.18')
    return 'TensorFlow 2.18 can kill the process in a transposed convolution of the wrong shape, which is refused here; 2.21 is better';
  return tried.includes(minorOf(version)) ? '' : `TensorFlow ${version} is untested; tested are ${tried.join(', ')}`;
}

/** Why a version cannot be used, or null. */
export function refusalOf(version: string): string | null {
  return before(version, '2.10')
    ? `TensorFlow ${version} is too old: its C++ library is not a file of its own before 2.10; ${pinned} is the tested one`
    : null;
}

/** `round` of int32 gives zeros (tensorflow issues 74789 and 112212). */
export const roundsIntegersToZero = (version: string): boolean => !before(version, '2.17') && before(version, '2.22');
/** A transposed convolution whose shapes do not fit ends the process with SIGILL, where others report an error. */
export const convolutionKills = (version: string): boolean => minorOf(version) === '2.18';

/** The NVIDIA cards that stock builds have code for: compute capability 6.0 to 9.0, Pascal to Hopper. */
export const cardHasCode = (capability: number): boolean => capability >= 6 && capability < 10;

const newestNode = 24;

/** Why this Node cannot be used, or null. */
export function nodeRefusal(version: string = process.versions.node): string | null {
  const [major, minor] = numbers(version);
  return major < 20 || (major === 20 && minor < 19) ? `Node ${version} is too old: 20.19 or newer is needed` : null;
}

/** Empty up to the newest Node that this was run with. */
export function nodeRemark(version: string = process.versions.node): string {
  return numbers(version)[0] > newestNode ? `Node ${version} is newer than the newest tried (${newestNode})` : '';
}
