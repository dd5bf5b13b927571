// What names a model: keccak over the digests of its pages. A mirror of linklearner/domain/digest.py.

import { concat } from "./bytes";
import { keccak } from "./keccak";
import type { Shape } from "./shape";

/** bytes: the weights as little-endian int16, (2N,). */
export function modelDigest(bytes: Uint8Array, shape: Shape): Uint8Array {
  const pages = Array.from({ length: shape.pageCount }, (_, page) =>
    keccak(bytes.subarray(2 * shape.pageStart(page), 2 * shape.pageStop(page))),
  );
  return keccak(concat(pages));
}

export function weightsOf(bytes: Uint8Array): Int16Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int16Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true));
}
