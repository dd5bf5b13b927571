// Rule `median_of_signs`, for tests: each weight moves one step in the direction that most influence points to.

import { allocate } from "../memory";
import { SUMS } from "../memory";
import { countIn } from "../shape";
import * as sums from "../sums";
import { CHANGED } from "./outcome";

export const NUMBER: u32 = 200;

/** One i64 a weight of the page: influence for up, less influence for down. */
let votes: usize = 0;

@inline
export function verdict(weight: u64, norm: u64): u64 {
  return weight;
}

@inline
export function begin(present: u64): void {}

export function beginPage(page: u32): void {
  const bytes = countIn(page) << 3;
  votes = <usize>allocate(bytes);
  for (let i: u32 = 0; i < bytes; i += 8) store<i64>(votes + i, 0);
}

export function addPage(encoding: u32, header: usize, effective: i64, page: u32, first: u32, data: usize): void {
  const bytes = countIn(page) << 3;
  sums.clearSums(countIn(page));
  sums.addPage(encoding, header, 1, page, first, data); // d times a power of two: its sign is what counts
  for (let i: u32 = 0; i < bytes; i += 8) {
    const d = load<i64>(SUMS + i);
    store<i64>(votes + i, load<i64>(votes + i) + (d > 0 ? effective : d < 0 ? -effective : 0));
  }
}

export function movePage(weights: usize, count: u32): u64 {
  let saturated: u64 = 0;
  let changed = false;
  for (let j: u32 = 0; j < count; j++) {
    const vote = load<i64>(votes + (j << 3));
    const before = <i32>load<i16>(weights + (j << 1));
    const wanted = before + (vote > 0 ? 1 : vote < 0 ? -1 : 0);
    const after = max<i32>(-32768, min<i32>(32767, wanted));
    saturated += <u64>(after != wanted);
    changed = changed || after != before;
    store<i16>(weights + (j << 1), <i16>after);
  }
  return saturated | (changed ? CHANGED : 0);
}
