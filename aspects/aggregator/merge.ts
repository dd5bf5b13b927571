// Settling one page (linklearner.domain.merge): a pure function of the base page and the updates. No host calls.
//
// T_j = sum_i e_i d_ij 2^(shift + 8), |T_j| <= 2^61; D = max(S, Omega / 4, 1) <= 2^38; w'_j = sat16(w_j + round(T_j / (D 2^8))), ties away from zero.

import { FACTORS, SUMS } from "./memory";
import { TWO_BITS, MIN_SHIFT, shiftOf } from "./update";
import { boundOf, countIn, pageLength } from "./shape";

/** Adds one update's page, whose first tensor is `first`, to the sums. */
export function addPage(encoding: u32, header: usize, effective: i64, page: u32, first: u32, data: usize): void {
  const start = page * pageLength;
  const count = countIn(page);
  let from: u32 = 0;
  for (let tensor = first; from < count; tensor++) {
    const to = min<u32>(boundOf(tensor + 1) - start, count);
    const factor = effective << <i64>(shiftOf(header, tensor) - MIN_SHIFT);
    if (encoding == TWO_BITS) addTwoBits(data, from, to, factor);
    else addBytes(data, from, to, factor);
    from = to;
  }
}

/** sums[j] += factor * (2 code_j - 3) for j in [from, to). The four products come from a table: a load costs 40, a multiplication 200. */
export function addTwoBits(data: usize, from: u32, to: u32, factor: i64): void {
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

/** sums[j] += factor * d_j for j in [from, to). */
export function addBytes(data: usize, from: u32, to: u32, factor: i64): void {
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

/** What `applySums` found: bit 63 whether a weight changed, below it how many hit a bound. */
export const CHANGED: u64 = 1 << 63;

/**
 * Moves `count` weights at `weights` (int16, in place) by their sums over divisor * 2^8, to nearest, ties away from zero.
 *
 * With m = divisor 2^8, an even number, and h = m / 2: round(T / m) = floor((T + h - [T < 0]) / m). Unsigned division needs a positive
 * dividend, so 32769 m is added and 32769 taken away again: |T| <= D 2^23 = 2^15 m, hence T + h - 1 + 32769 m > 0 and < 2^63.
 * The quotient is round(T / m) + 32769; with a weight and -1 added it is the new weight + 32768, in 0..65535 unless it saturates.
 *
 * The loop has no branch (each costs a metered block): it stores the low 16 bits and remembers whether any weight went beyond; if so, a
 * second walk puts that right. Whether a weight changed is asked after it.
 */
export function applySums(weights: usize, count: u32, divisor: i64): u64 {
  const m = <u64>divisor << 8;
  const bias = <i64>(32769 * m + (m >> 1));
  let changed: u64 = 0;
  let beyond: u32 = 0;
  let sum = SUMS;
  let at = weights;
  const whole = weights + ((count & ~3) << 1);
  const end = weights + (count << 1);
  if (at < whole) {
    do {
      const before = load<u64>(at);
      const a = <u32>load<i16>(at) + quotient(load<i64>(sum), bias, m) - 1;
      const b = <u32>load<i16>(at, 2) + quotient(load<i64>(sum, 8), bias, m) - 1;
      const c = <u32>load<i16>(at, 4) + quotient(load<i64>(sum, 16), bias, m) - 1;
      const d = <u32>load<i16>(at, 6) + quotient(load<i64>(sum, 24), bias, m) - 1;
      beyond |= a | b | c | d;
      store<u16>(at, a ^ 0x8000);
      store<u16>(at, b ^ 0x8000, 2);
      store<u16>(at, c ^ 0x8000, 4);
      store<u16>(at, d ^ 0x8000, 6);
      changed |= before ^ load<u64>(at);
      at += 8;
      sum += 32;
    } while (at < whole);
  }
  while (at < end) {
    const before = load<u16>(at);
    const a = <u32>load<i16>(at) + quotient(load<i64>(sum), bias, m) - 1;
    beyond |= a;
    store<u16>(at, a ^ 0x8000);
    changed |= <u64>(before ^ load<u16>(at));
    at += 2;
    sum += 8;
  }
  if (beyond >> 16 == 0) return changed != 0 ? CHANGED : 0;
  return saturate(weights, end, bias, m);
}

/** round(T / m) + 32769, in 1..65537. */
@inline
function quotient(total: i64, bias: i64, m: u64): u32 {
  return <u32>(<u64>(total + (total >> 63) + bias) / m);
}

/** The second walk of `applySums`: what was stored is w + round(T / m) modulo 2^16, so w can be had back, and saturated this time. */
function saturate(weights: usize, end: usize, bias: i64, m: u64): u64 {
  let saturated: u64 = 0;
  let changed: u32 = 0;
  let sum = SUMS;
  for (let at = weights; at < end; at += 2) {
    const step = <i32>quotient(load<i64>(sum), bias, m) - 32769;
    const before = <i32>(<i16>(<i32>load<i16>(at) - step));
    const after = max<i32>(-32768, min<i32>(32767, before + step));
    saturated += <u64>(after != before + step);
    changed |= <u32>(after ^ before);
    store<i16>(at, <i16>after);
    sum += 8;
  }
  return saturated | (changed != 0 ? CHANGED : 0);
}
