import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { FormatError, type Products } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, type DecoderWeights, type LocalDecoder, whenRead } from '../decoder/decoder.js';
import type { Storage } from '../decoder/frozen.js';
import { readyToRelease, release } from '../decoder/release.js';
import { dequantise } from '../gguf/dequantise.js';
import { architectureOf, asParameter, parameterName, shapeAsParameter, specFromGguf } from '../gguf/model.js';
import { type Gguf, HeaderTooShort, parseGguf } from '../gguf/parse.js';
import { tokenizerFromGguf } from '../gguf/tokenizer.js';
import type { LocalTokenizer } from '../tokenizers/tokenizer.js';

/** A decoder from a GGUF file: configuration and tokenizer from its metadata, weights unpacked to float32, one tensor at a time. */
export async function loadGguf(
  path: string,
  options: { tokenizer?: Tokenizer; gradientCheckpointing?: boolean; storage?: Storage; products?: Products } = {},
): Promise<LocalDecoder> {
  const file = openGguf(path);
  try {
    const name = basename(path, '.gguf');
    const architecture = architectureOf(file.header.metadata, path);
    const scaled = file.header.tensors.some((tensor) => tensor.name === ropeFactors);
    const spec = specFromGguf(file.header, path, scaled ? file.read(ropeFactors) : undefined);
    const weights: DecoderWeights = {};
    for (const tensor of file.header.tensors) {
      if (tensor.name === ropeFactors) continue;
      const parameter = parameterName(tensor.name, architecture);
      const unpacked = () => {
        const read = file.read(tensor.name);
        const made = asParameter(parameter, tensor.shape, read, spec);
        if (made.data !== read) release([read]);
        return made;
      };
      // What is to be packed again is unpacked when its turn comes, so that there is never more than one matrix in float32.
      weights[parameter] = options.storage
        ? whenRead(shapeAsParameter(parameter, tensor.shape, spec), () => unpacked().data, true)
        : unpacked();
    }
    if (options.storage) await readyToRelease();
    return createDecoder(spec, { ...options, name, tokenizer: options.tokenizer ?? tokenizerFromGguf(file.header, name), weights });
  } finally {
    file.close();
  }
}

const ropeFactors = 'rope_freqs.weight';

/** The tokenizer of a GGUF file. */
export function tokenizerOfGguf(path: string): LocalTokenizer {
  const file = openGguf(path);
  file.close();
  return tokenizerFromGguf(file.header, basename(path, '.gguf'));
}

export type GgufFile = { header: Gguf; read(tensor: string): Float32Array; close(): void };

/** Opens a GGUF file; tensors are read and unpacked when asked for. The caller closes it. @throws FormatError where it is damaged */
export function openGguf(path: string): GgufFile {
  const size = statSync(path).size;
  const file = openSync(path, 'r');
  try {
    const header = readHeader(file, size, path);
    return {
      header,
      read(name) {
        const tensor = header.tensors.find((t) => t.name === name);
        if (!tensor) throw new FormatError(`${path}: there is no tensor "${name}" among ${header.tensors.length}`);
        const bytes = readBytes(file, tensor.offset, tensor.bytes, path);
        const values = dequantise(
          tensor.type,
          bytes,
          tensor.shape.reduce((a, b) => a * b, 1),
        );
        release([bytes]);
        return values;
      },
      close: () => closeSync(file),
    };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

function readHeader(file: number, size: number, path: string): Gguf {
  for (let length = 2 ** 22; ; length *= 4) {
    try {
      return parseGguf(readBytes(file, 0, Math.min(length, size), path), size, path);
    } catch (error) {
      if (!(error instanceof HeaderTooShort)) throw error;
    }
  }
}

function readBytes(file: number, at: number, length: number, path: string): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const n = readSync(file, bytes, done, Math.min(length - done, 2 ** 30), at + done);
    if (n === 0) throw new FormatError(`${path}: ends at byte ${at + done}, ${length - done} bytes short`);
    done += n;
  }
  return bytes;
}
