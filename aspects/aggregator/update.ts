// An update's header and pages (linklearner.domain.update), read in place. No host calls: the checks answer with a code, index.ts says why.
// header: u8 1 | u8 encoding | u64 task | u64 base | T x i8 shift | ceil(P/8) bytes of bitmap.

import { be64 } from "./bytes";
import { isEncoding, isTidy, maxShift, squares } from "./encodings/table";
import { SQUARES, TOUCHED } from "./memory";
import { boundOf, countIn, pageCount, pageLength, tensorCount } from "./shape";

const SHIFTS: usize = 18;
export const MIN_SHIFT: i32 = -8;
/** Squared norms below this are refused, one weight by one step: norms count in 2^-8 steps. */
export const MIN_SQUARED_NORM: u64 = 1 << 16;
/** Squared norms beyond this are refused: 2^62. */
export const MAX_SQUARED_NORM: u64 = 1 << 62;

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

/** Whether format, encoding and the bitmap's unused bits are as they must be. `header` has headerBytes() bytes. */
export function isHeader(header: usize): bool {
  if (load<u8>(header) != 1) return false;
  if (!isEncoding(encodingOf(header))) return false;
  const unused = pageCount & 7;
  return unused == 0 || load<u8>(header + tensorCount + (pageCount >> 3), SHIFTS) >> <u8>unused == 0;
}

/** Forgets the squares of another update. */
export function clearSquares(): void {
  for (let tensor: u32 = 0; tensor < tensorCount; tensor++) store<u64>(SQUARES + (tensor << 3), 0);
}

/** Adds the page's squares to SQUARES and marks its tensors, the first of which is `first`, at TOUCHED. Whether the page is canonical. */
export function measurePage(encoding: u32, page: u32, first: u32, data: usize): bool {
  const start = page * pageLength;
  const count = countIn(page);
  if (!isTidy(encoding, data, count)) return false;
  let any: u64 = 0;
  let from: u32 = 0;
  for (let tensor = first; from < count; tensor++) {
    const to = min<u32>(boundOf(tensor + 1) - start, count);
    const more = squares(encoding, data, from, to);
    const sum = SQUARES + (tensor << 3);
    store<u64>(sum, load<u64>(sum) + more);
    store<u8>(TOUCHED + tensor, 1);
    any |= more;
    from = to;
  }
  return any != 0;
}

/** Whether every shift lies in the encoding's range, and is 0 where no page touches the tensor. */
export function areShifts(header: usize): bool {
  const most = maxShift(encodingOf(header));
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
