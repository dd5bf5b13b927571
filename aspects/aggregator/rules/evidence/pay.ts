// Rule `evidence`: pay by what updates add to public knowledge (linklearner.domain.rules.evidence.memory and credit), rounds later.
//
// The settled rounds come again as calldata: those to be paid, and before them as many as the memory goes back; and the weights that the first
// of them began with. From there on the merges are made again, and each version must have the digest that the pool knows. That rounds and
// updates are the settled ones is for the pool to check, afterwards; if they are not, the transaction fails.

import { HEADER, be32, be64, copyOver, lengthOf, putBe32 } from "../../bytes";
import { stateGet } from "../../host";
import { keccak256 } from "../../keccak";
import { allocate } from "../../memory";
import { openedBatches } from "../../pool";
import { refuseNumbers, refuseWith } from "../../refuse";
import { CONTRIBUTOR, EFFECTIVE, RECORD } from "../../settlement";
import { countIn, pageCount, pageLength, weightCount } from "../../shape";
import { batchKey } from "../../state";
import { readSteps, room } from "../evidence";
import * as credit from "./credit";
import { MERGED, MOVES, NO_GAIN, OUTCOME, STEPS, VERDICT_BYTES, meanStep, moveBy } from "./judge";
import * as memory from "./memory";
import { BUFFER_BYTES, exampleBytes, survey, useBuffers } from "./network";

export { MEMORY_ROUNDS } from "./memory";

/** Of the pool's verdict: of each round the hash of what is kept of it, then of each of its updates gain 4 | direct 4 | novel 4. */
export const KEPT_BYTES: u32 = 32;
export const CREDIT_BYTES: u32 = 12;

// One settled round as the call brings it: u32 where its head's words lie | u32 where its updates' records lie (settlement.ts) | u32 how many |
// u32 where what is kept of it lies | u32 where that ends | then ours: u32 where its updates' VERDICT records lie (judge.ts), whose steps and
// merges count | u32 where its base lies | u32 where what came of it lies.
export const ROUND: usize = 32;
export const RECORDS: usize = 4;
export const COUNT: usize = 8;
export const KEPT: usize = 12;
export const KEPT_END: usize = 16;
const STEPPED: usize = 20;
const BASE: usize = 24;
const AFTER: usize = 28;

/** Words of a head: before, digest, shared, merged, round, eligible, batch, settledAt; then where kept and updates are. */
export const HEAD_WORDS: u32 = 10;
const DIGEST_WORD: usize = 32;
const MERGED_WORD: usize = 96;
const ELIGIBLE_WORD: usize = 160;
const BATCH_WORD: usize = 192;

/** So many atoms have a table of their products, 2 MiB at most. */
const MOST_IN_TABLE: u32 = 512;

let work: usize = 0;
let left: usize = 0;
let list: usize = 0;

/**
 * Credits the updates of the rounds from `remembered` on; those before are their memory. `rounds`: `count` of them, one settled after the other;
 * `base`: what the first began with, int16; `fairly`: by `fair`, not `novel`. What the pool wants to know goes to `answer`.
 */
export function pay(task: u32, rounds: usize, count: u32, remembered: u32, base: usize, fairly: bool, answer: usize): void {
  const vector = weightCount << 2;
  work = room(5 * vector + 72);
  left = room(vector);
  useBuffers(room(BUFFER_BYTES));
  replay(rounds, count, base);
  let updates: u32 = 0;
  for (let n: u32 = 0; n < count; n++) updates += load<u32>(rounds + <usize>n * ROUND, COUNT);
  list = room((count + updates) << 2);
  // One atom for each merge and update. What is no novel one leaves its number unused.
  if (count + updates <= MOST_IN_TABLE) memory.useTable(room((count + updates) * (count + updates) << 3), count + updates);
  const kept = room(count * <u32>memory.ROUND_BYTES);
  for (let n: u32 = 0; n < count; n++) {
    const round = rounds + <usize>n * ROUND;
    const own = kept + <usize>n * memory.ROUND_BYTES;
    if (n < remembered) {
      remember(round, own, n);
    } else {
      const oldest = n > memory.MEMORY_ROUNDS ? n - memory.MEMORY_ROUNDS : 0;
      answer = creditRound(task, round, own, kept + <usize>oldest * memory.ROUND_BYTES, n - oldest, fairly, answer);
    }
    keepMerge(round, own);
  }
}

/** Makes the merges again: steps, base and result of each round. */
function replay(rounds: usize, count: u32, base: usize): void {
  const scratch = room(weightCount << 3);
  const digests = room(pageCount << 5);
  digestOf(base, digests);
  if (!same32(digests, <usize>load<u32>(rounds))) {
    refuseWith("WrongBase: these are not the weights that the first round began with; hand in those of its base version");
  }
  for (let n: u32 = 0; n < count; n++) {
    const round = rounds + <usize>n * ROUND;
    const head = <usize>load<u32>(round);
    const updates = load<u32>(round, COUNT);
    const stepped = room(updates * <u32>VERDICT_BYTES);
    let present: u64 = 0;
    for (let i: u32 = 0; i < updates; i++) {
      const record = <usize>load<u32>(round, RECORDS) + <usize>i * RECORD;
      const one = stepped + <usize>i * VERDICT_BYTES;
      const steps = room(weightCount << 1);
      const weight = load<u64>(record, EFFECTIVE);
      const isMerged = ((load<u8>(head + MERGED_WORD + 31 - (i >> 3)) >> <u8>(i & 7)) & 1) != 0;
      store<u64>(one, weight);
      store<u32>(one, isMerged ? MERGED : NO_GAIN, OUTCOME);
      store<u32>(one, <u32>steps, STEPS);
      store<u32>(one, readSteps(record, i, steps) ? 1 : 0, MOVES);
      if (isMerged) present += weight;
    }
    store<u32>(round, <u32>stepped, STEPPED);
    store<u32>(round, <u32>base, BASE);
    let places = 0;
    if (present != 0) {
      const after = room(weightCount << 1);
      const eligible = be64(head + ELIGIBLE_WORD + 24);
      meanStep(stepped, stepped + <usize>updates * VERDICT_BYTES, scratch, weightCount, max<u64>(max<u64>(present, eligible >> 2), 1));
      for (; places < 3; places++) {
        moveBy(base, scratch, true, places, after, weightCount);
        digestOf(after, digests);
        if (same32(digests, head + DIGEST_WORD)) break;
      }
      base = after;
    }
    if (places == 3 || (present == 0 && !same32(head, head + DIGEST_WORD))) {
      refuseNumbers("WrongBase: of round ", be64(head + 152), " of the call not what the pool merged comes out, at step sizes 1, 1/2, 1/", 4, "");
    }
    store<u32>(round, <u32>base, AFTER);
  }
}

/** The digest of weights: over those of their pages, which go to `digests` before. It is the first 32 bytes there. */
function digestOf(weights: usize, digests: usize): void {
  for (let page: u32 = 0; page < pageCount; page++) {
    keccak256(weights + (<usize>(page * pageLength) << 1), countIn(page) << 1, digests + (<usize>page << 5));
  }
  keccak256(digests, pageCount << 5, digests);
}

function same32(a: usize, b: usize): bool {
  return load<u64>(a) == load<u64>(b) && load<u64>(a, 8) == load<u64>(b, 8) && load<u64>(a, 16) == load<u64>(b, 16) && load<u64>(a, 24) == load<u64>(b, 24);
}

/** The atom of what the round's merge moved. */
function keepMerge(round: usize, own: usize): void {
  const values = room(weightCount << 2);
  const atom = room(<u32>memory.ATOM_BYTES);
  let before = <usize>load<u32>(round, BASE);
  let after = <usize>load<u32>(round, AFTER);
  for (let to = values; to < values + (<usize>weightCount << 2); to += 4) {
    store<i32>(to, <i32>load<i16>(after) - <i32>load<i16>(before));
    before += 2;
    after += 2;
  }
  memory.makeAtom(atom, values, true, weightCount);
  store<u32>(own, <u32>atom);
}

/** A round whose updates were credited before: `kept` says which of them were novel, and whose they are. */
function remember(round: usize, own: usize, n: u32): void {
  const updates = load<u32>(round, COUNT);
  let atom = room(updates * <u32>memory.ATOM_BYTES);
  store<u32>(own, <u32>atom, memory.NOVEL);
  let at = <usize>load<u32>(round, KEPT);
  const end = <usize>load<u32>(round, KEPT_END);
  let novel: u32 = 0;
  for (let i: u32 = 0; i < updates; i++) {
    const owners = at < end ? <u32>load<u8>(at) : 0;
    const next = at + 1 + <usize>owners * memory.ADDRESS_BYTES;
    if (next > end) refuseNumbers("WrongMemory: what is kept of round ", n, " of the call breaks off at its update ", i, "");
    if (owners != 0) {
      makeAtom(round, i, atom);
      memory.giveOwners(atom, at + 1, owners);
      atom += memory.ATOM_BYTES;
      novel++;
    }
    at = next;
  }
  if (at != end) refuseNumbers("WrongMemory: what is kept of round ", n, " of the call goes on behind its ", updates, " updates");
  store<u32>(own, novel, memory.NOVEL_COUNT);
}

/** The atom of a round's update. */
function makeAtom(round: usize, index: u32, atom: usize): void {
  const steps = <usize>load<u32>(<usize>load<u32>(round, STEPPED) + <usize>index * VERDICT_BYTES, STEPS);
  memory.makeAtom(atom, steps, false, weightCount);
}

/** Credits a round's updates; `before`: its memory, of `remembered` rounds. Answers with where the answer goes on. */
function creditRound(task: u32, round: usize, own: usize, before: usize, remembered: u32, fairly: bool, answer: usize): usize {
  const updates = load<u32>(round, COUNT);
  const first = be32(<usize>load<u32>(round) + BATCH_WORD + 28);
  const last = min<u32>(first + credit.HORIZON, openedBatches - 1);
  if (first > last) unreachable(); // the pool knows no such round
  const later = gather(task, first, last);
  credit.beginRound(later, gathered, <usize>load<u32>(round, BASE), <usize>load<u32>(round, AFTER), weightCount, room((weightCount << 2) + 16));
  const kept = room(updates * (1 + memory.MAX_OWNERS * <u32>memory.ADDRESS_BYTES));
  let atom = room((updates + 1) * <u32>memory.ATOM_BYTES);
  store<u32>(own, <u32>atom, memory.NOVEL);
  let to = kept;
  let novel: u32 = 0;
  const hash = answer;
  answer += KEPT_BYTES;
  for (let i: u32 = 0; i < updates; i++) {
    const one = <usize>load<u32>(round, STEPPED) + <usize>i * VERDICT_BYTES;
    const account = <usize>load<u32>(<usize>load<u32>(round, RECORDS) + <usize>i * RECORD, CONTRIBUTOR);
    const moves = load<u32>(one, MOVES) != 0;
    const isMerged = load<u32>(one, OUTCOME) == MERGED;
    makeAtom(round, i, atom);
    memory.project(atom, list, memory.listFor(account, 0, 0, before, remembered, list), weightCount, left, work);
    if (fairly) credit.creditFairly(moves, left, memory.copy, isMerged);
    else credit.credit(<usize>load<u32>(one, STEPS), moves, left, memory.copy, isMerged);
    putBe32(answer, credit.gain);
    putBe32(answer + 4, credit.direct);
    putBe32(answer + 8, credit.novel);
    answer += CREDIT_BYTES;
    if (moves && !memory.copy) {
      const owners = memory.putOwners(account, list, to + 1);
      store<u8>(to, <u8>owners);
      memory.giveOwners(atom, to + 1, owners);
      to += 1 + <usize>owners * memory.ADDRESS_BYTES;
      atom += memory.ATOM_BYTES;
      novel++;
    } else {
      store<u8>(to++, 0);
    }
  }
  store<u32>(own, novel, memory.NOVEL_COUNT);
  keccak256(kept, to - kept, hash);
  return answer;
}

/** How many examples `gather` found. */
let gathered: u32 = 0;

/** The examples of some batches, one behind the other. */
function gather(task: u32, first: u32, last: u32): usize {
  gathered = 0;
  let bytes: u32 = 0;
  const values = room((last - first + 1) << 2);
  for (let batch = first; batch <= last; batch++) {
    const value = stateGet(batchKey(task, batch));
    store<u32>(values + (<usize>(batch - first) << 2), <u32>value);
    bytes += lengthOf(value);
  }
  const examples = room(bytes);
  let to = examples;
  for (let batch = first; batch <= last; batch++) {
    const value = <usize>load<u32>(values + (<usize>(batch - first) << 2));
    copyOver(to, value + HEADER, lengthOf(value));
    to += lengthOf(value);
  }
  room(0); // for what a copy runs over
  gathered = bytes / exampleBytes();
  if (!survey(examples, gathered)) unreachable(); // labels were checked when they were opened
  return examples;
}
