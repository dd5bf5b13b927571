// A gas limit for a submission, by the gateway's formula (linklearner/domain/gas.py). The node's own estimate is slow and far too high.

import { headerBytes, type Update } from "../domain/update";
import { bytesOf } from "../domain/bytes";
import type { Shape } from "../domain/shape";

const BLOCK_GAS = 20_000_000;
const COUNTED = 56_000;
export const LOCK = 150_000;
export const FIRST_LOCK = 212_000; // of an account without stake in the task
export const CLAIM = 94_000;
export const DROP = 112_000; // of a round without updates

export function submitLimit(data: string, update: Update, shape: Shape): number {
  const groups = new Array<number>(shape.groupCount).fill(0);
  let weights = 0;
  let segments = 0;
  for (const [page, values] of update.pages) {
    groups[Math.floor(page / shape.groupPages)] += update.encoding.pageBytes(values.length);
    weights += values.length;
    segments += shape.segments(page).length;
  }
  const words = (size: number): number => Math.ceil(size / 32);
  const header = words(headerBytes(shape));
  let need = 40_040 + 303 * shape.groupCount + 9 * (header + groups.reduce((sum, size) => sum + words(size), 0));
  const memory = header + shape.groupCount + Math.max(...groups.map(words)) + 40;
  need += 3 * memory + Math.floor(memory ** 2 / 512);
  need += 2_160 + 22.5 * shape.tensors.length + 5.3 * shape.pageCount + 26 * shape.groupCount;
  need += update.encoding.submitGas * weights + 6.8 * update.pages.length + 15.8 * segments;
  for (const byte of bytesOf(data)) need += byte ? 16 : 4;
  need += 21_000;
  return Math.min(Math.ceil(Math.min(1.25 * need + COUNTED, 1.9 * need)), BLOCK_GAS);
}
