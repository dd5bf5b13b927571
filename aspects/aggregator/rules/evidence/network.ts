// The integer forward pass of a multilayer perceptron (linklearner.domain.rules.evidence.network). No host calls.
//
// Tensors W1, b1, W2, b2, ..., W row by row (out, in), int16. Examples lie one behind the other: the inputs, int16, and the label, u16.
// |sum| <= 2^12 2^30 in i64; where the inputs are so small that i32 holds the first layer's sums, it is computed there: 340 instead of 520
// units of metering a multiply-add. A metered block costs 1,106, so the inner loop takes 32 products at a time.

import { boundOf, tensorCount } from "../../shape";
import { crossEntropy } from "./loss";

const MAX_LAYERS: u32 = 8;
const MAX_WIDTH: u32 = 4096;
const MAX_WEIGHTS: u32 = 1 << 17;
const MAX_INPUT_EXPONENT: u32 = 15;
const ACTIVATION_BITS: i32 = 12;

// The network of this call's one task.
export let layerCount: u32 = 0;
let inputExponent: i32 = 0;
let shapeAt: usize = 0;
/** Two rows of activations, and the logits; `useBuffers` says where. */
let rows: usize = 0;
let logitsAt: usize = 0;
let small: bool = false;

/** Bytes that `useBuffers` needs: two rows of int16, and i64 logits. */
export const BUFFER_BYTES: u32 = 2 * 2 * MAX_WIDTH + 8 * MAX_WIDTH;

@inline
function exponentOf(tensor: u32): i32 {
  return <i32>load<i8>(shapeAt + 3 + 5 * tensor, 4);
}

/** Width of layer `layer`'s output, 0 the first layer. */
@inline
export function widthOf(layer: u32): u32 {
  return boundOf(2 * layer + 2) - boundOf(2 * layer + 1);
}

/** Width of the input. */
@inline
export function inputWidth(): u32 {
  return boundOf(1) / widthOf(0);
}

@inline
export function labelCount(): u32 {
  return widthOf(layerCount - 1);
}

/** Bytes of an example. */
@inline
export function exampleBytes(): u32 {
  return 2 * inputWidth() + 2;
}

/** Takes the decoded shape, whose bytes are at `shape`, as a perceptron. Whether it is one that this rule judges. */
export function readNetwork(shape: usize, exponent: u32): bool {
  shapeAt = shape;
  inputExponent = <i32>exponent;
  layerCount = tensorCount >> 1;
  if ((tensorCount & 1) != 0 || layerCount == 0 || layerCount > MAX_LAYERS || exponent > MAX_INPUT_EXPONENT) return false;
  if (boundOf(tensorCount) > MAX_WEIGHTS) return false;
  for (let tensor: u32 = 0; tensor < tensorCount; tensor++) if (exponentOf(tensor) < 0) return false;
  if (boundOf(1) % widthOf(0) != 0) return false;
  let before = inputWidth();
  if (before > MAX_WIDTH) return false;
  for (let layer: u32 = 0; layer < layerCount; layer++) {
    const width = widthOf(layer);
    if (width > MAX_WIDTH || <u64>before * width != <u64>(boundOf(2 * layer + 1) - boundOf(2 * layer))) return false;
    before = width;
  }
  return before >= 2;
}

/** Gas of one example's forward pass, at most: 0.52 a multiply-add, and what metering costs a row and a label. A test measures. */
export function gasOfExample(): u64 {
  let gas: u64 = 100;
  let before = inputWidth();
  for (let layer: u32 = 0; layer < layerCount; layer++) {
    const width = widthOf(layer);
    gas += <u64>width * (20 + ((<u64>before * 5) >> 3) + (before >> 5));
    before = width;
  }
  return gas;
}

/** Whether the labels of `count` examples are all the network's. */
export function labelsFit(examples: usize, count: u32): bool {
  return survey(examples, count);
}

/** Gives the forward pass BUFFER_BYTES to work in. */
export function useBuffers(at: usize): void {
  rows = at;
  logitsAt = at + 4 * MAX_WIDTH;
}

/** Looks at `count` examples: with in * max|x| below 2^16, sums of the first layer fit i32. Whether every label is one of the network's. */
export function survey(examples: usize, count: u32): bool {
  const width = inputWidth();
  const labels = labelCount();
  let most: i32 = 0;
  let at = examples;
  for (let n: u32 = 0; n < count; n++) {
    const end = at + (<usize>width << 1);
    const whole = at + (<usize>(width & ~7) << 1);
    for (; at < whole; at += 16) {
      most |= magnitude(at) | magnitude(at + 2) | magnitude(at + 4) | magnitude(at + 6);
      most |= magnitude(at + 8) | magnitude(at + 10) | magnitude(at + 12) | magnitude(at + 14);
    }
    for (; at < end; at += 2) most |= magnitude(at);
    if (<u32>load<u16>(at) >= labels) return false;
    at += 2;
  }
  // most < 2^p for the least p; |x| <= 2^p
  small = <u64>width << <u64>(32 - clz<u32>(most)) < 1 << 16;
  return true;
}

/** |x|, or of a negative one |x| - 1. */
@inline
function magnitude(at: usize): i32 {
  const x = <i32>load<i16>(at);
  return x ^ (x >> 31);
}

/** The losses of `count` examples by the weights, int16, added up from the last one back; those of the last `fresh` are in `freshLoss`. */
export let freshLoss: i64 = 0;
export function lossOf(weights: usize, examples: usize, count: u32, fresh: u32): i64 {
  const stride = <usize>exampleBytes();
  let total: i64 = 0;
  let at = examples + stride * count;
  let left = fresh;
  for (let n: u32 = 0; n < count; n++) {
    at -= stride;
    total += one(weights, at);
    if (--left == 0) freshLoss = total;
  }
  return total;
}

/** The logits of one example, i64, at the buffer that is answered. */
export function logitsOf(weights: usize, example: usize): usize {
  const last = layerCount - 1;
  let before = inputWidth();
  let source = example;
  let target = rows;
  for (let layer: u32 = 0; layer <= last; layer++) {
    const width = widthOf(layer);
    const places = exponentOf(2 * layer) + (layer == 0 ? inputExponent - ACTIVATION_BITS : 0);
    const biasPlaces = exponentOf(2 * layer + 1) - ACTIVATION_BITS;
    // A shift to the right by p, to the left where p is negative: one of these two is 0, and no branch is needed at each output.
    const right = <i64>max<i32>(places, 0);
    const left = <i64>max<i32>(-places, 0);
    const biasRight = <i64>max<i32>(biasPlaces, 0);
    const biasLeft = <i64>max<i32>(-biasPlaces, 0);
    const row = weights + (<usize>boundOf(2 * layer) << 1);
    const bias = weights + (<usize>boundOf(2 * layer + 1) << 1);
    const narrow = layer == 0 && small;
    const to = layer == last ? logitsAt : target;
    const end = bias + (<usize>width << 1);
    if (layer == last) {
      if (narrow) finalSmall(row, source, before, bias, end, left, right, biasLeft, biasRight);
      else finalWide(row, source, before, bias, end, left, right, biasLeft, biasRight);
    } else {
      if (narrow) hiddenSmall(row, source, before, bias, end, left, right, biasLeft, biasRight, to);
      else hiddenWide(row, source, before, bias, end, left, right, biasLeft, biasRight, to);
      source = target;
      target = target == rows ? rows + 2 * MAX_WIDTH : rows;
      before = width;
    }
  }
  return logitsAt;
}

// Four loops over a layer's outputs that differ in their arithmetic only; chosen once a layer, since a branch is a metered block.

function hiddenSmall(
  row: usize, source: usize, before: u32, bias: usize, end: usize, left: i64, right: i64, biasLeft: i64, biasRight: i64, to: usize,
): void {
  while (bias < end) {
    const value = ((<i64>dot32(row, source, before) << left) >> right) + ((<i64>load<i16>(bias) << biasLeft) >> biasRight);
    store<i16>(to, <i16>min<i64>(max<i64>(value, 0), 32767));
    row += <usize>before << 1;
    bias += 2;
    to += 2;
  }
}

function hiddenWide(
  row: usize, source: usize, before: u32, bias: usize, end: usize, left: i64, right: i64, biasLeft: i64, biasRight: i64, to: usize,
): void {
  while (bias < end) {
    const value = ((dot64(row, source, before) << left) >> right) + ((<i64>load<i16>(bias) << biasLeft) >> biasRight);
    store<i16>(to, <i16>min<i64>(max<i64>(value, 0), 32767));
    row += <usize>before << 1;
    bias += 2;
    to += 2;
  }
}

function finalSmall(
  row: usize, source: usize, before: u32, bias: usize, end: usize, left: i64, right: i64, biasLeft: i64, biasRight: i64,
): void {
  let to = logitsAt;
  while (bias < end) {
    store<i64>(to, ((<i64>dot32(row, source, before) << left) >> right) + ((<i64>load<i16>(bias) << biasLeft) >> biasRight));
    row += <usize>before << 1;
    bias += 2;
    to += 8;
  }
}

function finalWide(
  row: usize, source: usize, before: u32, bias: usize, end: usize, left: i64, right: i64, biasLeft: i64, biasRight: i64,
): void {
  let to = logitsAt;
  while (bias < end) {
    store<i64>(to, ((dot64(row, source, before) << left) >> right) + ((<i64>load<i16>(bias) << biasLeft) >> biasRight));
    row += <usize>before << 1;
    bias += 2;
    to += 8;
  }
}

@inline
function one(weights: usize, example: usize): i64 {
  return crossEntropy(logitsOf(weights, example), labelCount(), <u32>load<u16>(example + (<usize>inputWidth() << 1)));
}

/** The sum of products of `count` int16; the caller knows that it fits. */
function dot32(a: usize, b: usize, count: u32): i32 {
  let sum: i32 = 0;
  const end = a + (<usize>count << 1);
  const wide = a + ((<usize>count & ~31) << 1);
  while (a < wide) {
    sum += <i32>load<i16>(a) * <i32>load<i16>(b) + <i32>load<i16>(a, 2) * <i32>load<i16>(b, 2) + <i32>load<i16>(a, 4) * <i32>load<i16>(b, 4) + <i32>load<i16>(a, 6) * <i32>load<i16>(b, 6);
    sum += <i32>load<i16>(a, 8) * <i32>load<i16>(b, 8) + <i32>load<i16>(a, 10) * <i32>load<i16>(b, 10) + <i32>load<i16>(a, 12) * <i32>load<i16>(b, 12) + <i32>load<i16>(a, 14) * <i32>load<i16>(b, 14);
    sum += <i32>load<i16>(a, 16) * <i32>load<i16>(b, 16) + <i32>load<i16>(a, 18) * <i32>load<i16>(b, 18) + <i32>load<i16>(a, 20) * <i32>load<i16>(b, 20) + <i32>load<i16>(a, 22) * <i32>load<i16>(b, 22);
    sum += <i32>load<i16>(a, 24) * <i32>load<i16>(b, 24) + <i32>load<i16>(a, 26) * <i32>load<i16>(b, 26) + <i32>load<i16>(a, 28) * <i32>load<i16>(b, 28) + <i32>load<i16>(a, 30) * <i32>load<i16>(b, 30);
    sum += <i32>load<i16>(a, 32) * <i32>load<i16>(b, 32) + <i32>load<i16>(a, 34) * <i32>load<i16>(b, 34) + <i32>load<i16>(a, 36) * <i32>load<i16>(b, 36) + <i32>load<i16>(a, 38) * <i32>load<i16>(b, 38);
    sum += <i32>load<i16>(a, 40) * <i32>load<i16>(b, 40) + <i32>load<i16>(a, 42) * <i32>load<i16>(b, 42) + <i32>load<i16>(a, 44) * <i32>load<i16>(b, 44) + <i32>load<i16>(a, 46) * <i32>load<i16>(b, 46);
    sum += <i32>load<i16>(a, 48) * <i32>load<i16>(b, 48) + <i32>load<i16>(a, 50) * <i32>load<i16>(b, 50) + <i32>load<i16>(a, 52) * <i32>load<i16>(b, 52) + <i32>load<i16>(a, 54) * <i32>load<i16>(b, 54);
    sum += <i32>load<i16>(a, 56) * <i32>load<i16>(b, 56) + <i32>load<i16>(a, 58) * <i32>load<i16>(b, 58) + <i32>load<i16>(a, 60) * <i32>load<i16>(b, 60) + <i32>load<i16>(a, 62) * <i32>load<i16>(b, 62);
    a += 64;
    b += 64;
  }
  if (a == end) return sum;
  const narrow = a + ((<usize>count & 24) << 1);
  while (a < narrow) {
    sum += <i32>load<i16>(a) * <i32>load<i16>(b) + <i32>load<i16>(a, 2) * <i32>load<i16>(b, 2) + <i32>load<i16>(a, 4) * <i32>load<i16>(b, 4) + <i32>load<i16>(a, 6) * <i32>load<i16>(b, 6);
    sum += <i32>load<i16>(a, 8) * <i32>load<i16>(b, 8) + <i32>load<i16>(a, 10) * <i32>load<i16>(b, 10) + <i32>load<i16>(a, 12) * <i32>load<i16>(b, 12) + <i32>load<i16>(a, 14) * <i32>load<i16>(b, 14);
    a += 16;
    b += 16;
  }
  while (a < end) {
    sum += <i32>load<i16>(a) * <i32>load<i16>(b);
    a += 2;
    b += 2;
  }
  return sum;
}

/** The sum of products of at most 2^12 int16: within 2^42. */
function dot64(a: usize, b: usize, count: u32): i64 {
  let sum: i64 = 0;
  const end = a + (<usize>count << 1);
  const wide = a + ((<usize>count & ~31) << 1);
  while (a < wide) {
    sum += <i64>load<i16>(a) * <i64>load<i16>(b) + <i64>load<i16>(a, 2) * <i64>load<i16>(b, 2) + <i64>load<i16>(a, 4) * <i64>load<i16>(b, 4) + <i64>load<i16>(a, 6) * <i64>load<i16>(b, 6);
    sum += <i64>load<i16>(a, 8) * <i64>load<i16>(b, 8) + <i64>load<i16>(a, 10) * <i64>load<i16>(b, 10) + <i64>load<i16>(a, 12) * <i64>load<i16>(b, 12) + <i64>load<i16>(a, 14) * <i64>load<i16>(b, 14);
    sum += <i64>load<i16>(a, 16) * <i64>load<i16>(b, 16) + <i64>load<i16>(a, 18) * <i64>load<i16>(b, 18) + <i64>load<i16>(a, 20) * <i64>load<i16>(b, 20) + <i64>load<i16>(a, 22) * <i64>load<i16>(b, 22);
    sum += <i64>load<i16>(a, 24) * <i64>load<i16>(b, 24) + <i64>load<i16>(a, 26) * <i64>load<i16>(b, 26) + <i64>load<i16>(a, 28) * <i64>load<i16>(b, 28) + <i64>load<i16>(a, 30) * <i64>load<i16>(b, 30);
    sum += <i64>load<i16>(a, 32) * <i64>load<i16>(b, 32) + <i64>load<i16>(a, 34) * <i64>load<i16>(b, 34) + <i64>load<i16>(a, 36) * <i64>load<i16>(b, 36) + <i64>load<i16>(a, 38) * <i64>load<i16>(b, 38);
    sum += <i64>load<i16>(a, 40) * <i64>load<i16>(b, 40) + <i64>load<i16>(a, 42) * <i64>load<i16>(b, 42) + <i64>load<i16>(a, 44) * <i64>load<i16>(b, 44) + <i64>load<i16>(a, 46) * <i64>load<i16>(b, 46);
    sum += <i64>load<i16>(a, 48) * <i64>load<i16>(b, 48) + <i64>load<i16>(a, 50) * <i64>load<i16>(b, 50) + <i64>load<i16>(a, 52) * <i64>load<i16>(b, 52) + <i64>load<i16>(a, 54) * <i64>load<i16>(b, 54);
    sum += <i64>load<i16>(a, 56) * <i64>load<i16>(b, 56) + <i64>load<i16>(a, 58) * <i64>load<i16>(b, 58) + <i64>load<i16>(a, 60) * <i64>load<i16>(b, 60) + <i64>load<i16>(a, 62) * <i64>load<i16>(b, 62);
    a += 64;
    b += 64;
  }
  if (a == end) return sum;
  const narrow = a + ((<usize>count & 24) << 1);
  while (a < narrow) {
    sum += <i64>load<i16>(a) * <i64>load<i16>(b) + <i64>load<i16>(a, 2) * <i64>load<i16>(b, 2) + <i64>load<i16>(a, 4) * <i64>load<i16>(b, 4) + <i64>load<i16>(a, 6) * <i64>load<i16>(b, 6);
    sum += <i64>load<i16>(a, 8) * <i64>load<i16>(b, 8) + <i64>load<i16>(a, 10) * <i64>load<i16>(b, 10) + <i64>load<i16>(a, 12) * <i64>load<i16>(b, 12) + <i64>load<i16>(a, 14) * <i64>load<i16>(b, 14);
    a += 16;
    b += 16;
  }
  while (a < end) {
    sum += <i64>load<i16>(a) * <i64>load<i16>(b);
    a += 2;
    b += 2;
  }
  return sum;
}
