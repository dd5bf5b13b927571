// What an update did on examples that were opened afterwards (linklearner.domain.rules.evidence.credit). No host calls.
//
//     g = 4 (CE_W(base) - CE_W(base + u/4))     d = 4 (CE_W(p - u/8) - CE_W(p + u/8))     x = the same with the residual
//
// p lies three quarters of the way from a round's base to what came of it. Means over W, Q14 nats, floored, within +-2 nats.

import { floorDivide, moveBy } from "./judge";
import { lossOf } from "./network";

/** How many rounds later a round is paid. */
export const HORIZON: u32 = 10;
const MAX_CREDIT: i64 = 1 << 15;
const CREDIT_BITS: i64 = 2;

/** Of the last update that `credit` looked at: with harm at 5/4, and as they count. */
export let gain: i32 = 0;
export let direct: i32 = 0;
export let novel: i32 = 0;

let opened: usize = 0;
let examples: u32 = 0;
let base: usize = 0;
let weights: u32 = 0;
let baseLoss: i64 = 0;
let middle: usize = 0;
let trial: usize = 0;

/**
 * A round begins: W is `count` > 0 examples at `later`; before, after: `size` int16 before and after its merge. `work`: room for two times as
 * many, each a multiple of 8 bytes, and 8 bytes to run over.
 */
export function beginRound(later: usize, count: u32, before: usize, after: usize, size: u32, work: usize): void {
  opened = later;
  examples = count;
  base = before;
  weights = size;
  middle = work;
  trial = work + (((<usize>size << 1) + 7) & ~7);
  const end = before + (<usize>size << 1);
  for (let to = middle; before < end; to += 2) {
    const sum = <i32>load<i16>(before) + 3 * <i32>load<i16>(after);
    store<i16>(to, <i16>((sum + (sum >> 31) + 2) >> 2));
    before += 2;
    after += 2;
  }
  baseLoss = lossOf(base, opened, examples, examples);
}

/** The credits of an update: u, int16, at `steps`, whether any of it is not 0; its residual, i32, at `left`. */
export function credit(steps: usize, moves: bool, left: usize, copy: bool, merged: bool): void {
  gain = 0;
  direct = 0;
  novel = 0;
  if (!moves) return;
  moveBy(base, steps, false, 2, trial, weights);
  const effect = mean(baseLoss - lossOf(trial, opened, examples, examples));
  const harm = min<i32>(effect, 0) + (min<i32>(effect, 0) >> 2);
  gain = effect > 0 && merged && !copy ? effect : harm;
  direct = across(steps, false);
  novel = across(left, true);
  if (!copy) return;
  direct = min<i32>(direct, 0);
  novel = min<i32>(novel, 0);
}

/** The credit of a merged update by `fair`, which is x alone: `novel` above. */
export function creditFairly(moves: bool, left: usize, copy: bool, merged: bool): void {
  gain = 0;
  direct = 0;
  novel = moves && merged && !copy ? max<i32>(0, across(left, true)) : 0;
}

/** Of a step across p, an eighth to either side. */
function across(step: usize, wide: bool): i32 {
  moveEighth(step, wide, -1);
  const behind = lossOf(trial, opened, examples, examples);
  moveEighth(step, wide, 0);
  return mean(behind - lossOf(trial, opened, examples, examples));
}

/**
 * sat16(p + round(step / 8)) at `trial`; of the step's opposite where `sign` is -1. As `moveBy`: it stores the low 16 bits and remembers whether
 * any weight went beyond; if so, a second walk puts that right.
 */
function moveEighth(step: usize, wide: bool, sign: i32): void {
  const end = middle + (<usize>weights << 1);
  const whole = middle + (<usize>(weights & ~7) << 1);
  let from = step;
  let to = trial;
  let at = middle;
  let beyond: i32 = 0;
  if (wide) {
    while (at < whole) {
      beyond |= eighth(at, 0, load<i32>(from), sign, to);
      beyond |= eighth(at, 2, load<i32>(from, 4), sign, to);
      beyond |= eighth(at, 4, load<i32>(from, 8), sign, to);
      beyond |= eighth(at, 6, load<i32>(from, 12), sign, to);
      beyond |= eighth(at, 8, load<i32>(from, 16), sign, to);
      beyond |= eighth(at, 10, load<i32>(from, 20), sign, to);
      beyond |= eighth(at, 12, load<i32>(from, 24), sign, to);
      beyond |= eighth(at, 14, load<i32>(from, 28), sign, to);
      at += 16;
      to += 16;
      from += 32;
    }
    for (; at < end; at += 2) {
      beyond |= eighth(at, 0, load<i32>(from), sign, to);
      to += 2;
      from += 4;
    }
  } else {
    while (at < whole) {
      beyond |= eighth(at, 0, <i32>load<i16>(from), sign, to);
      beyond |= eighth(at, 2, <i32>load<i16>(from, 2), sign, to);
      beyond |= eighth(at, 4, <i32>load<i16>(from, 4), sign, to);
      beyond |= eighth(at, 6, <i32>load<i16>(from, 6), sign, to);
      beyond |= eighth(at, 8, <i32>load<i16>(from, 8), sign, to);
      beyond |= eighth(at, 10, <i32>load<i16>(from, 10), sign, to);
      beyond |= eighth(at, 12, <i32>load<i16>(from, 12), sign, to);
      beyond |= eighth(at, 14, <i32>load<i16>(from, 14), sign, to);
      at += 16;
      to += 16;
      from += 16;
    }
    for (; at < end; at += 2) {
      beyond |= eighth(at, 0, <i32>load<i16>(from), sign, to);
      to += 2;
      from += 2;
    }
  }
  if (beyond >> 16 == 0) return;
  to = trial;
  for (at = middle; at < end; at += 2) {
    const moved = <i32>load<i16>(at) + part(wide ? load<i32>(step) : <i32>load<i16>(step), sign);
    store<i16>(to, <i16>max<i32>(-32768, min<i32>(32767, moved)));
    to += 2;
    step += wide ? 4 : 2;
  }
}

@inline
function part(step: i32, sign: i32): i32 {
  return (((step + (step >> 31) + 4) >> 3) ^ sign) - sign;
}

/** Moves one weight; the answer is negative or above 65535 if it went beyond int16. */
@inline
function eighth(at: usize, offset: usize, step: i32, sign: i32, to: usize): i32 {
  const moved = <i32>load<i16>(at + offset) + part(step, sign);
  store<u16>(to + offset, moved);
  return moved + 32768;
}

function mean(difference: i64): i32 {
  return <i32>max<i64>(-MAX_CREDIT, min<i64>(MAX_CREDIT, floorDivide(difference << CREDIT_BITS, <i64>examples)));
}
