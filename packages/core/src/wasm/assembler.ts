/**
 * A WebAssembly assembler of the few instructions that our kernels use. They are written here, and not compiled from C, so that
 * nothing but this repository is needed to build or to check them. Instruction numbers: the core specification, 2.0, section 5.4.
 */

type Local = number;

const i32 = 0x7f;
const v128 = 0x7b;

const unsigned = (n: number): number[] => {
  const bytes: number[] = [];
  do {
    const low = n & 0x7f;
    n >>>= 7;
    bytes.push(n === 0 ? low : low | 0x80);
  } while (n !== 0);
  return bytes;
};
const signed = (n: number): number[] => {
  const bytes: number[] = [];
  for (;;) {
    const low = n & 0x7f;
    n >>= 7;
    if ((n === 0 && !(low & 0x40)) || (n === -1 && low & 0x40)) return [...bytes, low];
    bytes.push(low | 0x80);
  }
};
const vector = (items: number[][]): number[] => [...unsigned(items.length), ...items.flat()];
const section = (id: number, content: number[]): number[] => [id, ...unsigned(content.length), ...content];
const text = (s: string): number[] => [...unsigned(s.length), ...[...s].map((c) => c.charCodeAt(0))];
const floatBytes = (x: number): number[] => [...new Uint8Array(Float32Array.of(x).buffer)];

/** The body of one function, whose parameters are all i32. */
export class Body {
  readonly code: number[] = [];
  private readonly kinds: number[] = [];

  constructor(readonly parameters: number) {}

  local(kind: 'i32' | 'v128'): Local {
    this.kinds.push(kind === 'i32' ? i32 : v128);
    return this.parameters + this.kinds.length - 1;
  }
  emit(...bytes: number[]): this {
    this.code.push(...bytes);
    return this;
  }
  get = (l: Local): this => this.emit(0x20, ...unsigned(l));
  set = (l: Local): this => this.emit(0x21, ...unsigned(l));
  const = (n: number): this => this.emit(0x41, ...signed(n));
  add = (): this => this.emit(0x6a);
  /** local += amount */
  bump = (l: Local, amount: number): this => this.get(l).const(amount).add().set(l);
  simd = (op: number): this => this.emit(0xfd, ...unsigned(op));
  load = (offset = 0): this => this.simd(0x00).emit(2, ...unsigned(offset));
  loadSplat = (offset = 0): this => this.simd(0x09).emit(2, ...unsigned(offset));
  store = (offset = 0): this => this.simd(0x0b).emit(2, ...unsigned(offset));
  /** The same float in all four lanes. */
  splat = (x: number): this => this.simd(0x0c).emit(...floatBytes(x), ...floatBytes(x), ...floatBytes(x), ...floatBytes(x));
  splatInt = (n: number): this => this.emit(0x41, ...signed(n)).simd(0x11);
  call = (f: number): this => this.emit(0x10, ...unsigned(f));
  /** Runs `inside` while the local is not 0; `inside` counts it down. */
  whileCounting(l: Local, inside: () => void): this {
    this.emit(0x02, 0x40, 0x03, 0x40).get(l).emit(0x45, 0x0d, 1);
    inside();
    return this.emit(0x0c, 0, 0x0b, 0x0b);
  }
  ifElse(l: Local, yes: () => void, no: () => void): this {
    this.get(l).emit(0x04, 0x40);
    yes();
    this.emit(0x05);
    no();
    return this.emit(0x0b);
  }
  bytes(): number[] {
    const body = [...vector(this.kinds.map((kind) => [1, kind])), ...this.code, 0x0b];
    return [...unsigned(body.length), ...body];
  }
}

export const f32x4 = { nearest: 0x6a, lt: 0x43, gt: 0x44, add: 0xe4, sub: 0xe5, mul: 0xe6, div: 0xe7, min: 0xe8, max: 0xe9 } as const;
export const i32x4 = { shl: 0xab, shrS: 0xac, add: 0xae, sub: 0xb1, truncF32: 0xf8 } as const;
export const andnot = 0x4f;

/** A module of these functions over a memory that it imports as `env.memory`. */
export function assemble(functions: Record<string, Body>): Uint8Array<ArrayBuffer> {
  const bodies = Object.values(functions);
  const types = bodies.map(({ parameters }) => [0x60, ...vector(Array.from({ length: parameters }, () => [i32])), 0]);
  const names = Object.keys(functions);
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, vector(types)),
    ...section(2, vector([[...text('env'), ...text('memory'), 0x02, 0x00, 0x00]])),
    ...section(3, vector(bodies.map((_, i) => unsigned(i)))),
    ...section(7, vector(names.map((name, i) => [...text(name), 0x00, ...unsigned(i)]))),
    ...section(10, vector(bodies.map((body) => body.bytes()))),
  ]); // biome-ignore format: the header is one line
}
