// Cross-entropy in Q12, by table (linklearner.domain.rules.evidence.loss). No host calls.

import { EXP, LAST, LN2, MIDDLES } from "./tables";

/** 4 nats. */
const MAX_LOSS: i64 = 4 << 12;

/**
 * floor(4096 ln(i / 1023.99)), 1023 <= i <= LAST. With i = c (1 + z) / (1 - z), c the middle of the 2^b numbers that share i's first six
 * bits, ln i = ln c + 2 (z + z^3 / 3 + ...) and |z| <= 1/64: what is left out and what is cut off stay below 2^-36, while no entry of the
 * table is as near to a whole number as that. A test compares all of them.
 */
export function logarithm(i: u32): i64 {
  const b: u32 = 26 - clz<u32>(i);
  const j = i >> b;
  const twice = <i64>(((j << 1) + 1) << b);
  const off = <i64>(i << 1) - twice;
  const sum = <i64>(i << 1) + twice;
  const z = (off << 44) / sum;
  const small = z >> 14; // 2^-30
  const cube = (((small * small) >> 30) * small) >> 30;
  return (load<i64>(MIDDLES + ((j - 32) << 3)) + <i64>b * LN2 + (z << 1) + ((cube << 15) / 3)) >> 32;
}

/** The loss of one example whose `count` logits, i64, lie at `logits`. */
export function crossEntropy(logits: usize, count: u32, label: u32): i64 {
  const end = logits + (<usize>count << 3);
  let most = load<i64>(logits);
  for (let at = logits + 8; at < end; at += 8) {
    const one = load<i64>(at);
    most = one > most ? one : most;
  }
  let sum: u32 = 0; // at most 2^12 labels: below 2^28
  for (let at = logits; at < end; at += 8) {
    const below = <u64>(most - load<i64>(at)) >> 7;
    sum += <u32>load<u16>(EXP + (<usize>min<u64>(below, 255) << 1));
  }
  const own = most - load<i64>(logits + (<usize>label << 3));
  return min<i64>(own + logarithm(min<u32>(sum >> 6, LAST)), MAX_LOSS);
}
