// An update's header and pages (linklearner.domain.update), read in place. No host calls: the checks answer with a code, index.ts says why.
// header: u8 1 | u8 encoding | u64 task | u64 base | T x i8 shift | ceil(P/8) bytes of bitmap.

import { be64 } from "./bytes";
import { SQUARES, TOUCHED } from "./memory";
import { boundOf, countIn, pageCount, pageLength, tensorCount } from "./shape";

const SHIFTS: usize = 18;
export const TWO_BITS: u32 = 2;
export const INT8: u32 = 8;
export const MIN_SHIFT: i32 = -8;
/** Squared norms beyond this are refused: 2^62. */
export const MAX_SQUARED_NORM: u64 = 1 << 62;
const SCALE_BITS: u64 = 24;

/** Bytes of a header for the decoded shape. */
@inline
export function headerBytes(): u32 {
  return <u32>SHIFTS + tensorCount + ((pageCount + 7) >> 3);
}

@inline
export function encodingOf(header: usize): u32 {
  return <u32>load<u8>(header, 1);
}

@inline
export function taskOf(header: usize): u64 {
  return be64(header + 2);
}

@inline
export function baseOf(header: usize): u64 {
  return be64(header + 10);
}

@inline
export function shiftOf(header: usize, tensor: u32): i32 {
  return <i32>load<i8>(header + tensor, SHIFTS);
}

/** Whether the page is present. */
@inline
export function hasPage(header: usize, page: u32): bool {
  return <bool>((load<u8>(header + tensorCount + (page >> 3), SHIFTS) >> (page & 7)) & 1);
}

/** Bytes of a page of `count` weights. */
@inline
export function pageBytes(encoding: u32, count: u32): u32 {
  return encoding == TWO_BITS ? (count + 3) >> 2 : count;
}

/** Whether format, encoding and the bitmap's unused bits are as they must be. `header` has headerBytes() bytes. */
export function isHeader(header: usize): bool {
  if (load<u8>(header) != 1) return false;
  const encoding = encodingOf(header);
  if (encoding != TWO_BITS && encoding != INT8) return false;
  const unused = pageCount & 7;
  return unused == 0 || load<u8>(header + tensorCount + (pageCount >> 3), SHIFTS) >> <u8>unused == 0;
}

/** Adds the page's squares to SQUARES and marks its tensors, the first of which is `first`, at TOUCHED. Whether the page is canonical. */
export function measurePage(encoding: u32, page: u32, first: u32, data: usize): bool {
  const start = page * pageLength;
  const count = countIn(page);
  if (encoding == TWO_BITS && (count & 3) != 0 && load<u8>(data + (count >> 2)) >> <u8>((count & 3) << 1) != 0) return false;
  let any: u64 = 0;
  let from: u32 = 0;
  for (let tensor = first; from < count; tensor++) {
    const to = min<u32>(boundOf(tensor + 1) - start, count);
    const squares = encoding == TWO_BITS ? squaresOfTwoBits(data, from, to) : squaresOfBytes(data + from, to - from);
    const sum = SQUARES + (tensor << 3);
    store<u64>(sum, load<u64>(sum) + squares);
    store<u8>(TOUCHED + tensor, 1);
    any |= squares;
    from = to;
  }
  return any != 0; // a 2-bit weight is never 0
}

/**
 * The sum of d^2 of the 2-bit weights [from, to) of a page. Codes 0 and 3 are 9, codes 1 and 2 are 1: with u the number of weights whose two
 * bits differ, it is 9 (to - from) - 8 u. 32 weights at a time; what a word holds outside the range is masked away.
 */
export function squaresOfTwoBits(data: usize, from: u32, to: u32): u64 {
  const last = (to - 1) >> 5;
  let word = from >> 5;
  let mask: u64 = 0x5555555555555555 << (<u64>(from & 31) << 1);
  let unequal: u64 = 0;
  for (; word < last; word++) {
    const codes = load<u64>(data + (word << 3));
    unequal += popcnt<u64>((codes ^ (codes >> 1)) & mask);
    mask = 0x5555555555555555;
  }
  mask &= 0x5555555555555555 >> (<u64>(31 - ((to - 1) & 31)) << 1);
  const codes = load<u64>(data + (word << 3));
  unequal += popcnt<u64>((codes ^ (codes >> 1)) & mask);
  return 9 * <u64>(to - from) - (unequal << 3);
}

/** The sum of squares of `count` int8; at most 2^14 of them: fits 28 bits. */
export function squaresOfBytes(data: usize, count: u32): u64 {
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

/** Whether every shift lies in the encoding's range, and is 0 where no page touches the tensor. */
export function areShifts(header: usize): bool {
  const most = encodingOf(header) == TWO_BITS ? 13 : 8;
  for (let tensor: u32 = 0; tensor < tensorCount; tensor++) {
    const shift = shiftOf(header, tensor);
    if (shift < MIN_SHIFT || shift > most || (shift != 0 && load<u8>(TOUCHED + tensor) == 0)) return false;
  }
  return true;
}

/**
 * n2 = the sum of squares * 2^(2 (shift + 8)), or a number above MAX_SQUARED_NORM if it is above. The shifts have been checked.
 * Each tensor's sum is at most 2^28 * 2^14 = 2^42; it is compared before it is shifted, and both summands are at most 2^62.
 */
export function squaredNorm(header: usize): u64 {
  let total: u64 = 0;
  for (let tensor: u32 = 0; tensor < tensorCount; tensor++) {
    const places = <u64>((shiftOf(header, tensor) - MIN_SHIFT) << 1);
    const squares = load<u64>(SQUARES + (tensor << 3));
    if (squares > MAX_SQUARED_NORM >> places) return MAX_SQUARED_NORM + 1;
    total += squares << places;
    if (total > MAX_SQUARED_NORM) return total;
  }
  return total;
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
