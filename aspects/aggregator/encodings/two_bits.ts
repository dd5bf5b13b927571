// Two bits a weight (linklearner.domain.encodings): weight j at bits 2 (j % 4) of byte j / 4, code c means d = 2 c - 3. A weight is never 0.

import { FACTORS, SUMS } from "../memory";

export const CODE: u32 = 2;
/** 3 * 2^(13 + 8) <= 2^23. */
export const MAX_SHIFT: i32 = 13;

/** Bytes of a page of `count` weights. */
@inline
export function pageBytes(count: u32): u32 {
  return (count + 3) >> 2;
}

/** Whether the bits behind the last weight of a page are zero. */
@inline
export function isTidy(data: usize, count: u32): bool {
  return (count & 3) == 0 || load<u8>(data + (count >> 2)) >> <u8>((count & 3) << 1) == 0;
}

/**
 * The sum of d^2 of the 2-bit weights [from, to) of a page. Codes 0 and 3 are 9, codes 1 and 2 are 1: with u the number of weights whose two
 * bits differ, it is 9 (to - from) - 8 u. 32 weights at a time; what a word holds outside the range is masked away.
 */
export function squares(data: usize, from: u32, to: u32): u64 {
  const last = (to - 1) >> 5;
  let word = from >> 5;
  let mask: u64 = 0x5555555555555555 << (<u64>(from & 31) << 1);
  let unequal: u64 = 0;
  for (; word < last; word++) {
    const codes = load<u64>(data + (word << 3));
    unequal += popcnt<u64>((codes ^ (codes >> 1)) & mask);
    mask = 0x5555555555555555;
  }
  mask &= 0x5555555555555555 >> (<u64>(31 - ((to - 1) & 31)) << 1);
  const codes = load<u64>(data + (word << 3));
  unequal += popcnt<u64>((codes ^ (codes >> 1)) & mask);
  return 9 * <u64>(to - from) - (unequal << 3);
}

/** sums[j] += factor * (2 code_j - 3) for j in [from, to). The four products come from a table: a load costs 40, a multiplication 200. */
export function add(data: usize, from: u32, to: u32, factor: i64): void {
  store<i64>(FACTORS, -3 * factor);
  store<i64>(FACTORS, -factor, 8);
  store<i64>(FACTORS, factor, 16);
  store<i64>(FACTORS, 3 * factor, 24);
  let j = from;
  while (j < to) {
    if ((j & 15) == 0 && j + 16 <= to) {
      let sum = SUMS + (j << 3);
      let byte = data + (j >> 2);
      const end = data + (to >> 4 << 2);
      do {
        const codes = load<u32>(byte);
        store<i64>(sum, load<i64>(sum) + product(codes << 3));
        store<i64>(sum, load<i64>(sum, 8) + product(codes << 1), 8);
        store<i64>(sum, load<i64>(sum, 16) + product(codes >> 1), 16);
        store<i64>(sum, load<i64>(sum, 24) + product(codes >> 3), 24);
        store<i64>(sum, load<i64>(sum, 32) + product(codes >> 5), 32);
        store<i64>(sum, load<i64>(sum, 40) + product(codes >> 7), 40);
        store<i64>(sum, load<i64>(sum, 48) + product(codes >> 9), 48);
        store<i64>(sum, load<i64>(sum, 56) + product(codes >> 11), 56);
        store<i64>(sum, load<i64>(sum, 64) + product(codes >> 13), 64);
        store<i64>(sum, load<i64>(sum, 72) + product(codes >> 15), 72);
        store<i64>(sum, load<i64>(sum, 80) + product(codes >> 17), 80);
        store<i64>(sum, load<i64>(sum, 88) + product(codes >> 19), 88);
        store<i64>(sum, load<i64>(sum, 96) + product(codes >> 21), 96);
        store<i64>(sum, load<i64>(sum, 104) + product(codes >> 23), 104);
        store<i64>(sum, load<i64>(sum, 112) + product(codes >> 25), 112);
        store<i64>(sum, load<i64>(sum, 120) + product(codes >> 27), 120);
        byte += 4;
        sum += 128;
      } while (byte < end);
      j = to & ~15;
    } else {
      const sum = SUMS + (j << 3);
      store<i64>(sum, load<i64>(sum) + product((<u32>load<u8>(data + (j >> 2)) >> ((j & 3) << 1)) << 3));
      j++;
    }
  }
}

/** What bits 3 and 4 of `code` select. */
@inline
function product(code: u32): i64 {
  return load<i64>(code & 24, FACTORS);
}
