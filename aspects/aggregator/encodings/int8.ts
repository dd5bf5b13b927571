// One signed byte a weight (linklearner.domain.encodings). A page of zeros is left out.

import { SUMS } from "../memory";

export const CODE: u32 = 8;
/** 128 * 2^(8 + 8) = 2^23. */
export const MAX_SHIFT: i32 = 8;

/** Bytes of a page of `count` weights. */
@inline
export function pageBytes(count: u32): u32 {
  return count;
}

/** Every bit is part of a weight. */
@inline
export function isTidy(data: usize, count: u32): bool {
  return true;
}

/** The sum of d^2 of the weights [from, to) of a page; at most 2^14 of them: fits 28 bits. */
@inline
export function squares(data: usize, from: u32, to: u32): u64 {
  return squaresOf(data + from, to - from);
}

function squaresOf(data: usize, count: u32): u64 {
  let sum: i32 = 0;
  const end = data + count;
  const whole = data + (count & ~15);
  if (data < whole) {
    do {
      let d = <i32>load<i8>(data);
      sum += d * d;
      d = <i32>load<i8>(data, 1);
      sum += d * d;
      d = <i32>load<i8>(data, 2);
      sum += d * d;
      d = <i32>load<i8>(data, 3);
      sum += d * d;
      d = <i32>load<i8>(data, 4);
      sum += d * d;
      d = <i32>load<i8>(data, 5);
      sum += d * d;
      d = <i32>load<i8>(data, 6);
      sum += d * d;
      d = <i32>load<i8>(data, 7);
      sum += d * d;
      d = <i32>load<i8>(data, 8);
      sum += d * d;
      d = <i32>load<i8>(data, 9);
      sum += d * d;
      d = <i32>load<i8>(data, 10);
      sum += d * d;
      d = <i32>load<i8>(data, 11);
      sum += d * d;
      d = <i32>load<i8>(data, 12);
      sum += d * d;
      d = <i32>load<i8>(data, 13);
      sum += d * d;
      d = <i32>load<i8>(data, 14);
      sum += d * d;
      d = <i32>load<i8>(data, 15);
      sum += d * d;
      data += 16;
    } while (data < whole);
  }
  while (data < end) {
    const d = <i32>load<i8>(data);
    sum += d * d;
    data++;
  }
  return <u64>sum;
}

/** sums[j] += factor * d_j for j in [from, to). */
export function add(data: usize, from: u32, to: u32, factor: i64): void {
  let sum = SUMS + (from << 3);
  let byte = data + from;
  const end = data + to;
  const whole = byte + ((to - from) & ~15);
  if (byte < whole) {
    do {
      store<i64>(sum, load<i64>(sum) + factor * <i64>load<i8>(byte));
      store<i64>(sum, load<i64>(sum, 8) + factor * <i64>load<i8>(byte, 1), 8);
      store<i64>(sum, load<i64>(sum, 16) + factor * <i64>load<i8>(byte, 2), 16);
      store<i64>(sum, load<i64>(sum, 24) + factor * <i64>load<i8>(byte, 3), 24);
      store<i64>(sum, load<i64>(sum, 32) + factor * <i64>load<i8>(byte, 4), 32);
      store<i64>(sum, load<i64>(sum, 40) + factor * <i64>load<i8>(byte, 5), 40);
      store<i64>(sum, load<i64>(sum, 48) + factor * <i64>load<i8>(byte, 6), 48);
      store<i64>(sum, load<i64>(sum, 56) + factor * <i64>load<i8>(byte, 7), 56);
      store<i64>(sum, load<i64>(sum, 64) + factor * <i64>load<i8>(byte, 8), 64);
      store<i64>(sum, load<i64>(sum, 72) + factor * <i64>load<i8>(byte, 9), 72);
      store<i64>(sum, load<i64>(sum, 80) + factor * <i64>load<i8>(byte, 10), 80);
      store<i64>(sum, load<i64>(sum, 88) + factor * <i64>load<i8>(byte, 11), 88);
      store<i64>(sum, load<i64>(sum, 96) + factor * <i64>load<i8>(byte, 12), 96);
      store<i64>(sum, load<i64>(sum, 104) + factor * <i64>load<i8>(byte, 13), 104);
      store<i64>(sum, load<i64>(sum, 112) + factor * <i64>load<i8>(byte, 14), 112);
      store<i64>(sum, load<i64>(sum, 120) + factor * <i64>load<i8>(byte, 15), 120);
      byte += 16;
      sum += 128;
    } while (byte < whole);
  }
  while (byte < end) {
    store<i64>(sum, load<i64>(sum) + factor * <i64>load<i8>(byte));
    byte++;
    sum += 8;
  }
}
