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
  while (byte + 8 <= end) {
    store<i64>(sum, load<i64>(sum) + factor * <i64>load<i8>(byte));
    store<i64>(sum, load<i64>(sum, 8) + factor * <i64>load<i8>(byte, 1), 8);
    store<i64>(sum, load<i64>(sum, 16) + factor * <i64>load<i8>(byte, 2), 16);
    store<i64>(sum, load<i64>(sum, 24) + factor * <i64>load<i8>(byte, 3), 24);
    store<i64>(sum, load<i64>(sum, 32) + factor * <i64>load<i8>(byte, 4), 32);
    store<i64>(sum, load<i64>(sum, 40) + factor * <i64>load<i8>(byte, 5), 40);
    store<i64>(sum, load<i64>(sum, 48) + factor * <i64>load<i8>(byte, 6), 48);
    store<i64>(sum, load<i64>(sum, 56) + factor * <i64>load<i8>(byte, 7), 56);
    byte += 8;
    sum += 64;
  }
  while (byte < end) {
    store<i64>(sum, load<i64>(sum) + factor * <i64>load<i8>(byte));
    byte++;
    sum += 8;
  }
}

/** Sets `count` sums to 0 (up to 7 more). */
export function clearSums(count: u32): void {
  const end = SUMS + (count << 3);
  for (let sum = SUMS; sum < end; sum += 64) {
    store<i64>(sum, 0);
    store<i64>(sum, 0, 8);
    store<i64>(sum, 0, 16);
    store<i64>(sum, 0, 24);
    store<i64>(sum, 0, 32);
    store<i64>(sum, 0, 40);
    store<i64>(sum, 0, 48);
    store<i64>(sum, 0, 56);
  }
}

/** What `applySums` found: bit 63 whether a weight changed, below it how many hit a bound. */
export const CHANGED: u64 = 1 << 63;

/**
 * Moves `count` weights at `weights` (int16, in place) by their sums over divisor * 2^8, to nearest, ties away from zero.
 *
 * With m = divisor 2^8, an even number, and h = m / 2: round(T / m) = floor((T + h - [T < 0]) / m). Unsigned division needs a positive
 * dividend, so 32769 m is added and 32769 taken away again: |T| <= D 2^23 = 2^15 m, hence T + h - 1 + 32769 m > 0 and < 2^63.
 * q = round(T / m) + 32769, so w + q - 1 is the new weight + 32768, in 0..65535 unless it saturates.
 */
export function applySums(weights: usize, count: u32, divisor: i64): u64 {
  const m = <u64>divisor << 8;
  const bias = <i64>(32769 * m + (m >> 1));
  let sum = SUMS;
  let changed: u64 = 0;
  let saturated: u64 = 0;
  const whole = weights + ((count & ~3) << 1);
  const end = weights + (count << 1);
  while (weights < whole) {
    const before = load<u64>(weights);
    const a = moved(load<i64>(sum), bias, m, <i32>load<i16>(weights));
    const b = moved(load<i64>(sum, 8), bias, m, <i32>load<i16>(weights, 2));
    const c = moved(load<i64>(sum, 16), bias, m, <i32>load<i16>(weights, 4));
    const d = moved(load<i64>(sum, 24), bias, m, <i32>load<i16>(weights, 6));
    if (<u32>(a | b | c | d) >> 16 == 0) {
      store<u16>(weights, a ^ 0x8000);
      store<u16>(weights, b ^ 0x8000, 2);
      store<u16>(weights, c ^ 0x8000, 4);
      store<u16>(weights, d ^ 0x8000, 6);
    } else {
      saturated += put(weights, a) + put(weights + 2, b) + put(weights + 4, c) + put(weights + 6, d);
    }
    changed |= before ^ load<u64>(weights);
    weights += 8;
    sum += 32;
  }
  while (weights < end) {
    const before = load<u16>(weights);
    saturated += put(weights, moved(load<i64>(sum), bias, m, <i32>load<i16>(weights)));
    changed |= <u64>(before ^ load<u16>(weights));
    weights += 2;
    sum += 8;
  }
  return saturated | (changed != 0 ? CHANGED : 0);
}

/** The moved weight + 32768, not yet saturated. */
@inline
function moved(total: i64, bias: i64, m: u64, weight: i32): i32 {
  return <i32>(<u64>(total + (total >> 63) + bias) / m) + weight - 1;
}

/** Stores a weight + 32768, saturated. 1 if it hit a bound. */
function put(at: usize, shifted: i32): u64 {
  const kept = max<i32>(0, min<i32>(65535, shifted));
  store<u16>(at, kept ^ 0x8000);
  return kept == shifted ? 0 : 1;
}
