// One bit a weight: weight j at bit j % 8 of byte j / 8, code c means d = 2 c - 1. A weight is never 0.

import { SUMS } from "../memory";

export const CODE: u32 = 1;
/** 1 * 2^(15 + 8) = 2^23. */
export const MAX_SHIFT: i32 = 15;

@inline
export function pageBytes(count: u32): u32 {
  return (count + 7) >> 3;
}

@inline
export function isTidy(data: usize, count: u32): bool {
  return (count & 7) == 0 || load<u8>(data + (count >> 3)) >> <u8>(count & 7) == 0;
}

@inline
export function squares(data: usize, from: u32, to: u32): u64 {
  return to - from;
}

export function add(data: usize, from: u32, to: u32, factor: i64): void {
  for (let j = from; j < to; j++) {
    const sum = SUMS + (j << 3);
    const code = (load<u8>(data + (j >> 3)) >> <u8>(j & 7)) & 1;
    store<i64>(sum, load<i64>(sum) + (code != 0 ? factor : -factor));
  }
}
