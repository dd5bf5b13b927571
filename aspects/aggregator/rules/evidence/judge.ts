// Verdicts and the guarded merge of a round (linklearner.domain.rules.evidence.verdicts). No host calls: everything lies in memory.
//
// Rounding: v / 2^p to nearest, ties away from zero, is (v + 2^(p-1) - [v < 0]) >> p, and [v < 0] is -(v >> 63).

import { freshLoss, lossOf } from "./network";

const MAX_GAIN: i64 = 1 << 15;
const LEAST_LOSS: i64 = 64;

export const MERGED: u32 = 0;
export const EMPTY: u32 = 1;
export const NO_RECORD: u32 = 2;
export const NO_GAIN: u32 = 3;
export const GUARDED: u32 = 4;

/** k of an update longer than the bound, 0..255, or 256: isqrt(floor(B^2 2^16 / n2)), n2 and B^2 at most 2^62. Bit by bit: B^2 < n2. */
export function scaleOf(norm: u64, bound: u64): u64 {
  const most = bound * bound;
  if (norm <= most) return 256;
  let rest = most;
  let quotient: u64 = 0;
  for (let bit = 0; bit < 16; bit++) {
    rest <<= 1;
    quotient <<= 1;
    if (rest >= norm) {
      rest -= norm;
      quotient |= 1;
    }
  }
  let root: u64 = 0;
  for (let bit: u64 = 128; bit != 0; bit >>= 1) if ((root | bit) * (root | bit) <= quotient) root |= bit;
  return root;
}

/** u of `count` weights, int16 at `steps`, from their sums d 2^(shift + 8), i64 at `fine`, and k. Whether any is not 0. |sum k| <= 2^31. */
export function wholeSteps(fine: usize, count: u32, k: i64, steps: usize): bool {
  let any: u32 = 0;
  const end = fine + (<usize>count << 3);
  const wide = fine + ((<usize>count & ~7) << 3);
  while (fine < wide) {
    any |= whole(fine, 0, k, steps, 0);
    any |= whole(fine, 8, k, steps, 2);
    any |= whole(fine, 16, k, steps, 4);
    any |= whole(fine, 24, k, steps, 6);
    any |= whole(fine, 32, k, steps, 8);
    any |= whole(fine, 40, k, steps, 10);
    any |= whole(fine, 48, k, steps, 12);
    any |= whole(fine, 56, k, steps, 14);
    fine += 64;
    steps += 16;
  }
  while (fine < end) {
    any |= whole(fine, 0, k, steps, 0);
    fine += 8;
    steps += 2;
  }
  return any != 0;
}

@inline
function whole(fine: usize, from: usize, k: i64, steps: usize, to: usize): u32 {
  const v = load<i64>(fine + from) * k;
  const u = <u32>((v + (v >> 63) + 32768) >> 16);
  store<u16>(steps + to, u);
  return u;
}

/**
 * sat16(base + round(step / 2^places)) of `count` weights at `target`; base and steps int16, or steps i32 where `wide`. How many saturate.
 * A loop without a branch, as in mean.ts: it stores the low 16 bits and remembers whether any weight went beyond; if so, a second walk counts
 * them and puts them right.
 */
export function moveBy(base: usize, steps: usize, wide: bool, places: i32, target: usize, count: u32): u32 {
  const half: i32 = places == 0 ? 0 : 1 << (places - 1);
  const sign: i32 = places == 0 ? 0 : -1; // of v >> 31, which is added only where something is rounded
  const end = base + (<usize>count << 1);
  const whole = base + ((<usize>count & ~7) << 1);
  let at = base;
  let to = target;
  let step = steps;
  let beyond: i32 = 0;
  if (wide) {
    while (at < whole) {
      beyond |= move(at, 0, load<i32>(step), half, sign, places, to);
      beyond |= move(at, 2, load<i32>(step, 4), half, sign, places, to);
      beyond |= move(at, 4, load<i32>(step, 8), half, sign, places, to);
      beyond |= move(at, 6, load<i32>(step, 12), half, sign, places, to);
      beyond |= move(at, 8, load<i32>(step, 16), half, sign, places, to);
      beyond |= move(at, 10, load<i32>(step, 20), half, sign, places, to);
      beyond |= move(at, 12, load<i32>(step, 24), half, sign, places, to);
      beyond |= move(at, 14, load<i32>(step, 28), half, sign, places, to);
      at += 16;
      to += 16;
      step += 32;
    }
    while (at < end) {
      beyond |= move(at, 0, load<i32>(step), half, sign, places, to);
      at += 2;
      to += 2;
      step += 4;
    }
  } else {
    while (at < whole) {
      beyond |= move(at, 0, <i32>load<i16>(step), half, sign, places, to);
      beyond |= move(at, 2, <i32>load<i16>(step, 2), half, sign, places, to);
      beyond |= move(at, 4, <i32>load<i16>(step, 4), half, sign, places, to);
      beyond |= move(at, 6, <i32>load<i16>(step, 6), half, sign, places, to);
      beyond |= move(at, 8, <i32>load<i16>(step, 8), half, sign, places, to);
      beyond |= move(at, 10, <i32>load<i16>(step, 10), half, sign, places, to);
      beyond |= move(at, 12, <i32>load<i16>(step, 12), half, sign, places, to);
      beyond |= move(at, 14, <i32>load<i16>(step, 14), half, sign, places, to);
      at += 16;
      to += 16;
      step += 16;
    }
    while (at < end) {
      beyond |= move(at, 0, <i32>load<i16>(step), half, sign, places, to);
      at += 2;
      to += 2;
      step += 2;
    }
  }
  if (beyond >> 16 == 0) return 0;
  let saturated: u32 = 0;
  for (at = base; at < end; at += 2) {
    const v = wide ? load<i32>(steps) : <i32>load<i16>(steps);
    const moved = <i32>load<i16>(at) + ((v + half + ((v >> 31) & sign)) >> places);
    const kept = max<i32>(-32768, min<i32>(32767, moved));
    saturated += <u32>(kept != moved);
    store<i16>(target, <i16>kept);
    steps += wide ? 4 : 2;
    target += 2;
  }
  return saturated;
}

/** Moves one weight; the answer is negative or above 65535 if it went beyond int16. |step| <= 2^16. */
@inline
function move(at: usize, offset: usize, step: i32, half: i32, sign: i32, places: i32, to: usize): i32 {
  const moved = <i32>load<i16>(at + offset) + ((step + half + ((step >> 31) & sign)) >> places);
  store<u16>(to + offset, moved);
  return moved + 32768;
}

// One update of a round, 40 bytes: u64 omega | i32 record before, then after | i32 gain | i64 loss of the trial step | u32 outcome |
// u32 where its u lies | u32 whether any of u is not 0 | 4 unused.
export const VERDICT_BYTES: usize = 40;
export const RECORD: usize = 8;
export const GAIN: usize = 12;
export const LOSS: usize = 16;
export const OUTCOME: usize = 24;
export const STEPS: usize = 28;
export const MOVES: usize = 32;

export let saturated: u32 = 0;
export let baseLoss: i64 = 0;
export let loss: i64 = 0;
/** How often the step was halved; -1: nothing was merged, the weights stay. */
export let halvings: i32 = -1;

@inline
export function floorDivide(a: i64, b: i64): i64 {
  const quotient = a / b;
  return quotient - <i64>(quotient * b > a);
}

/**
 * Settles a round of `updates` updates whose records lie at `verdicts`. base, result: `count` int16 weights; sums: room for as many i64;
 * examples: all opened, the last `fresh` in this round. The verdicts, `result` and the variables above are what comes of it.
 */
export function judge(
  base: usize, result: usize, sums: usize, count: u32, verdicts: usize, updates: u32, eligible: u64, examples: usize, opened: u32, fresh: u32,
): void {
  baseLoss = lossOf(base, examples, opened, fresh);
  const fresh0 = freshLoss;
  const least = max<i64>(fresh0, LEAST_LOSS * <i64>fresh);
  const end = verdicts + VERDICT_BYTES * updates;
  let present: u64 = 0;
  for (let one = verdicts; one < end; one += VERDICT_BYTES) {
    const moves = load<u32>(one, MOVES) != 0;
    let gain: i64 = 0;
    let trial = baseLoss;
    if (moves) {
      moveBy(base, <usize>load<u32>(one, STEPS), false, 2, result, count);
      trial = lossOf(result, examples, opened, fresh);
      gain = max<i64>(-MAX_GAIN, min<i64>(MAX_GAIN, floorDivide((fresh0 - freshLoss) << 16, least)));
    }
    const before = load<i32>(one, RECORD);
    const record = before - (before >> 3) + <i32>gain;
    const outcome = !moves ? EMPTY : record <= 0 ? NO_RECORD : trial >= baseLoss ? NO_GAIN : MERGED;
    store<i32>(one, record, RECORD);
    store<i32>(one, <i32>gain, GAIN);
    store<i64>(one, trial, LOSS);
    store<u32>(one, outcome, OUTCOME);
    if (outcome == MERGED) present += load<u64>(one);
  }
  saturated = 0;
  halvings = -1;
  loss = baseLoss;
  if (present == 0) return;
  meanStep(verdicts, end, sums, count, max<u64>(max<u64>(present, eligible >> 2), 1));
  for (let places = 0; places < 3; places++) {
    const beyond = moveBy(base, sums, true, places, result, count);
    const reached = lossOf(result, examples, opened, fresh);
    if (reached <= baseLoss + (baseLoss >> 4)) {
      saturated = beyond;
      halvings = places;
      loss = reached;
      return;
    }
  }
  for (let one = verdicts; one < end; one += VERDICT_BYTES) {
    if (load<u32>(one, OUTCOME) == MERGED) store<u32>(one, GUARDED, OUTCOME);
  }
}

/** d = round(sum omega u / divisor) over the merged, i32, at `sums`. |sum| <= 2^53; |d| <= 2^15, since sum omega <= divisor. */
export function meanStep(verdicts: usize, end: usize, sums: usize, count: u32, divisor: u64): void {
  const half = divisor >> 1;
  let first = true;
  const limit = sums + (<usize>count << 3);
  const wide = sums + ((<usize>count & ~7) << 3);
  for (let one = verdicts; one < end; one += VERDICT_BYTES) {
    if (load<u32>(one, OUTCOME) != MERGED) continue;
    const weight = load<i64>(one);
    let step = <usize>load<u32>(one, STEPS);
    let at = sums;
    if (first) {
      for (; at < limit; at += 8) store<i64>(at, 0);
      at = sums;
    }
    while (at < wide) {
      store<i64>(at, load<i64>(at) + weight * <i64>load<i16>(step));
      store<i64>(at, load<i64>(at, 8) + weight * <i64>load<i16>(step, 2), 8);
      store<i64>(at, load<i64>(at, 16) + weight * <i64>load<i16>(step, 4), 16);
      store<i64>(at, load<i64>(at, 24) + weight * <i64>load<i16>(step, 6), 24);
      store<i64>(at, load<i64>(at, 32) + weight * <i64>load<i16>(step, 8), 32);
      store<i64>(at, load<i64>(at, 40) + weight * <i64>load<i16>(step, 10), 40);
      store<i64>(at, load<i64>(at, 48) + weight * <i64>load<i16>(step, 12), 48);
      store<i64>(at, load<i64>(at, 56) + weight * <i64>load<i16>(step, 14), 56);
      at += 64;
      step += 16;
    }
    while (at < limit) {
      store<i64>(at, load<i64>(at) + weight * <i64>load<i16>(step));
      at += 8;
      step += 2;
    }
    first = false;
  }
  let to = sums; // i32 over the i64 that have been read
  for (let at = sums; at < limit; at += 8) {
    const total = load<i64>(at);
    const sign = total >> 63;
    const magnitude = (<u64>((total ^ sign) - sign) + half) / divisor;
    store<i32>(to, <i32>((<i64>magnitude ^ sign) - sign));
    to += 4;
  }
}
