const sink = ((): MessagePort | undefined => {
  if (typeof MessageChannel === 'undefined') return undefined;
  const { port1, port2 } = new MessageChannel();
  port2.close();
  return port1;
})();

/** A turn of the event loop or two, which the port needs to be closed: until then what is sent waits in it. */
export const readyToRelease = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

/**
 * Gives the memory of arrays back now, and not when they are collected, which may be long after where little else is made: what is sent to a closed
 * port is freed. The arrays, and whatever shares their memory, are empty afterwards.
 */
export function release(arrays: readonly ArrayBufferView[]): void {
  const buffers = new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer).filter((buffer) => buffer.byteLength > 0));
  for (const buffer of buffers) sink?.postMessage(null, [buffer]);
}
