// Rule `mean` (linklearner.domain.rules.mean): every update counts, by its sender's stake; long ones are scaled down.
//
// T_j = sum_i e_i d_ij 2^(shift + 8), |T_j| <= 2^61; D = max(S, Omega / 4, 1) <= 2^38; w'_j = sat16(w_j + round(T_j / (D 2^8))), ties away from zero.

import { SUMS } from "../memory";
import { eligible } from "../pool";
import { countIn, normBound } from "../shape";
import * as sums from "../sums";
import { CHANGED } from "./outcome";

export const NUMBER: u32 = 1;

const SCALE_BITS: u64 = 24;
/** Added to a quotient so that it cannot be negative: one more than 2^15, what a weight may move by. */
const OFFSET: u64 = 32769;

let divisor: u64 = 0;

/** The verdict on an update of influence `weight` and squared length `norm`: e. */
@inline
export function verdict(weight: u64, norm: u64): u64 {
  return effectiveWeight(weight, norm, normBound);
}

/** A settlement begins; `present`: S. */
@inline
export function begin(present: u64): void {
  divisor = max<u64>(max<u64>(present, eligible >> 2), 1);
}

/** A page begins that at least one update has. */
@inline
export function beginPage(page: u32): void {
  sums.clearSums(countIn(page));
}

/** One update's page, whose first tensor is `first`. */
@inline
export function addPage(encoding: u32, header: usize, effective: i64, page: u32, first: u32, data: usize): void {
  sums.addPage(encoding, header, effective, page, first, data);
}

/** Moves the page's `count` weights, in place. */
@inline
export function movePage(weights: usize, count: u32): u64 {
  return applySums(weights, count, <i64>divisor);
}

/** omega, or scaled down where the norm is above the bound: (omega * floor(B 2^24 / ceil(sqrt n2))) >> 24. omega <= 2^36, n2 <= 2^62, B <= 2^31. */
export function effectiveWeight(weight: u64, norm: u64, bound: u64): u64 {
  if (norm <= bound * bound) return weight;
  const length = ceilRoot(norm); // > bound, so the factor is below 2^24 and the product below 2^60
  return (weight * ((bound << SCALE_BITS) / length)) >> SCALE_BITS;
}

/** The square root rounded up, 1 <= value <= 2^62. Newton from above: the first step that does not fall gives the floor. */
export function ceilRoot(value: u64): u64 {
  let root: u64 = 1 << ((65 - clz<u64>(value)) >> 1); // 2^ceil(bits / 2) > sqrt(value)
  for (;;) {
    const next = (root + value / root) >> 1;
    if (next >= root) break;
    root = next;
  }
  return root * root == value ? root : root + 1;
}

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
  const bias = <i64>(OFFSET * m + (m >> 1));
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
    const step = <i32>quotient(load<i64>(sum), bias, m) - <i32>OFFSET;
    const before = <i32>(<i16>(<i32>load<i16>(at) - step));
    const after = max<i32>(-32768, min<i32>(32767, before + step));
    saturated += <u64>(after != before + step);
    changed |= <u32>(after ^ before);
    store<i16>(at, <i16>after);
    sum += 8;
  }
  return saturated | (changed != 0 ? CHANGED : 0);
}
