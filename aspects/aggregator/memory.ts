// Where things lie. Every call of the Aspect gets a fresh, zeroed memory, so nothing is ever cleared or freed at the end.
//
// The compiler places its own constants from MEMORY_BASE on (tools/build_aspects.mjs passes it); below lie fixed buffers, so that their
// addresses are immediate operands. Above the constants, `allocate` hands out the rest: arguments and host results, in place, uncopied.

/** Four i64: what a 2-bit code adds to a sum. */
@inline
export const FACTORS: usize = 0x100;
/** 136 bytes and 8 of slack: the padded last block of a keccak. */
@inline
export const BLOCK: usize = 0x180;
/** A state key with its type header. */
@inline
export const KEY: usize = 0x240;
/** An address or a storage key with its type header. */
@inline
export const ADDRESS: usize = 0x280;
@inline
export const SLOT: usize = 0x2c0;
/** Two words to be hashed. */
@inline
export const PAIR: usize = 0x300;
/** A verdict with its type header, at most 128 bytes. */
@inline
export const VERDICT: usize = 0x380;
/** A reason with its type header, at most 1 KiB. */
@inline
export const REASON: usize = 0x400;
/** T flags: whether a present page holds a weight of the tensor. */
@inline
export const TOUCHED: usize = 0x1000;
/** T + 1 u32: where the tensors begin in the flat vector, and N. */
@inline
export const BOUNDS: usize = 0x4000;
/** T i64: the sum of d^2 of each tensor. */
@inline
export const SQUARES: usize = 0x10000;
/** page_length i64: the sums of the page being merged. */
@inline
export const SUMS: usize = 0x20000;
/** The first byte that is the compiler's. SUMS + 8 * 16384. */
@inline
export const MEMORY_BASE: usize = 0x40000;

/** 160 pages, less slack for whole-word reads that run over the end of what they need. */
const LIMIT: usize = 160 * 65536 - 1024;

let top: usize = __heap_base;

/** The next `size` bytes. The node calls this for each argument and result. Never grows the memory: growing costs 14,336 gas a page. */
export function allocate(size: i32): i32 {
  const pointer = top;
  top = pointer + <usize>size;
  if (top > LIMIT) unreachable();
  return <i32>pointer;
}

/** A mark for `release`. */
export function mark(): usize {
  return top;
}

/** Gives back everything allocated since the mark. */
export function release(to: usize): void {
  top = to;
}
