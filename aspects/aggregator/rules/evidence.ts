// Rule `evidence` (linklearner.domain.rules.evidence): an update is merged if it helps on examples that its author could not know.
//
// All is decided at settlement, at one base, of the whole model at once; what is computed on memory alone is in evidence/,
// and so is pay for rounds that were settled before (evidence/pay.ts).

import { HEADER, TYPE_BYTES, copyOver, lengthOf, putBe32, putHeader } from "../bytes";
import { encodingOf, hasPage, clearSquares, measurePage, squaredNorm } from "../update";
import { pageBytes } from "../encodings/table";
import { stateGet, stateSet } from "../host";
import { keccak256 } from "../keccak";
import { SUMS, allocate } from "../memory";
import { eligible, inputExponent, openedBatches, openedExamples, readExampleSet, readRecord } from "../pool";
import { refuseNumbers } from "../refuse";
import { CONTRIBUTOR, EFFECTIVE, END, NEXT, RECORD } from "../settlement";
import { countIn, normBound, pageCount, pageLength, tensorAt, weightCount } from "../shape";
import { DIGEST_BYTES, batchKey, pageKey, readPage } from "../state";
import * as sums from "../sums";
import { GAIN, MOVES, OUTCOME, RECORD as BEFORE, STEPS, VERDICT_BYTES, halvings, judge, scaleOf, wholeSteps } from "./evidence/judge";
import { BUFFER_BYTES, exampleBytes, readNetwork, survey, useBuffers } from "./evidence/network";

export { saturated } from "./evidence/judge";
export { exampleBytes, gasOfExample, labelsFit, readNetwork } from "./evidence/network";

export const NUMBER: u32 = 2;
/** Bytes of an update's part of the pool's verdict: gain 4 | record 4 | outcome 1. */
export const JUDGED_BYTES: u32 = 9;

/** The verdict at submission: all of its influence, whatever its length, which counts at settlement. */
@inline
export function verdict(weight: u64): u64 {
  return weight;
}

/** Keeps a batch of examples, `length` bytes at `examples`, which lie behind bytes that are spent. */
export function keepBatch(task: u32, batch: u32, examples: usize, length: u32): void {
  putHeader(examples - HEADER, TYPE_BYTES, length);
  stateSet(batchKey(task, batch), examples - HEADER);
}

/** Weights of the whole model, int16, with the state values that they were read from: P u32. */
let values: usize = 0;

/**
 * Settles the round of the task whose shape's bytes are at `shape`, and writes the pages that change. `records`: of `count` updates. What the
 * pool wants to know of each update is put at `verdicts`; the digests of all pages at `digests`.
 */
export function settle(task: u32, shape: usize, records: usize, count: u32, verdicts: usize, digests: usize): void {
  readExampleSet(task);
  if (openedBatches == 0 || !readNetwork(shape, inputExponent)) {
    refuseNumbers("ExamplesNotOpened: task ", task, " has ", openedBatches, " batches of examples opened; open the round's first");
  }
  const examples = gatherExamples(task);
  const base = gatherWeights(task);
  const result = room(weightCount << 1);
  const scratch = room(weightCount << 3);
  useBuffers(room(BUFFER_BYTES));
  const judged = room(count * <u32>VERDICT_BYTES);
  for (let i: u32 = 0; i < count; i++) {
    const record = records + <usize>i * RECORD;
    const one = judged + <usize>i * VERDICT_BYTES;
    const steps = room(weightCount << 1);
    store<u64>(one, load<u64>(record, EFFECTIVE));
    store<i32>(one, readRecord(task, <usize>load<u32>(record, CONTRIBUTOR)), BEFORE);
    store<u32>(one, <u32>steps, STEPS);
    store<u32>(one, readSteps(record, i, steps) ? 1 : 0, MOVES);
  }
  judge(base, result, scratch, weightCount, judged, count, eligible, examples, openedExamples, fresh);
  for (let i: u32 = 0; i < count; i++) {
    const one = judged + <usize>i * VERDICT_BYTES;
    const to = verdicts + i * JUDGED_BYTES;
    putBe32(to, load<u32>(one, GAIN));
    putBe32(to + 4, load<u32>(one, BEFORE));
    store<u8>(to, load<u32>(one, OUTCOME), 8);
  }
  writePages(task, base, result, halvings >= 0, digests);
}

/** `bytes` bytes, and 8 that copies may run over. */
export function room(bytes: u32): usize {
  return <usize>allocate(((bytes + 7) & ~7) + 8);
}

/** How many examples the last batch has. */
let fresh: u32 = 0;

function gatherExamples(task: u32): usize {
  const stride = exampleBytes();
  const examples = room(openedExamples * stride);
  let to = examples;
  for (let batch: u32 = 0; batch < openedBatches; batch++) {
    const value = stateGet(batchKey(task, batch));
    const length = lengthOf(value);
    copyOver(to, value + HEADER, length);
    to += length;
    fresh = length / stride;
  }
  if (to != examples + <usize>openedExamples * stride) unreachable(); // the pool counts them as this Aspect does
  if (!survey(examples, openedExamples)) unreachable(); // labels were checked when they were opened
  return examples;
}

function gatherWeights(task: u32): usize {
  const base = room(weightCount << 1);
  values = room(pageCount << 2);
  for (let page: u32 = 0; page < pageCount; page++) {
    const value = readPage(task, page, countIn(page));
    store<u32>(values + (<usize>page << 2), <u32>value);
    copyOver(base + (<usize>(page * pageLength) << 1), value + HEADER + DIGEST_BYTES, countIn(page) << 1);
  }
  room(0); // for what a copy into the last page's value runs over
  return base;
}

/** u of one update, at `steps`. Whether it moves any weight. */
export function readSteps(record: usize, index: u32, steps: usize): bool {
  const header = <usize>load<u32>(record);
  const encoding = encodingOf(header);
  const begin = <usize>load<u32>(record, NEXT);
  let data = begin;
  let tensor: u32 = 0;
  clearSquares();
  for (let page: u32 = 0; page < pageCount; page++) {
    if (!hasPage(header, page)) continue;
    tensor = tensorAt(page * pageLength, tensor);
    const bytes = pageBytes(encoding, countIn(page));
    if (data + bytes > <usize>load<u32>(record, END)) {
      refuseNumbers("WrongShape: update ", index, " lacks bytes of page ", page, ", which its bitmap names");
    }
    measurePage(encoding, page, tensor, data);
    data += bytes;
  }
  store<u32>(record, <u32>data, NEXT);
  const scale = <i64>scaleOf(squaredNorm(header), normBound);
  data = begin;
  tensor = 0;
  let moves = false;
  for (let page: u32 = 0; page < pageCount; page++) {
    if (!hasPage(header, page)) continue;
    const count = countIn(page);
    tensor = tensorAt(page * pageLength, tensor);
    sums.clearSums(count);
    sums.addPage(encoding, header, 1, page, tensor, data);
    if (wholeSteps(SUMS, count, scale, steps + (<usize>(page * pageLength) << 1))) moves = true;
    data += pageBytes(encoding, count);
  }
  return moves;
}

function writePages(task: u32, base: usize, result: usize, merged: bool, digests: usize): void {
  for (let page: u32 = 0; page < pageCount; page++) {
    const value = <usize>load<u32>(values + (<usize>page << 2));
    const bytes = countIn(page) << 1;
    const offset = <usize>(page * pageLength) << 1;
    if (merged && differ(base + offset, result + offset, bytes)) {
      copyOver(value + HEADER + DIGEST_BYTES, result + offset, bytes);
      keccak256(result + offset, bytes, value + HEADER);
      stateSet(pageKey(task, page), value);
    }
    const to = digests + (<usize>page << 5);
    store<u64>(to, load<u64>(value + HEADER));
    store<u64>(to, load<u64>(value + HEADER, 8), 8);
    store<u64>(to, load<u64>(value + HEADER, 16), 16);
    store<u64>(to, load<u64>(value + HEADER, 24), 24);
  }
}

function differ(a: usize, b: usize, bytes: u32): bool {
  const end = a + bytes;
  for (; a < end; a += 2) {
    if (load<u16>(a) != load<u16>(b)) return true;
    b += 2;
  }
  return false;
}
