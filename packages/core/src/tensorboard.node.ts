/** TensorBoard event files: TFRecords that hold protocol-buffer events, written by hand, since nothing else of TensorFlow is needed for them. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

export type EventFile = { readonly path: string; scalars(step: number, values: Readonly<Record<string, number>>): void; close(): void };

/**
 * A new event file in `folder`. TensorBoard drops what earlier files of the folder say of steps from `firstStep` on, as it should after a resume.
 * Values that are not finite are written as they are.
 */
export function openEventFile(folder: string, firstStep = 0, now: () => number = Date.now): EventFile {
  const seconds = Math.floor(now() / 1000);
  const path = join(folder, `events.out.tfevents.${String(seconds).padStart(10, '0')}.${hostname()}.${process.pid}.${opened++}`);
  const file = openSync(path, 'ax');
  const write = (event: Uint8Array) => void writeSync(file, record(event));
  write(message(doubleField(1, now() / 1000), bytesField(3, utf8('brain.Event:2'))));
  const sessionStart = message(varintField(1, 1));
  write(message(doubleField(1, now() / 1000), varintField(2, firstStep), bytesField(7, sessionStart)));
  return {
    path,
    scalars(step, values) {
      const summary = message(
        ...Object.entries(values).map(([tag, value]) => bytesField(1, message(bytesField(1, utf8(tag)), floatField(2, value)))),
      );
      write(message(doubleField(1, now() / 1000), varintField(2, step), bytesField(5, summary)));
    },
    close: () => closeSync(file),
  };
}
let opened = 0;

/** Length, its masked CRC-32C, the bytes, and theirs. */
function record(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length + 16);
  const view = new DataView(out.buffer);
  view.setUint32(0, bytes.length, true); // the upper half of the 64-bit length stays 0
  view.setUint32(8, maskedCrc32c(out.subarray(0, 8)), true);
  out.set(bytes, 12);
  view.setUint32(12 + bytes.length, maskedCrc32c(bytes), true);
  return out;
}

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c >>> 0;
});

/** CRC-32C (Castagnoli), reflected, as in RFC 3720. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = table[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Turned by 15 bits and shifted, since the checksum of a string that holds checksums is a poor one. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const utf8 = (text: string) => new TextEncoder().encode(text);
const message = (...fields: Uint8Array[]): Uint8Array => Buffer.concat(fields);
const key = (field: number, wire: number) => varint(field * 8 + wire);
const varintField = (field: number, value: number) => message(key(field, 0), varint(value));
const bytesField = (field: number, value: Uint8Array) => message(key(field, 2), varint(value.length), value);
function doubleField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return message(key(field, 1), bytes);
}
function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return message(key(field, 5), bytes);
}
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}
