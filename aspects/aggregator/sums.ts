// Sums over the weights of one page, at SUMS: T_j = sum_i e_i d_ij 2^(shift + 8). With sum e_i <= 2^38 and |d| 2^(shift + 8) <= 2^23 they stay
// within 2^61. No host calls.

import { add } from "./encodings/table";
import { SUMS } from "./memory";
import { boundOf, countIn, pageLength } from "./shape";
import { MIN_SHIFT, shiftOf } from "./update";

/** Adds one update's page, whose first tensor is `first`, to the sums. */
export function addPage(encoding: u32, header: usize, effective: i64, page: u32, first: u32, data: usize): void {
  const start = page * pageLength;
  const count = countIn(page);
  let from: u32 = 0;
  for (let tensor = first; from < count; tensor++) {
    const to = min<u32>(boundOf(tensor + 1) - start, count);
    const factor = effective << <i64>(shiftOf(header, tensor) - MIN_SHIFT);
    add(encoding, data, from, to, factor);
    from = to;
  }
}

/** Sets `count` sums to 0 (up to 15 more); count > 0. */
export function clearSums(count: u32): void {
  const end = SUMS + (count << 3);
  let sum = SUMS;
  do {
    store<i64>(sum, 0);
    store<i64>(sum, 0, 8);
    store<i64>(sum, 0, 16);
    store<i64>(sum, 0, 24);
    store<i64>(sum, 0, 32);
    store<i64>(sum, 0, 40);
    store<i64>(sum, 0, 48);
    store<i64>(sum, 0, 56);
    store<i64>(sum, 0, 64);
    store<i64>(sum, 0, 72);
    store<i64>(sum, 0, 80);
    store<i64>(sum, 0, 88);
    store<i64>(sum, 0, 96);
    store<i64>(sum, 0, 104);
    store<i64>(sum, 0, 112);
    store<i64>(sum, 0, 120);
    sum += 128;
  } while (sum < end);
}
