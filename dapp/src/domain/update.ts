// An update on the wire. A mirror of linklearner/domain/update.py, of what a contributor needs of it.

import { concat } from "./bytes";
import { type Encoding, MIN_SHIFT } from "./encodings";
import { keccak } from "./keccak";
import type { Shape } from "./shape";

export interface Update {
  task: bigint;
  baseVersion: bigint;
  encoding: Encoding;
  /** One a tensor. */
  shifts: number[];
  /** Pages present, ascending: number and d of each weight. */
  pages: [number, Int8Array][];
}

export function headerBytes(shape: Shape): number {
  return 18 + shape.tensors.length + Math.ceil(shape.pageCount / 8);
}

export function header(update: Update, shape: Shape): Uint8Array {
  const bytes = new Uint8Array(headerBytes(shape));
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 1);
  view.setUint8(1, update.encoding.code);
  view.setBigUint64(2, update.task);
  view.setBigUint64(10, update.baseVersion);
  update.shifts.forEach((shift, t) => view.setInt8(18 + t, shift));
  const bitmap = 18 + shape.tensors.length;
  for (const [page] of update.pages) bytes[bitmap + (page >> 3)] |= 1 << (page & 7);
  return bytes;
}

/** The bytes of each settlement group; a group without pages is empty. */
export function groups(update: Update, shape: Shape): Uint8Array[] {
  const parts: Uint8Array[][] = Array.from({ length: shape.groupCount }, () => []);
  for (const [page, values] of update.pages) parts[Math.floor(page / shape.groupPages)].push(update.encoding.pack(values));
  return parts.map(concat);
}

export function encode(update: Update, shape: Shape): Uint8Array {
  return concat([header(update, shape), ...groups(update, shape)]);
}

export function digest(update: Update, shape: Shape): Uint8Array {
  return keccak(concat([header(update, shape), ...groups(update, shape).map((group) => keccak(group))]));
}

/** (N,) d * 2**shift in steps of each weight. */
export function delta(update: Update, shape: Shape): Float64Array {
  const steps = new Float64Array(shape.weightCount);
  for (const [page, values] of update.pages) {
    const from = shape.pageStart(page);
    for (const { tensor, start, stop } of shape.segments(page)) {
      const size = 2 ** update.shifts[tensor];
      for (let i = start; i < stop; i++) steps[i] = values[i - from] * size;
    }
  }
  return steps;
}

/** The length of an update in 2**-8 steps: what the task's bound is compared with. */
export function norm(update: Update, shape: Shape): number {
  let sum = 0;
  for (const [page, values] of update.pages) {
    const from = shape.pageStart(page);
    for (const { tensor, start, stop } of shape.segments(page)) {
      const size = 2 ** (update.shifts[tensor] - MIN_SHIFT);
      for (let i = start; i < stop; i++) sum += (values[i - from] * size) ** 2;
    }
  }
  return Math.sqrt(sum);
}
