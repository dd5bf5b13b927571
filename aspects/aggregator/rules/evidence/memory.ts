// What public knowledge explains of an update (linklearner.domain.rules.evidence.memory). No host calls: everything lies in memory.
//
// Atoms and updates are within 2^16 and N <= 2^17: a product of two vectors is at most 2^49, and 2^14 times that an unsigned 2^63. Where two
// vectors are so short that sixteen of their products fit an i32, they are added up there: 350 instead of 520 units of metering a product.

import { copy20, same20 } from "../../bytes";

/** How many settled rounds the memory goes back. */
export const MEMORY_ROUNDS: u32 = 8;
const ATOMS: u32 = 5;
const COEFFICIENT_BITS: u64 = 14;
const COPY_FACTOR: i64 = 20;
const LOST_FACTOR: i64 = 64;
/** An update has at most so many owners: its sender, and the first of those of what it mostly is. */
export const MAX_OWNERS: u32 = 8;
export const ADDRESS_BYTES: usize = 20;
/** Sixteen products of numbers of at most 2^a and 2^b fit an i32 where a + b is at most this. */
const SMALL_BITS: u32 = 26;

// One atom, 32 bytes: i64 |atom|^2 | u32 where its values lie | u32 whether they are i32, not i16 | u32 bits that each value fits in, the sign
// not counted | u32 where its owners' addresses lie, 20 bytes each | u32 how many owners; a public atom has none | u32 whether it was tried.
export const ATOM_BYTES: usize = 32;
export const VALUES: usize = 8;
export const WIDE: usize = 12;
export const BITS: usize = 16;
export const OWNERS: usize = 20;
export const OWNER_COUNT: usize = 24;
const TRIED: usize = 28;

/** Of the last update that `project` looked at: whether it is a copy; which atom explains most of it, -1 if none does any; whether a quarter. */
export let copy: bool = false;
export let first: i32 = -1;
export let mostlyFirst: bool = false;

// What the memory keeps of a settled round, 16 bytes: u32 where the atom of its merge lies | u32 where the atoms of its novel updates lie, one
// behind the other | u32 how many these are | 4 unused.
export const ROUND_BYTES: usize = 16;
export const NOVEL: usize = 4;
export const NOVEL_COUNT: usize = 8;

/** How many of the last list's atoms are public. */
let publicAtoms: u32 = 0;

/**
 * Lists, at `list`, what counts for the account whose 20 bytes are given: `references` atoms, those of the merges of the rounds at `rounds`, and
 * the novel updates of these that it does not own. How many.
 */
export function listFor(account: usize, references: usize, referenceCount: u32, rounds: usize, roundCount: u32, list: usize): u32 {
  let to = list;
  for (let n: u32 = 0; n < referenceCount; n++) {
    store<u32>(to, <u32>(references + <usize>n * ATOM_BYTES));
    to += 4;
  }
  const end = rounds + <usize>roundCount * ROUND_BYTES;
  for (let one = rounds; one < end; one += ROUND_BYTES) {
    store<u32>(to, load<u32>(one));
    to += 4;
  }
  publicAtoms = <u32>((to - list) >> 2);
  for (let one = rounds; one < end; one += ROUND_BYTES) {
    let atom = <usize>load<u32>(one, NOVEL);
    for (const last = atom + <usize>load<u32>(one, NOVEL_COUNT) * ATOM_BYTES; atom < last; atom += ATOM_BYTES) {
      if (owns(account, atom)) continue;
      store<u32>(to, <u32>atom);
      to += 4;
    }
  }
  return <u32>((to - list) >> 2);
}

/** Says whose an atom is: `count` addresses at `owners`. */
export function giveOwners(atom: usize, owners: usize, count: u32): void {
  store<u32>(atom, <u32>owners, OWNERS);
  store<u32>(atom, count, OWNER_COUNT);
}

function owns(account: usize, atom: usize): bool {
  let owner = <usize>load<u32>(atom, OWNERS);
  for (const end = owner + <usize>load<u32>(atom, OWNER_COUNT) * ADDRESS_BYTES; owner < end; owner += ADDRESS_BYTES) {
    if (same20(owner, account)) return true;
  }
  return false;
}

/** Puts the owners of the account's update that `project` looked at last, with this list, at `to`: how many. Writes up to MAX_OWNERS of them. */
export function putOwners(account: usize, list: usize, to: usize): u32 {
  let count: u32 = 0;
  if (mostlyFirst && first >= <i32>publicAtoms) {
    const atom = <usize>load<u32>(list + (<usize>first << 2));
    count = min<u32>(load<u32>(atom, OWNER_COUNT), MAX_OWNERS - 1);
    const from = <usize>load<u32>(atom, OWNERS);
    for (let n: usize = 0; n < count; n++) copy20(to + n * ADDRESS_BYTES, from + n * ADDRESS_BYTES);
  }
  copy20(to + <usize>count * ADDRESS_BYTES, account);
  return count + 1;
}

/** Bits of the largest magnitude at `vector`, of `count` i16, or i32 where `wide`: |v| <= 2^bits. */
export function bitsOf(vector: usize, wide: bool, count: u32): u32 {
  let any: i32 = 0;
  const end = vector + (<usize>count << (wide ? 2 : 1));
  if (wide) {
    for (; vector < end; vector += 4) any |= load<i32>(vector) ^ (load<i32>(vector) >> 31);
  } else {
    for (; vector < end; vector += 2) any |= <i32>load<i16>(vector) ^ (<i32>load<i16>(vector) >> 31);
  }
  return 32 - clz<u32>(any);
}

/** Makes an atom of `count` values, int16, or i32 where `wide`, without owners. `work`: room for as many i32. */
export function makeAtom(atom: usize, values: usize, wide: bool, count: u32, work: usize): void {
  let narrow = values;
  let vector = values;
  if (!wide) {
    vector = work;
    for (const end = values + (<usize>count << 1); narrow < end; narrow += 2) {
      store<i32>(work, <i32>load<i16>(narrow));
      work += 4;
    }
  }
  const bits = bitsOf(values, wide, count);
  store<i64>(atom, dot(values, wide, bits, vector, bits, count));
  store<u32>(atom, <u32>values, VALUES);
  store<u32>(atom, wide ? 1 : 0, WIDE);
  store<u32>(atom, bits, BITS);
  store<u32>(atom, 0, OWNERS);
  store<u32>(atom, 0, OWNER_COUNT);
}

/** The product of `count` values at a, i32 where `wide`, with as many i32 at b; `aBits`, `bBits`: what they fit in. */
function dot(a: usize, wide: bool, aBits: u32, b: usize, bBits: u32, count: u32): i64 {
  if (aBits + bBits <= SMALL_BITS) return wide ? dotWideSmall(a, b, count) : dotNarrowSmall(a, b, count);
  return wide ? dotWide(a, b, count) : dotNarrow(a, b, count);
}

/**
 * What the atoms leave of the update u, whose atom is `update`: i32 at `left`. `list`: u32 addresses of the `atoms` atoms that count, the public
 * ones first; `work`: room for ATOMS vectors of i32, ATOMS i64 behind them, and 8 bytes to run over. The variables above say the rest.
 */
export function project(update: usize, list: usize, atoms: u32, count: u32, left: usize, work: usize): void {
  const bytes = <usize>count << 2;
  const squares = work + ((<usize>ATOMS * bytes + 7) & ~7);
  const end = list + (<usize>atoms << 2);
  for (let at = list; at < end; at += 4) store<u32>(<usize>load<u32>(at), 0, TRIED);
  widen(update, left, count);
  const square = load<i64>(update);
  let leftBits = load<u32>(update, BITS);
  let taken: u32 = 0;
  first = -1;
  mostlyFirst = false;
  for (let turn: u32 = 0; turn < ATOMS; turn++) {
    let best: usize = 0;
    let place: i32 = 0;
    let product: u64 = 0;
    let own: u64 = 1;
    for (let at = list; at < end; at += 4) {
      const atom = <usize>load<u32>(at);
      if (load<u32>(atom, TRIED) != 0 || load<i64>(atom) == 0) continue;
      const one = dot(<usize>load<u32>(atom, VALUES), load<u32>(atom, WIDE) != 0, load<u32>(atom, BITS), left, leftBits, count);
      const size = <u64>(one < 0 ? -one : one);
      if (!isAbove(size, load<u64>(atom), product, own)) continue;
      best = atom;
      place = <i32>((at - list) >> 2);
      product = size;
      own = load<u64>(atom);
    }
    if (best == 0) break;
    store<u32>(best, 1, TRIED);
    if (turn == 0) {
      first = place;
      mostlyFirst = isQuarter(product, own, <u64>square);
    }
    const vector = work + <usize>taken * bytes;
    widen(best, vector, count);
    let bits = load<u32>(best, BITS);
    for (let part: u32 = 0; part < taken; part++) {
      bits = without(vector, bits, work + <usize>part * bytes, load<i64>(squares + (<usize>part << 3)), count);
    }
    const rest = taken == 0 ? load<i64>(best) : dot(vector, true, bits, vector, bits, count);
    if (rest * LOST_FACTOR > load<i64>(best)) {
      store<i64>(squares + (<usize>taken << 3), rest);
      taken++;
      leftBits = without(left, leftBits, vector, rest, count);
    }
  }
  copy = COPY_FACTOR * dot(left, true, leftBits, left, leftBits, count) < square;
}

/** `count` values of an atom as i32. */
function widen(atom: usize, to: usize, count: u32): void {
  let from = <usize>load<u32>(atom, VALUES);
  const end = to + (<usize>count << 2);
  if (load<u32>(atom, WIDE) != 0) {
    for (; to < end; to += 8) {
      store<u64>(to, load<u64>(from));
      from += 8;
    }
    return;
  }
  for (; to < end; to += 4) {
    store<i32>(to, <i32>load<i16>(from));
    from += 2;
  }
}

/**
 * Takes its projection on `part`, whose square is `square` > 0, away from a vector, both `count` i32. Coefficient and products are rounded to
 * nearest, ties away from zero. Answers with the bits that the vector fits in afterwards.
 */
function without(vector: usize, bits: u32, part: usize, square: i64, count: u32): u32 {
  const product = dotWide(vector, part, count);
  const sign = product >> 63;
  const magnitude = ((<u64>((product ^ sign) - sign) << COEFFICIENT_BITS) + (<u64>square >> 1)) / <u64>square;
  const coefficient = (<i64>magnitude ^ sign) - sign;
  if (coefficient == 0) return bits;
  let any: u32 = 0;
  const end = vector + (<usize>count << 2);
  const whole = vector + ((<usize>count & ~3) << 2);
  while (vector < whole) {
    any |= lessen(vector, <i64>load<i32>(part) * coefficient);
    any |= lessen(vector + 4, <i64>load<i32>(part, 4) * coefficient);
    any |= lessen(vector + 8, <i64>load<i32>(part, 8) * coefficient);
    any |= lessen(vector + 12, <i64>load<i32>(part, 12) * coefficient);
    vector += 16;
    part += 16;
  }
  while (vector < end) {
    any |= lessen(vector, <i64>load<i32>(part) * coefficient);
    vector += 4;
    part += 4;
  }
  return 32 - clz<u32>(any);
}

/** Takes fine / 2^14, rounded, from a value; answers with the bits of what is left. */
@inline
function lessen(at: usize, fine: i64): u32 {
  const value = load<i32>(at) - <i32>((fine + (fine >> 63) + 8192) >> COEFFICIENT_BITS);
  store<i32>(at, value);
  return value ^ (value >> 31);
}

// Products of up to 192 bits: `high`, `low` are what `multiply` leaves.
let high: u64 = 0;
let low: u64 = 0;

function multiply(a: u64, b: u64): void {
  const aLow = a & 0xffffffff;
  const bLow = b & 0xffffffff;
  const aHigh = a >> 32;
  const bHigh = b >> 32;
  const lows = aLow * bLow;
  const middle = aHigh * bLow + (lows >> 32);
  const other = aLow * bHigh + (middle & 0xffffffff);
  low = (other << 32) | (lows & 0xffffffff);
  high = aHigh * bHigh + (middle >> 32) + (other >> 32);
}

/** Whether a^2 / aSquare > b^2 / bSquare, exactly. All below 2^50. */
function isAbove(a: u64, aSquare: u64, b: u64, bSquare: u64): bool {
  if (a == 0) return false;
  if (b == 0) return true;
  multiply(a, a);
  const aTop = high;
  multiply(low, bSquare);
  const aLow = low;
  let aMiddle = high;
  multiply(aTop, bSquare);
  aMiddle += low;
  const aHigh = high + <u64>(aMiddle < low);
  multiply(b, b);
  const bTop = high;
  multiply(low, aSquare);
  const bLow = low;
  let bMiddle = high;
  multiply(bTop, aSquare);
  bMiddle += low;
  const bHigh = high + <u64>(bMiddle < low);
  if (aHigh != bHigh) return aHigh > bHigh;
  return aMiddle != bMiddle ? aMiddle > bMiddle : aLow > bLow;
}

/** Whether product^2 / own is at least a quarter of the square. */
function isQuarter(product: u64, own: u64, square: u64): bool {
  multiply(product << 1, product << 1);
  const top = high;
  const bottom = low;
  multiply(square, own);
  return top != high ? top > high : bottom >= low;
}

// Four loops that differ in their types only: int16 or i32 at a, i32 at b; sixteen products that fit an i32, or any.
function dotNarrow(a: usize, b: usize, count: u32): i64 {
  let sum: i64 = 0;
  const end = a + (<usize>count << 1);
  const whole = a + ((<usize>count & ~15) << 1);
  while (a < whole) {
    sum += <i64>load<i16>(a) * <i64>load<i32>(b) + <i64>load<i16>(a, 2) * <i64>load<i32>(b, 4) + <i64>load<i16>(a, 4) * <i64>load<i32>(b, 8) + <i64>load<i16>(a, 6) * <i64>load<i32>(b, 12);
    sum += <i64>load<i16>(a, 8) * <i64>load<i32>(b, 16) + <i64>load<i16>(a, 10) * <i64>load<i32>(b, 20) + <i64>load<i16>(a, 12) * <i64>load<i32>(b, 24) + <i64>load<i16>(a, 14) * <i64>load<i32>(b, 28);
    sum += <i64>load<i16>(a, 16) * <i64>load<i32>(b, 32) + <i64>load<i16>(a, 18) * <i64>load<i32>(b, 36) + <i64>load<i16>(a, 20) * <i64>load<i32>(b, 40) + <i64>load<i16>(a, 22) * <i64>load<i32>(b, 44);
    sum += <i64>load<i16>(a, 24) * <i64>load<i32>(b, 48) + <i64>load<i16>(a, 26) * <i64>load<i32>(b, 52) + <i64>load<i16>(a, 28) * <i64>load<i32>(b, 56) + <i64>load<i16>(a, 30) * <i64>load<i32>(b, 60);
    a += 32;
    b += 64;
  }
  while (a < end) {
    sum += <i64>load<i16>(a) * <i64>load<i32>(b);
    a += 2;
    b += 4;
  }
  return sum;
}

function dotWide(a: usize, b: usize, count: u32): i64 {
  let sum: i64 = 0;
  const end = a + (<usize>count << 2);
  const whole = a + ((<usize>count & ~15) << 2);
  while (a < whole) {
    sum += <i64>load<i32>(a) * <i64>load<i32>(b) + <i64>load<i32>(a, 4) * <i64>load<i32>(b, 4) + <i64>load<i32>(a, 8) * <i64>load<i32>(b, 8) + <i64>load<i32>(a, 12) * <i64>load<i32>(b, 12);
    sum += <i64>load<i32>(a, 16) * <i64>load<i32>(b, 16) + <i64>load<i32>(a, 20) * <i64>load<i32>(b, 20) + <i64>load<i32>(a, 24) * <i64>load<i32>(b, 24) + <i64>load<i32>(a, 28) * <i64>load<i32>(b, 28);
    sum += <i64>load<i32>(a, 32) * <i64>load<i32>(b, 32) + <i64>load<i32>(a, 36) * <i64>load<i32>(b, 36) + <i64>load<i32>(a, 40) * <i64>load<i32>(b, 40) + <i64>load<i32>(a, 44) * <i64>load<i32>(b, 44);
    sum += <i64>load<i32>(a, 48) * <i64>load<i32>(b, 48) + <i64>load<i32>(a, 52) * <i64>load<i32>(b, 52) + <i64>load<i32>(a, 56) * <i64>load<i32>(b, 56) + <i64>load<i32>(a, 60) * <i64>load<i32>(b, 60);
    a += 64;
    b += 64;
  }
  while (a < end) {
    sum += <i64>load<i32>(a) * <i64>load<i32>(b);
    a += 4;
    b += 4;
  }
  return sum;
}

function dotNarrowSmall(a: usize, b: usize, count: u32): i64 {
  let sum: i64 = 0;
  const end = a + (<usize>count << 1);
  const whole = a + ((<usize>count & ~15) << 1);
  while (a < whole) {
    let part = <i32>load<i16>(a) * load<i32>(b) + <i32>load<i16>(a, 2) * load<i32>(b, 4) + <i32>load<i16>(a, 4) * load<i32>(b, 8) + <i32>load<i16>(a, 6) * load<i32>(b, 12);
    part += <i32>load<i16>(a, 8) * load<i32>(b, 16) + <i32>load<i16>(a, 10) * load<i32>(b, 20) + <i32>load<i16>(a, 12) * load<i32>(b, 24) + <i32>load<i16>(a, 14) * load<i32>(b, 28);
    part += <i32>load<i16>(a, 16) * load<i32>(b, 32) + <i32>load<i16>(a, 18) * load<i32>(b, 36) + <i32>load<i16>(a, 20) * load<i32>(b, 40) + <i32>load<i16>(a, 22) * load<i32>(b, 44);
    part += <i32>load<i16>(a, 24) * load<i32>(b, 48) + <i32>load<i16>(a, 26) * load<i32>(b, 52) + <i32>load<i16>(a, 28) * load<i32>(b, 56) + <i32>load<i16>(a, 30) * load<i32>(b, 60);
    sum += <i64>part;
    a += 32;
    b += 64;
  }
  while (a < end) {
    sum += <i64>load<i16>(a) * <i64>load<i32>(b);
    a += 2;
    b += 4;
  }
  return sum;
}

function dotWideSmall(a: usize, b: usize, count: u32): i64 {
  let sum: i64 = 0;
  const end = a + (<usize>count << 2);
  const whole = a + ((<usize>count & ~15) << 2);
  while (a < whole) {
    let part = load<i32>(a) * load<i32>(b) + load<i32>(a, 4) * load<i32>(b, 4) + load<i32>(a, 8) * load<i32>(b, 8) + load<i32>(a, 12) * load<i32>(b, 12);
    part += load<i32>(a, 16) * load<i32>(b, 16) + load<i32>(a, 20) * load<i32>(b, 20) + load<i32>(a, 24) * load<i32>(b, 24) + load<i32>(a, 28) * load<i32>(b, 28);
    part += load<i32>(a, 32) * load<i32>(b, 32) + load<i32>(a, 36) * load<i32>(b, 36) + load<i32>(a, 40) * load<i32>(b, 40) + load<i32>(a, 44) * load<i32>(b, 44);
    part += load<i32>(a, 48) * load<i32>(b, 48) + load<i32>(a, 52) * load<i32>(b, 52) + load<i32>(a, 56) * load<i32>(b, 56) + load<i32>(a, 60) * load<i32>(b, 60);
    sum += <i64>part;
    a += 64;
    b += 64;
  }
  while (a < end) {
    sum += <i64>load<i32>(a) * <i64>load<i32>(b);
    a += 4;
    b += 4;
  }
  return sum;
}
