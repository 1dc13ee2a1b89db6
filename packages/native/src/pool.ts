/**
 * Memory of tensors, reused: `take` hands out an array whose contents are whatever was there before, `give` takes it back.
 * Sizes are rounded up to four classes per power of two, so that batches of changing length find buffers; what lies idle is
 * bounded. Buffers in use are not held here: a tensor that is dropped without dispose is collected like any array.
 */
export type Numbers = Float32Array | Int32Array;
type Kind = 'float32' | 'int32';

export interface PoolStats {
  /** Bytes that lie ready for reuse. */
  idleBytes: number;
  /** The most that may lie idle; what comes back beyond it is left to the garbage collector. */
  limitBytes: number;
  /** Bytes handed out and not given back. */
  usedBytes: number;
  /** Arrays asked for, and those that were met by reuse. */
  taken: number;
  reused: number;
}

function classBytes(bytes: number): number {
  if (bytes <= 64) return 64;
  const step = 2 ** Math.max(4, 29 - Math.clz32(bytes - 1)); // a quarter of the power of two below
  return bytes > 2 ** 31 ? bytes : Math.ceil(bytes / step) * step;
}

/** From this size on, new memory is worth larger pages: the processor looks up fewer of them where rows lie far apart. */
const hugeFrom = 2 ** 22;

export class BufferPool {
  private readonly free = { float32: new Map<number, Float32Array[]>(), int32: new Map<number, Int32Array[]>() };
  private idleBytes = 0;
  private usedBytes = 0;
  private taken = 0;
  private reused = 0;

  /** @param advise asks the system for large pages for memory that nobody has touched yet */
  constructor(
    private limitBytes: number,
    private readonly advise: (untouched: Uint8Array) => void = () => undefined,
  ) {}

  take(kind: 'float32', length: number): Float32Array;
  take(kind: 'int32', length: number): Int32Array;
  take(kind: Kind, length: number): Numbers {
    const size = classBytes(length * 4);
    const found = this.free[kind].get(size)?.pop();
    this.taken++;
    this.usedBytes += size;
    if (found) {
      this.reused++;
      this.idleBytes -= size;
      if (found.length === length) return found;
      return kind === 'float32' ? new Float32Array(found.buffer, 0, length) : new Int32Array(found.buffer, 0, length);
    }
    const buffer = new ArrayBuffer(size);
    if (size >= hugeFrom) this.advise(new Uint8Array(buffer));
    return kind === 'float32' ? new Float32Array(buffer, 0, length) : new Int32Array(buffer, 0, length);
  }

  give(array: Numbers): void {
    const size = array.buffer.byteLength;
    this.usedBytes -= size;
    if (this.idleBytes + size > this.limitBytes) return;
    const lists = (array instanceof Float32Array ? this.free.float32 : this.free.int32) as Map<number, Numbers[]>;
    const list = lists.get(size);
    if (list) list.push(array);
    else lists.set(size, [array]);
    this.idleBytes += size;
  }

  stats(): PoolStats {
    return { idleBytes: this.idleBytes, limitBytes: this.limitBytes, usedBytes: this.usedBytes, taken: this.taken, reused: this.reused };
  }

  /** Sets the bound; lets go of everything idle if it is exceeded. */
  limit(bytes: number): void {
    this.limitBytes = bytes;
    if (this.idleBytes > bytes) this.clear();
  }

  clear(): void {
    this.free.float32.clear();
    this.free.int32.clear();
    this.idleBytes = 0;
  }
}
