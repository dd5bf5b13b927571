// How an update writes its weights. A mirror of linklearner/domain/encodings.py.

import { frexp, roundHalfAway } from "./fixedpoint";

export const MIN_SHIFT = -8;

export interface Encoding {
  code: number;
  maxShift: number;
  submitGas: number;
  pageBytes(length: number): number;
  /** The page's bytes; values are those of `digits`. */
  pack(values: Int8Array): Uint8Array;
  /** The shift that suits one tensor's deltas, in steps of the weight, given in the order of the flat vector. */
  shift(parts: readonly Float64Array[]): number;
  /** d of a delta that is already divided by 2**shift. */
  digit(scaled: number): number;
}

export const TWO_BITS: Encoding = {
  code: 2,
  maxShift: 13,
  submitGas: 0.1,
  pageBytes: (length) => Math.ceil(length / 4),
  pack(values) {
    const bytes = new Uint8Array(Math.ceil(values.length / 4));
    for (let i = 0; i < values.length; i++) bytes[i >> 2] |= ((values[i] + 3) >> 1) << (2 * (i & 3));
    return bytes;
  },
  shift(parts) {
    // 4 * 2**(2s-1) <= mean square < 4 * 2**(2s+1); the squares are added one by one, as in every language
    let sum = 0;
    let count = 0;
    for (const part of parts) {
      for (const step of part) sum += step * step;
      count += part.length;
    }
    const meanSquare = sum / count;
    return meanSquare ? Math.floor((frexp(meanSquare)[1] - 2) / 2) : MIN_SHIFT;
  },
  digit: (scaled) => (Math.abs(scaled) >= 2 ? 3 : 1) * (scaled < 0 ? -1 : 1),
};

export const INT8: Encoding = {
  code: 8,
  maxShift: 8,
  submitGas: 0.55,
  pageBytes: (length) => length,
  pack: (values) => new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.length)),
  shift(parts) {
    let largest = 0;
    for (const part of parts) for (const step of part) largest = Math.max(largest, Math.abs(step));
    if (!largest) return MIN_SHIFT;
    const [fraction, exponent] = frexp(largest);
    return exponent - (fraction <= 127 / 128 ? 7 : 6);
  },
  digit: (scaled) => Math.min(127, Math.max(-128, roundHalfAway(scaled))),
};

export const ENCODINGS: readonly Encoding[] = [TWO_BITS, INT8];
