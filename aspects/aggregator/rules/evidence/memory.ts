// What public knowledge explains of an update (linklearner.domain.rules.evidence.memory). No host calls: everything lies in memory.
//
// Atoms and updates are within 2^16 and N <= 2^17: a product of two vectors is at most 2^49, and 2^14 times that an unsigned 2^63. Where two
// vectors are so short that sixteen of their products fit an i32, they are added up there: 440 instead of 620 units of metering a product; and
// two updates in two bits are multiplied by counting bits.
//
// What is left of an update changes with each atom that is taken; its products with all others are not computed anew but bounded, from the
// products of the atoms with each other, which all updates of a call share. With what is taken, b_j (orthogonalised) and its coefficient c_j:
//
//     a_i.left <- a_i.left - c_j a_i.b_j        a_i.b_j = a_i.atom_j - sum over k < j of c_jk a_i.b_k        each +- (|a_i|_1 + 2) / 2
//
// since rounding moves no weight by more than a half, and a quotient here by 1. Whoever might still be the best by these bounds is multiplied
// out: the choice is that of exact products.

import { copy20, same20 } from "../../bytes";
import { allocate } from "../../memory";
import { boundOf, tensorCount } from "../../shape";

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

// One atom, 104 bytes: i64 |atom|^2 | u32 where its values lie | u32 whether they are i32, not i16 | u32 bits that each value fits in, the sign
// not counted | u32 where its owners' addresses lie, 20 bytes each | u32 how many owners; a public atom has none | u32 whether it was tried |
// i64 |atom|_1 | u32 its number in the table of products | u32 where its planes lie, 0: it has none | i64 its product with what is left, about |
// 5 x i64 its products with what was taken, about | u64 at most so much, floored, does it explain of what is left.
export const ATOM_BYTES: usize = 104;
export const VALUES: usize = 8;
export const WIDE: usize = 12;
export const BITS: usize = 16;
export const OWNERS: usize = 20;
export const OWNER_COUNT: usize = 24;
const TRIED: usize = 28;
const LENGTH: usize = 32;
const NUMBER: usize = 40;
const PLANES: usize = 44;
const ABOUT: usize = 48;
const PARTS: usize = 56;
const MOST: usize = 96;

/** Coefficients and products beyond these are not used for bounds, so that these stay within 63 bits. */
const MAX_COEFFICIENT: u64 = 1 << 18;
const MAX_PART: i64 = 1 << 44;
/** Products up to this can be squared. */
const MAX_ROOT: u64 = 0xffffffff;
/** Bounds are given up where more than so many atoms and a quarter of all might be the best. */
const FEW: u32 = 4;

/** The products of atoms, u64 2 product + 1, or 0: not known; and how many atoms there is room for. */
let table: usize = 0;
let places: u32 = 0;
let atoms: u32 = 0;

/** Gives room for the products of `count` atoms with each other, 8 count^2 bytes of zeros. Without it nothing is bounded. */
export function useTable(at: usize, count: u32): void {
  table = at;
  places = count;
  atoms = 0;
}

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

// Loops are unrolled: a metered block costs 1,106, about as much as three numbers take.

/** Of the last vector that was measured: the bits that each value fits in, the sign not counted, and the sum of magnitudes. */
let bits: u32 = 0;
let length: i64 = 0;

function measure(vector: usize, wide: bool, count: u32): void {
  let any: i32 = 0;
  let sum: i64 = 0;
  const end = vector + (<usize>count << (wide ? 2 : 1));
  const whole = vector + (<usize>(count & ~7) << (wide ? 2 : 1));
  if (wide) {
    while (vector < whole) {
      let v0 = load<i32>(vector);
      let s0 = v0 >> 31;
      v0 ^= s0;
      let v1 = load<i32>(vector, 4);
      let s1 = v1 >> 31;
      v1 ^= s1;
      let v2 = load<i32>(vector, 8);
      let s2 = v2 >> 31;
      v2 ^= s2;
      let v3 = load<i32>(vector, 12);
      let s3 = v3 >> 31;
      v3 ^= s3;
      let v4 = load<i32>(vector, 16);
      let s4 = v4 >> 31;
      v4 ^= s4;
      let v5 = load<i32>(vector, 20);
      let s5 = v5 >> 31;
      v5 ^= s5;
      let v6 = load<i32>(vector, 24);
      let s6 = v6 >> 31;
      v6 ^= s6;
      let v7 = load<i32>(vector, 28);
      let s7 = v7 >> 31;
      v7 ^= s7;
      any |= v0 | v1 | v2 | v3 | v4 | v5 | v6 | v7;
      sum += <i64>(v0 + v1 + v2 + v3 + v4 + v5 + v6 + v7 - s0 - s1 - s2 - s3 - s4 - s5 - s6 - s7);
      vector += 32;
    }
  } else {
    while (vector < whole) {
      let v0 = <i32>load<i16>(vector);
      let s0 = v0 >> 31;
      v0 ^= s0;
      let v1 = <i32>load<i16>(vector, 2);
      let s1 = v1 >> 31;
      v1 ^= s1;
      let v2 = <i32>load<i16>(vector, 4);
      let s2 = v2 >> 31;
      v2 ^= s2;
      let v3 = <i32>load<i16>(vector, 6);
      let s3 = v3 >> 31;
      v3 ^= s3;
      let v4 = <i32>load<i16>(vector, 8);
      let s4 = v4 >> 31;
      v4 ^= s4;
      let v5 = <i32>load<i16>(vector, 10);
      let s5 = v5 >> 31;
      v5 ^= s5;
      let v6 = <i32>load<i16>(vector, 12);
      let s6 = v6 >> 31;
      v6 ^= s6;
      let v7 = <i32>load<i16>(vector, 14);
      let s7 = v7 >> 31;
      v7 ^= s7;
      any |= v0 | v1 | v2 | v3 | v4 | v5 | v6 | v7;
      sum += <i64>(v0 + v1 + v2 + v3 + v4 + v5 + v6 + v7 - s0 - s1 - s2 - s3 - s4 - s5 - s6 - s7);
      vector += 16;
    }
  }
  while (vector < end) {
    const value = wide ? load<i32>(vector) : <i32>load<i16>(vector);
    const sign = value >> 31;
    any |= value ^ sign;
    sum += <i64>((value ^ sign) - sign);
    vector += wide ? 4 : 2;
  }
  bits = 32 - clz<u32>(any);
  length = sum;
}

/** Makes an atom of `count` values, int16, or i32 where `wide`, without owners. */
export function makeAtom(atom: usize, values: usize, wide: bool, count: u32): void {
  measure(values, wide, count);
  store<u32>(atom, <u32>values, VALUES);
  store<u32>(atom, wide ? 1 : 0, WIDE);
  store<u32>(atom, bits, BITS);
  store<u32>(atom, 0, OWNERS);
  store<u32>(atom, 0, OWNER_COUNT);
  store<i64>(atom, wide ? dot(values, true, bits, values, bits, count) : dotShorts(values, bits, values, bits, count));
  store<i64>(atom, length, LENGTH);
  store<u32>(atom, atoms < places ? atoms++ : places, NUMBER);
  store<u32>(atom, wide ? 0 : <u32>makePlanes(values, count), PLANES);
}

/**
 * The planes of an update whose weights have two magnitudes in each tensor, x and y, as those in two bits: 2 u = (x + y) s + (y - x) t with s and
 * t of 1 or -1. Of each tensor i64 x + y | i64 y - x | for each 64 weights u64 where s is -1, u64 where t is. 0: it is no such update.
 */
function makePlanes(values: usize, count: u32): usize {
  if (tensorCount == 0 || boundOf(tensorCount) != count) return 0;
  let bytes: u32 = 0;
  for (let tensor: u32 = 0; tensor < tensorCount; tensor++) {
    bytes += 16 + (((boundOf(tensor + 1) - boundOf(tensor) + 63) >> 6) << 4);
  }
  const planes = <usize>allocate(bytes);
  let to = planes;
  for (let tensor: u32 = 0; tensor < tensorCount; tensor++) {
    let at = values + (<usize>boundOf(tensor) << 1);
    const end = values + (<usize>boundOf(tensor + 1) << 1);
    const one = magnitude(at);
    let other = one;
    for (let next = at; next < end && other == one; next += 2) other = magnitude(next);
    store<i64>(to, <i64>(one + other));
    store<i64>(to, <i64>(other - one), 8);
    to += 16;
    foreign = 0;
    const same = other == one;
    while (at < end) {
      let signs: u64 = 0;
      let ones: u64 = 0;
      const stop = min<usize>(at + 128, end);
      const whole = at + ((stop - at) & ~15);
      let bit: u64 = 0;
      for (; at < whole; at += 16) {
        const a = split(at, one, other);
        const b = split(at + 2, one, other);
        const c = split(at + 4, one, other);
        const d = split(at + 6, one, other);
        const e = split(at + 8, one, other);
        const f = split(at + 10, one, other);
        const g = split(at + 12, one, other);
        const h = split(at + 14, one, other);
        // A split has the sign in bit 0 and whether it is `one` in bit 16.
        const all = a | (b << 1) | (c << 2) | (d << 3) | (e << 4) | (f << 5) | (g << 6) | (h << 7);
        signs |= <u64>(all & 0xffff) << bit;
        ones |= <u64>(all >> 16) << bit;
        bit += 8;
      }
      for (; at < stop; at += 2) {
        const a = split(at, one, other);
        signs |= <u64>(a & 0xffff) << bit;
        ones |= <u64>(a >> 16) << bit;
        bit += 1;
      }
      store<u64>(to, signs);
      store<u64>(to, same ? signs : signs ^ ones, 8);
      to += 16;
    }
    if (foreign != 0) return 0;
  }
  return planes;
}

/** Not 0 once a weight was neither of the two magnitudes. */
let foreign: i32 = 0;

@inline
function split(at: usize, one: i32, other: i32): u32 {
  const value = <i32>load<i16>(at);
  const size = (value ^ (value >> 31)) - (value >> 31);
  foreign |= (size - one) * (size - other);
  return (<u32>value >> 31) | (<u32>(size == one) << 16);
}

@inline
function magnitude(at: usize): i32 {
  const value = <i32>load<i16>(at);
  return (value ^ (value >> 31)) - (value >> 31);
}

/** The product of two updates by their planes. */
function dotPlanes(a: usize, b: usize): i64 {
  let total: i64 = 0;
  for (let tensor: u32 = 0; tensor < tensorCount; tensor++) {
    const size = <i64>(boundOf(tensor + 1) - boundOf(tensor));
    const end = a + 16 + (((<usize>size + 63) >> 6) << 4);
    const aSum = load<i64>(a);
    const aGap = load<i64>(a, 8);
    const bSum = load<i64>(b);
    const bGap = load<i64>(b, 8);
    let ss: i64 = 0;
    let st: i64 = 0;
    let ts: i64 = 0;
    let tt: i64 = 0;
    a += 16;
    b += 16;
    while (a < end) {
      const s = load<u64>(a);
      const t = load<u64>(a, 8);
      ss += popcnt<u64>(s ^ load<u64>(b));
      st += popcnt<u64>(s ^ load<u64>(b, 8));
      ts += popcnt<u64>(t ^ load<u64>(b));
      tt += popcnt<u64>(t ^ load<u64>(b, 8));
      a += 16;
      b += 16;
    }
    total += aSum * (bSum * (size - 2 * ss) + bGap * (size - 2 * st)) + aGap * (bSum * (size - 2 * ts) + bGap * (size - 2 * tt));
  }
  return total >> 2; // exactly: four times the product
}

/** The product of two atoms, from the table where it is known. */
function between(a: usize, b: usize, count: u32): i64 {
  const row = load<u32>(a, NUMBER);
  const column = load<u32>(b, NUMBER);
  if (row >= places || column >= places) return productOf(a, b, count);
  const at = table + ((<usize>max<u32>(row, column) * places + min<u32>(row, column)) << 3);
  const known = load<i64>(at);
  if (known != 0) return known >> 1;
  const product = productOf(a, b, count);
  store<i64>(at, (product << 1) | 1);
  return product;
}

function productOf(a: usize, b: usize, count: u32): i64 {
  const aPlanes = <usize>load<u32>(a, PLANES);
  const bPlanes = <usize>load<u32>(b, PLANES);
  if (aPlanes != 0 && bPlanes != 0) return dotPlanes(aPlanes, bPlanes);
  const aValues = <usize>load<u32>(a, VALUES);
  const bValues = <usize>load<u32>(b, VALUES);
  const aBits = load<u32>(a, BITS);
  const bBits = load<u32>(b, BITS);
  if (load<u32>(b, WIDE) != 0) return dot(aValues, load<u32>(a, WIDE) != 0, aBits, bValues, bBits, count);
  if (load<u32>(a, WIDE) != 0) return dot(bValues, false, bBits, aValues, aBits, count);
  return dotShorts(aValues, aBits, bValues, bBits, count);
}

/** The product of `count` values at a, i32 where `wide`, with as many i32 at b; `aBits`, `bBits`: what they fit in. */
function dot(a: usize, wide: bool, aBits: u32, b: usize, bBits: u32, count: u32): i64 {
  if (aBits + bBits <= SMALL_BITS) return wide ? dotWideSmall(a, b, count) : dotNarrowSmall(a, b, count);
  return wide ? dotWide(a, b, count) : dotNarrow(a, b, count);
}

/**
 * What the atoms leave of the update u, whose atom is `update`: i32 at `left`. `list`: u32 addresses of the `listed` atoms that count, the public
 * ones first; `work`: room for ATOMS vectors of i32, ATOMS i64 and as many u32 behind them, and 8 bytes to run over. The variables above say the rest.
 */
export function project(update: usize, list: usize, listed: u32, count: u32, left: usize, work: usize): void {
  const bytes = <usize>count << 2;
  const squares = work + ((<usize>ATOMS * bytes + 7) & ~7);
  const fits = squares + 8 * ATOMS;
  const end = list + (<usize>listed << 2);
  widen(update, left, count);
  const square = load<i64>(update);
  let leftBits = load<u32>(update, BITS);
  let taken: u32 = 0;
  first = -1;
  mostlyFirst = false;
  beginBounds();
  for (let at = list; at < end; at += 4) {
    const atom = <usize>load<u32>(at);
    store<u32>(atom, load<i64>(atom) == 0 ? 1 : 0, TRIED);
    store<i64>(atom, between(update, atom, count), ABOUT);
  }
  for (let turn: u32 = 0; turn < ATOMS; turn++) {
    const place = bestOf(list, end, turn == 0, left, leftBits, count);
    if (place == 0) break;
    const best = <usize>load<u32>(place);
    store<u32>(best, 1, TRIED);
    if (turn == 0) {
      first = <i32>((place - list) >> 2);
      mostlyFirst = isQuarter(bestProduct, <u64>load<i64>(best), <u64>square);
    }
    const vector = work + <usize>taken * bytes;
    widen(best, vector, count);
    let fit = load<u32>(best, BITS);
    for (let part: u32 = 0; part < taken; part++) {
      fit = without(vector, fit, work + <usize>part * bytes, load<u32>(fits + (part << 2)), load<i64>(squares + (<usize>part << 3)), count);
      noteOverlap(part);
    }
    const rest = taken == 0 ? load<i64>(best) : dot(vector, true, fit, vector, fit, count);
    if (rest * LOST_FACTOR <= load<i64>(best)) continue;
    store<i64>(squares + (<usize>taken << 3), rest);
    store<u32>(fits + (taken << 2), fit);
    leftBits = without(left, leftBits, vector, fit, rest, count);
    if (turn + 1 < ATOMS) boundAll(list, end, best, taken, count);
    taken++;
  }
  copy = COPY_FACTOR * dot(left, true, leftBits, left, leftBits, count) < square;
}

/** The magnitude of the best atom's product with what is left. */
let bestProduct: u64 = 0;

/**
 * Where the atom that explains most of what is left stands in the list, the first of equal ones; 0: none explains anything. Floors of squared
 * products over squares say who might be the best; these are multiplied out and compared exactly. `known`: the products are exact as they are.
 */
function bestOf(list: usize, end: usize, known: bool, left: usize, leftBits: u32, count: u32): usize {
  let least: u64 = 0;
  if (known || bounded) {
    for (let at = list; at < end; at += 4) {
      const atom = <usize>load<u32>(at);
      if (load<u32>(atom, TRIED) != 0) continue;
      const size = sizeOf(load<i64>(atom, ABOUT));
      const off = known ? 0 : slackOf(atom);
      const low = size > off ? <u64>min<u64>(size - off, MAX_ROOT) : 0;
      const high = min<u64>(size + off, MAX_ROOT);
      const own = load<u64>(atom);
      least = max<u64>(least, low * low / own);
      store<u64>(atom, size + off > MAX_ROOT ? u64.MAX_VALUE : high * high / own, MOST);
    }
  }
  let best: usize = 0;
  let bestOwn: u64 = 1;
  let multiplied: u32 = 0;
  bestProduct = 0;
  for (let at = list; at < end; at += 4) {
    const atom = <usize>load<u32>(at);
    if (load<u32>(atom, TRIED) != 0) continue;
    if (known || bounded) if (load<u64>(atom, MOST) < least) continue;
    multiplied++;
    const product = known
      ? load<i64>(atom, ABOUT)
      : dot(<usize>load<u32>(atom, VALUES), load<u32>(atom, WIDE) != 0, load<u32>(atom, BITS), left, leftBits, count);
    const size = sizeOf(product);
    if (!isAbove(size, load<u64>(atom), bestProduct, bestOwn)) continue;
    best = at;
    bestProduct = size;
    bestOwn = load<u64>(atom);
  }
  // Where nothing stands out, bounds cost more than they spare.
  if (!known && multiplied > <u32>((end - list) >> 4) + FEW) bounded = false;
  return best;
}

@inline
function sizeOf(value: i64): u64 {
  return <u64>((value ^ (value >> 63)) - (value >> 63));
}

// Bounds. `slack`: of (|a_i|_1 + 2), Q14, by how much a product with what is left may be off; `partSlack`: the same of what was taken; `overlaps`:
// the coefficients with which the last atom was orthogonalised.
let bounded: bool = false;
let slack: u64 = 0;
const partSlack = memory.data(40, 8);
const overlaps = memory.data(40, 8);

@inline
function slackOf(atom: usize): u64 {
  return ((<u64>load<i64>(atom, LENGTH) + 2) * slack >> 14) + 1;
}

function beginBounds(): void {
  bounded = table != 0;
  slack = 0;
}

/** The last atom was orthogonalised against part `part`. */
function noteOverlap(part: u32): void {
  store<i64>(overlaps + (<usize>part << 3), coefficient);
  if (sizeOf(coefficient) > MAX_COEFFICIENT) bounded = false;
}

/** An atom was taken as part `part`, and its part subtracted from what is left: what is known of the others' products follows. */
function boundAll(list: usize, end: usize, best: usize, part: u32, count: u32): void {
  if (sizeOf(coefficient) > MAX_COEFFICIENT) bounded = false;
  if (!bounded) return;
  let own: u64 = <u64>part << 13;
  for (let k: u32 = 0; k < part; k++) {
    own += (sizeOf(load<i64>(overlaps + (<usize>k << 3))) * load<u64>(partSlack + (<usize>k << 3)) >> 14) + 1;
  }
  store<u64>(partSlack + (<usize>part << 3), own);
  slack += 8192 + (sizeOf(coefficient) * own >> 14) + 1;
  if (slack > MAX_COEFFICIENT) bounded = false;
  for (let at = list; at < end; at += 4) {
    const atom = <usize>load<u32>(at);
    if (load<u32>(atom, TRIED) != 0) continue;
    let product = between(best, atom, count);
    for (let k: u32 = 0; k < part; k++) {
      product -= load<i64>(overlaps + (<usize>k << 3)) * load<i64>(atom + PARTS + (<usize>k << 3)) >> 14;
    }
    if (product >= MAX_PART || product <= -MAX_PART) {
      bounded = false;
      return;
    }
    store<i64>(atom + PARTS + (<usize>part << 3), product);
    store<i64>(atom, load<i64>(atom, ABOUT) - (coefficient * product >> 14), ABOUT);
  }
}

/** `count` values of an atom as i32. */
function widen(atom: usize, to: usize, count: u32): void {
  let from = <usize>load<u32>(atom, VALUES);
  const end = to + (<usize>count << 2);
  if (load<u32>(atom, WIDE) != 0) {
    const whole = to + (<usize>(count & ~15) << 2);
    while (to < whole) {
      store<u64>(to, load<u64>(from));
      store<u64>(to, load<u64>(from, 8), 8);
      store<u64>(to, load<u64>(from, 16), 16);
      store<u64>(to, load<u64>(from, 24), 24);
      store<u64>(to, load<u64>(from, 32), 32);
      store<u64>(to, load<u64>(from, 40), 40);
      store<u64>(to, load<u64>(from, 48), 48);
      store<u64>(to, load<u64>(from, 56), 56);
      to += 64;
      from += 64;
    }
    for (; to < end; to += 4) {
      store<u32>(to, load<u32>(from));
      from += 4;
    }
    return;
  }
  const whole = to + (<usize>(count & ~7) << 2);
  while (to < whole) {
    store<i32>(to, <i32>load<i16>(from));
    store<i32>(to, <i32>load<i16>(from, 2), 4);
    store<i32>(to, <i32>load<i16>(from, 4), 8);
    store<i32>(to, <i32>load<i16>(from, 6), 12);
    store<i32>(to, <i32>load<i16>(from, 8), 16);
    store<i32>(to, <i32>load<i16>(from, 10), 20);
    store<i32>(to, <i32>load<i16>(from, 12), 24);
    store<i32>(to, <i32>load<i16>(from, 14), 28);
    to += 32;
    from += 16;
  }
  for (; to < end; to += 4) {
    store<i32>(to, <i32>load<i16>(from));
    from += 2;
  }
}

/** The coefficient of the last `without`, Q14. */
let coefficient: i64 = 0;

/**
 * Takes its projection on `part`, whose square is `square` > 0, away from a vector, both `count` i32 that fit `partBits` and `fit`. Coefficient and
 * products are rounded to nearest, ties away from zero. Answers with the bits that the vector fits in afterwards.
 */
function without(vector: usize, fit: u32, part: usize, partBits: u32, square: i64, count: u32): u32 {
  const product = dot(vector, true, fit, part, partBits, count);
  const sign = product >> 63;
  const size = ((<u64>((product ^ sign) - sign) << COEFFICIENT_BITS) + (<u64>square >> 1)) / <u64>square;
  coefficient = (<i64>size ^ sign) - sign;
  if (coefficient == 0) return fit;
  let any: u32 = 0;
  const end = vector + (<usize>count << 2);
  const whole = vector + ((<usize>count & ~7) << 2);
  if (partBits + 64 - <u32>clz<u64>(size) < 31) {
    const narrow = <i32>coefficient;
    while (vector < whole) {
      any |= lessenNarrow(vector, load<i32>(part) * narrow);
      any |= lessenNarrow(vector + 4, load<i32>(part, 4) * narrow);
      any |= lessenNarrow(vector + 8, load<i32>(part, 8) * narrow);
      any |= lessenNarrow(vector + 12, load<i32>(part, 12) * narrow);
      any |= lessenNarrow(vector + 16, load<i32>(part, 16) * narrow);
      any |= lessenNarrow(vector + 20, load<i32>(part, 20) * narrow);
      any |= lessenNarrow(vector + 24, load<i32>(part, 24) * narrow);
      any |= lessenNarrow(vector + 28, load<i32>(part, 28) * narrow);
      vector += 32;
      part += 32;
    }
  }
  const factor = coefficient; // a local is cheaper to read
  while (vector < end) {
    any |= lessen(vector, <i64>load<i32>(part) * factor);
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

@inline
function lessenNarrow(at: usize, fine: i32): u32 {
  const value = load<i32>(at) - ((fine + (fine >> 31) + 8192) >> <i32>COEFFICIENT_BITS);
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

/** The product of `count` int16 at a and b. */
function dotShorts(a: usize, aBits: u32, b: usize, bBits: u32, count: u32): i64 {
  let sum: i64 = 0;
  const end = a + (<usize>count << 1);
  const whole = a + ((<usize>count & ~15) << 1);
  if (aBits + bBits <= SMALL_BITS) {
    while (a < whole) {
      let part = <i32>load<i16>(a) * <i32>load<i16>(b) + <i32>load<i16>(a, 2) * <i32>load<i16>(b, 2) + <i32>load<i16>(a, 4) * <i32>load<i16>(b, 4) + <i32>load<i16>(a, 6) * <i32>load<i16>(b, 6);
      part += <i32>load<i16>(a, 8) * <i32>load<i16>(b, 8) + <i32>load<i16>(a, 10) * <i32>load<i16>(b, 10) + <i32>load<i16>(a, 12) * <i32>load<i16>(b, 12) + <i32>load<i16>(a, 14) * <i32>load<i16>(b, 14);
      part += <i32>load<i16>(a, 16) * <i32>load<i16>(b, 16) + <i32>load<i16>(a, 18) * <i32>load<i16>(b, 18) + <i32>load<i16>(a, 20) * <i32>load<i16>(b, 20) + <i32>load<i16>(a, 22) * <i32>load<i16>(b, 22);
      part += <i32>load<i16>(a, 24) * <i32>load<i16>(b, 24) + <i32>load<i16>(a, 26) * <i32>load<i16>(b, 26) + <i32>load<i16>(a, 28) * <i32>load<i16>(b, 28) + <i32>load<i16>(a, 30) * <i32>load<i16>(b, 30);
      sum += <i64>part;
      a += 32;
      b += 32;
    }
  } else {
    while (a < whole) {
      sum += <i64>load<i16>(a) * <i64>load<i16>(b) + <i64>load<i16>(a, 2) * <i64>load<i16>(b, 2) + <i64>load<i16>(a, 4) * <i64>load<i16>(b, 4) + <i64>load<i16>(a, 6) * <i64>load<i16>(b, 6);
      sum += <i64>load<i16>(a, 8) * <i64>load<i16>(b, 8) + <i64>load<i16>(a, 10) * <i64>load<i16>(b, 10) + <i64>load<i16>(a, 12) * <i64>load<i16>(b, 12) + <i64>load<i16>(a, 14) * <i64>load<i16>(b, 14);
      sum += <i64>load<i16>(a, 16) * <i64>load<i16>(b, 16) + <i64>load<i16>(a, 18) * <i64>load<i16>(b, 18) + <i64>load<i16>(a, 20) * <i64>load<i16>(b, 20) + <i64>load<i16>(a, 22) * <i64>load<i16>(b, 22);
      sum += <i64>load<i16>(a, 24) * <i64>load<i16>(b, 24) + <i64>load<i16>(a, 26) * <i64>load<i16>(b, 26) + <i64>load<i16>(a, 28) * <i64>load<i16>(b, 28) + <i64>load<i16>(a, 30) * <i64>load<i16>(b, 30);
      a += 32;
      b += 32;
    }
  }
  while (a < end) {
    sum += <i64>load<i16>(a) * <i64>load<i16>(b);
    a += 2;
    b += 2;
  }
  return sum;
}
