// The encodings that this Aspect reads: one row in each function. docs/recipes/encoding.md says how to add one.
//
// An encoding says how many bytes a page has, whether bits that mean nothing are zero (`isTidy`), the sum of its squares, and how it is added
// to SUMS. `isEncoding` comes first: the last row of the others answers for what it has let through.

import * as int8 from "./int8";
import * as oneBit from "./one_bit";
import * as twoBits from "./two_bits";

@inline
export function isEncoding(code: u32): bool {
  return code == twoBits.CODE || code == int8.CODE || code == oneBit.CODE;
}

@inline
export function maxShift(code: u32): i32 {
  return code == twoBits.CODE ? twoBits.MAX_SHIFT : code == oneBit.CODE ? oneBit.MAX_SHIFT : int8.MAX_SHIFT;
}

@inline
export function pageBytes(code: u32, count: u32): u32 {
  return code == twoBits.CODE ? twoBits.pageBytes(count) : code == oneBit.CODE ? oneBit.pageBytes(count) : int8.pageBytes(count);
}

@inline
export function isTidy(code: u32, data: usize, count: u32): bool {
  return code == twoBits.CODE ? twoBits.isTidy(data, count) : code == oneBit.CODE ? oneBit.isTidy(data, count) : int8.isTidy(data, count);
}

/** The sum of d^2 of the weights [from, to) of a page. */
@inline
export function squares(code: u32, data: usize, from: u32, to: u32): u64 {
  return code == twoBits.CODE ? twoBits.squares(data, from, to) : code == oneBit.CODE ? oneBit.squares(data, from, to) : int8.squares(data, from, to);
}

/** SUMS[j] += factor * d_j for j in [from, to) of a page. */
@inline
export function add(code: u32, data: usize, from: u32, to: u32, factor: i64): void {
  if (code == twoBits.CODE) twoBits.add(data, from, to, factor);
  else if (code == oneBit.CODE) oneBit.add(data, from, to, factor);
  else int8.add(data, from, to, factor);
}
