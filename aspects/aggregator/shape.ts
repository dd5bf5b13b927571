// The shape of a task (linklearner.domain.shape): tensors, pages, settlement groups, norm bound.
// u8 1 | u16 T | T x (u32 length, i8 q) | u32 page_length | u32 group_pages | u64 norm_bound, big-endian.

import { be16, be32, be64 } from "./bytes";
import { BOUNDS } from "./memory";

// The same bounds as in Python; they keep every sum inside 63 bits and the tables inside their buffers (memory.ts).
const MAX_TENSORS: u32 = 4096;
const MAX_WEIGHTS: u64 = 1 << 28;
const MIN_PAGE_LENGTH: u32 = 4;
const MAX_PAGE_LENGTH: u32 = 16384;
const MAX_PAGES: u32 = 1 << 16;
const MAX_GROUP_PAGES: u32 = 1 << 16;
const MAX_GROUPS: u32 = 1 << 13;
const MIN_EXPONENT: i32 = -8;
const MAX_EXPONENT: i32 = 24;
const MAX_NORM_BOUND: u64 = 1 << 31;

const HEAD: u32 = 3;
const TENSOR: u32 = 5;
const TAIL: u32 = 16;

// The decoded shape of this call's one task; the tensors' starts are at BOUNDS.
export let tensorCount: u32 = 0;
export let weightCount: u32 = 0;
export let pageLength: u32 = 0;
export let pageCount: u32 = 0;
export let groupPages: u32 = 0;
export let groupCount: u32 = 0;
export let normBound: u64 = 0;

/** Decodes and checks a shape. Whether it is one. */
export function decodeShape(at: usize, length: u32): bool {
  if (length < HEAD || load<u8>(at) != 1) return false;
  tensorCount = be16(at + 1);
  if (tensorCount == 0 || tensorCount > MAX_TENSORS || length != HEAD + TENSOR * tensorCount + TAIL) return false;
  let sum: u64 = 0;
  let tensor = at + HEAD;
  for (let t: u32 = 0; t < tensorCount; t++) {
    const weights = <u64>be32(tensor);
    const exponent = <i32>load<i8>(tensor, 4);
    if (weights == 0 || weights > MAX_WEIGHTS || exponent < MIN_EXPONENT || exponent > MAX_EXPONENT) return false;
    store<u32>(BOUNDS + (t << 2), <u32>sum);
    sum += weights;
    if (sum > MAX_WEIGHTS) return false;
    tensor += TENSOR;
  }
  weightCount = <u32>sum;
  store<u32>(BOUNDS + (tensorCount << 2), weightCount);
  pageLength = be32(tensor);
  groupPages = be32(tensor + 4);
  normBound = be64(tensor + 8);
  if (pageLength < MIN_PAGE_LENGTH || pageLength > MAX_PAGE_LENGTH || (pageLength & 3) != 0) return false;
  if (groupPages == 0 || groupPages > MAX_GROUP_PAGES) return false;
  if (normBound == 0 || normBound > MAX_NORM_BOUND) return false;
  pageCount = (weightCount + pageLength - 1) / pageLength;
  groupCount = (pageCount + groupPages - 1) / groupPages;
  return pageCount <= MAX_PAGES && groupCount <= MAX_GROUPS;
}

/** Number of weights in a page: all pages are full but perhaps the last. */
@inline
export function countIn(page: u32): u32 {
  return min<u32>(pageLength, weightCount - page * pageLength);
}

/** Where tensor t begins in the flat vector; for t = T its end. */
@inline
export function boundOf(tensor: u32): u32 {
  return load<u32>(BOUNDS + (tensor << 2));
}

/** The first tensor, from `from` on, that ends behind `position`. */
export function tensorAt(position: u32, from: u32): u32 {
  while (boundOf(from + 1) <= position) from++;
  return from;
}
