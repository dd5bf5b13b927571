// The Aspect `aggregator`: it holds a task's weights, judges updates at submission and merges them at settlement.
//
// Bound to TrainingPool at preContractCall. Before the pool's code runs, this code sees the call, checks it and leaves a verdict in the
// transaction's context, where the pool looks for it. Weights are written only while they are loaded and when a round is settled; should the
// pool then refuse, the transaction fails and the writes with it. That holds for the transaction's own call only (a caught inner revert would
// keep them), so calls from contracts are refused here and in the pool.
//
// Anyone may bind this Aspect to another contract and drive it, so the first check is that the call goes to our pool.

import {
  HEADER, TYPE_BOOL, TYPE_BYTES, TYPE_STRING,
  be32, be64, copy20, copy32, copyOver, lengthOf, putBe32, putBe64, putHeader, same20,
} from "./bytes";
import { pageBytes } from "./encodings/table";
import { contextGet, propertyGet, stateGet, stateSet, transientSet } from "./host";
import {
  bytesAt, countAt, expectAddress, expectEnd, expectWord, fieldAt, fieldLength, findField, isText, needWords, padded, setEnd, word,
} from "./input";
import { keccak256 } from "./keccak";
import { KEY, VERDICT, allocate, mark, release } from "./memory";
import {
  accepted, batches, eligible, inputExponent, loaded, merged, openedBatches, payKind, readExampleSet, readRound, readStake, round, setPool, version,
} from "./pool";
import { refuse, refuseNumbers, refuseWith, say, sayNumber } from "./refuse";
import { CHANGED } from "./rules/outcome";
import * as evidence from "./rules/evidence";
import * as evidencePay from "./rules/evidence/pay";
import * as rules from "./rules/table";
import { CONTRIBUTOR, EFFECTIVE, END, NEXT, RECORD } from "./settlement";
import {
  countIn, decodeShape, groupCount, groupPages, pageCount, pageLength, tensorAt, tensorCount, weightCount,
} from "./shape";
import { DIGEST_BYTES, MAX_TASK, RULE_BYTES, pageKey, readPage, shapeKey } from "./state";
import {
  MAX_SQUARED_NORM, MIN_SQUARED_NORM, areShifts, baseOf, encodingOf, hasPage, headerBytes, isHeader, measurePage, squaredNorm, taskOf,
} from "./update";

export { allocate };

// Selectors of TrainingPool; a test holds them to its ABI.
const OPEN_TASK: u32 = 0xb2912c27;
const LOAD_PAGES: u32 = 0xcee91390;
const SUBMIT: u32 = 0x437cfc3f;
const SETTLE: u32 = 0xfea2330a;
const DROP: u32 = 0x3b27ef06;
const COMMIT_EXAMPLES: u32 = 0x0603c075;
const REVEAL_UPDATE: u32 = 0x2f0ddd5d;
const OPEN_EXAMPLES: u32 = 0x380977b8;
const NAME_PAY: u32 = 0x4a6529af;
const PAY: u32 = 0xa4d5a3d8;

// Verdicts: names under which the pool looks for them, and their bytes (TrainingPool says what these are).
const OPENED: u8 = 0x6f; // "o"
const OPENED_BYTES: u32 = 32;
const LOADED: u8 = 0x6c; // "l"
const LOADED_BYTES: u32 = 45;
const JUDGED: u8 = 0x73; // "s"
const JUDGED_BYTES: u32 = 77;
const MERGED: u8 = 0x6d; // "m"
const MERGED_BYTES: u32 = 72;
const ENDED: u8 = 0x64; // "d"
const ENDED_BYTES: u32 = 48;
const EXAMPLES: u8 = 0x65; // "e"
const EXAMPLES_BYTES: u32 = 40;
const BATCH: u8 = 0x78; // "x"
const BATCH_BYTES: u32 = 16;
const PAID: u8 = 0x70; // "p"
const PAID_BYTES: u32 = 16;

/** Bytes of an answer about a task before its shape, and of one about pages before those. */
const TASK_HEAD: u32 = 38;
const PAGES_HEAD: u32 = 12;

/** The way to pay by which an update's own credits do not count: a row of contracts/rules/EvidencePay.sol. */
const FAIR: u32 = 2;

/** Stake of a task at most, so that |sums| <= 2^61. */
const MAX_ELIGIBLE: u64 = 1 << 38;

/** The node's one entry. The length of a method's name says which it is; what returns 0 returns nothing. */
export function execute(method: usize, argument: usize): usize {
  const length = lengthOf(method);
  if (length == 15) return preContractCall(argument + HEADER, lengthOf(argument));
  if (length == 9) return operation(argument + HEADER, lengthOf(argument));
  if (length == 7) return isOwner(argument + HEADER, lengthOf(argument));
  if (length != 4) unreachable(); // init has nothing to do; no other join point is asked for at deployment
  return 0;
}

/** Only the account in the property "owner" may upgrade this Aspect. */
function isOwner(account: usize, length: u32): usize {
  putName("owner");
  const owner = propertyGet(KEY);
  putHeader(VERDICT, TYPE_BOOL, 1);
  store<u8>(VERDICT, length == 20 && lengthOf(owner) == 20 && same20(owner + HEADER, account) ? 1 : 0, HEADER);
  return VERDICT;
}

/** Writes a short name at KEY, as a key. */
@inline
function putName(name: string): void {
  const from = changetype<usize>(name);
  putHeader(KEY, TYPE_STRING, name.length);
  for (let i = 0; i < name.length; i++) store<u8>(KEY + HEADER + i, load<u16>(from + (<usize>i << 1)));
}

function preContractCall(input: usize, length: u32): usize {
  // PreContractCallInput { call = 1 { from = 1, to = 2, index = 3, data = 4, value = 5, gas = 6 }, block = 2 }
  findField(input, length, 1);
  const call = fieldAt;
  const callLength = fieldLength;
  findField(call, callLength, 2);
  const to = fieldAt;
  putName("pool");
  const pool = propertyGet(KEY);
  if (lengthOf(pool) != 20 || fieldLength != 20 || !same20(to, pool + HEADER)) {
    refuseWith("NotThePool: this Aspect serves one pool, and this contract is not it; unbind the Aspect from this contract");
  }
  if (!findField(call, callLength, 4) || fieldLength < 4) return 0;
  const data = fieldAt;
  const selector = be32(data);
  setEnd(data + fieldLength);
  if (
    selector != SUBMIT && selector != SETTLE && selector != LOAD_PAGES && selector != OPEN_TASK && selector != DROP &&
    selector != REVEAL_UPDATE && selector != COMMIT_EXAMPLES && selector != OPEN_EXAMPLES && selector != NAME_PAY && selector != PAY
  ) return 0;

  findField(call, callLength, 1);
  const from = fieldAt;
  putName("tx.from");
  const sender = contextGet(KEY); // BytesData { data = 1 }
  if (!findField(sender + HEADER, lengthOf(sender), 1) || fieldLength != 20 || !same20(fieldAt, from)) {
    refuseWith("NotDirect: the call comes from a contract; send it as a transaction of your own to the pool");
  }
  setPool(to);
  const args = data + 4;
  if (selector == SUBMIT) submit(args, from, 4);
  else if (selector == SETTLE) settle(args);
  else if (selector == REVEAL_UPDATE) submit(args, from, 5);
  else if (selector == LOAD_PAGES) loadPages(args);
  else if (selector == DROP) drop(args);
  else if (selector == OPEN_EXAMPLES) openExamples(args);
  else if (selector == COMMIT_EXAMPLES) commitExamples(args);
  else if (selector == NAME_PAY) namePay(args);
  else if (selector == PAY) pay(args);
  else openTask(args);
  return 0;
}

/** A task number from the arguments, small enough for a state key. */
function taskFrom(at: usize): u32 {
  const task = word(at);
  if (task > MAX_TASK) refuseNumbers("NoSuchTask: task ", task, " does not exist, the highest number is ", MAX_TASK, "");
  return <u32>task;
}

/** The rule of this call's one task, and the length of its shape. */
let rule: u32 = 0;
let shapeLength: u32 = 0;

/** Reads the task's rule and shape, or refuses. Returns where the shape's bytes are; `shapeLength` says how many. */
function needShape(task: u32): usize {
  const kept = stateGet(shapeKey(task)) + HEADER;
  const shape = kept + RULE_BYTES;
  shapeLength = lengthOf(kept - HEADER) - RULE_BYTES;
  if (lengthOf(kept - HEADER) < RULE_BYTES || !decodeShape(shape, shapeLength)) {
    say("NoSuchTask: task ");
    sayNumber(task);
    say(" has not been opened");
    refuse();
  }
  rule = <u32>load<u8>(kept);
  return shape;
}

/** Leaves `length` bytes at VERDICT + HEADER as the verdict called `name`. */
function leaveVerdict(name: u8, length: u32): void {
  leave(name, VERDICT, length);
}

/** Leaves `length` bytes at value + HEADER as the verdict called `name`. */
function leave(name: u8, value: usize, length: u32): void {
  putHeader(KEY, TYPE_STRING, 1);
  store<u8>(KEY, name, HEADER);
  putHeader(value, TYPE_BYTES, length);
  transientSet(KEY, value);
}

/**
 * openTask(uint64 task, bytes shape, string model, Terms terms): keeps rule and shape. Terms are 11 static words, the rule first; their high
 * bits the pool's decoder checks: it reads each of them.
 */
function openTask(args: usize): void {
  needWords(args, 14);
  const task = taskFrom(args);
  expectWord(args + 32, 14 << 5);
  const length = bytesAt(args + (14 << 5));
  const shape = args + (15 << 5);
  expectWord(args + 64, (15 << 5) + padded(length));
  const model = shape + padded(length);
  const modelLength = bytesAt(model);
  expectEnd(model + 32 + padded(modelLength));
  if (!isText(model + 32, modelLength)) refuseWith("WrongModel: the model's description is not UTF-8");
  if (lengthOf(stateGet(shapeKey(task))) != 0) {
    refuseNumbers("TaskExists: task ", task, " was opened before; task numbers go up to ", MAX_TASK, " and are used once");
  }
  if (!decodeShape(shape, length)) {
    refuseWith("WrongShape: the shape is not canonical or out of bounds (tensors, page_length, group_pages, norm_bound)");
  }
  // Rule and header go over the length word, which has been read.
  const kept = shape - RULE_BYTES - HEADER;
  store<u8>(shape - RULE_BYTES, load<u8>(args + 96 + 31));
  putHeader(kept, TYPE_BYTES, RULE_BYTES + length);
  stateSet(shapeKey(task), kept);
  putSize(task);
  leaveVerdict(OPENED, OPENED_BYTES);
}

/** What of the decoded shape the pool wants to know, OPENED_BYTES at the verdict's place. */
function putSize(task: u32): void {
  const verdict = VERDICT + HEADER;
  const largest = min<u32>(groupPages, pageCount);
  putBe64(verdict, task);
  putBe32(verdict + 8, pageCount);
  putBe32(verdict + 12, groupCount);
  putBe32(verdict + 16, largest);
  putBe32(verdict + 20, <u32>min<u64>(<u64>largest * pageLength, weightCount));
  putBe32(verdict + 24, headerBytes());
  putBe32(verdict + 28, tensorCount);
}

/**
 * commitExamples(uint64 task, bytes32 root, uint32 batches, uint32 examples, uint8 inputExponent, uint32 revealSeconds, uint256 bond): whether
 * the rule can judge by them.
 */
function commitExamples(args: usize): void {
  needWords(args, 7);
  const task = taskFrom(args);
  const exponent = word(args + 128);
  expectEnd(args + 224);
  const shape = needShape(task);
  if (exponent > 255 || !evidence.readNetwork(shape, <u32>exponent)) {
    refuseWith("NotAPerceptron: rule evidence judges perceptrons with tensors W1, b1, W2, b2, ..., exponents of 0 or more and inputs of 2^0 to 2^-15");
  }
  putSize(task);
  putBe64(VERDICT + HEADER + 32, evidence.gasOfExample());
  leaveVerdict(EXAMPLES, EXAMPLES_BYTES);
}

/** namePay(uint64 task, uint8 pay, uint16 full): what of the shape and the network the pool wants to know to see whether pay fits a block. */
function namePay(args: usize): void {
  needWords(args, 3);
  const task = taskFrom(args);
  expectEnd(args + 96);
  const shape = needShape(task);
  readExampleSet(task);
  if (batches == 0 || !evidence.readNetwork(shape, inputExponent)) {
    refuseNumbers("NoExamples: task ", task, " has ", batches, " batches of examples; commit to them first");
  }
  putSize(task);
  putBe64(VERDICT + HEADER + 32, evidence.gasOfExample());
  leaveVerdict(EXAMPLES, EXAMPLES_BYTES);
}

/** openExamples(uint64 task, uint64 round, bytes examples, bytes32[] proof): keeps them. That they are the next batch is for the pool to check. */
function openExamples(args: usize): void {
  needWords(args, 4);
  const task = taskFrom(args);
  expectWord(args + 64, 4 << 5);
  const length = bytesAt(args + 128);
  const examples = args + 160;
  expectWord(args + 96, (5 << 5) + padded(length));
  const proof = examples + padded(length);
  expectEnd(proof + 32 + (countAt(proof) << 5));
  const shape = needShape(task);
  readRound(task);
  readExampleSet(task);
  if (version == 0 || batches == 0 || !evidence.readNetwork(shape, inputExponent)) {
    refuseNumbers("NoExamples: task ", task, " is at version ", version, " and has no examples to open");
  }
  const stride = evidence.exampleBytes();
  if (length == 0 || length % stride != 0) {
    refuseNumbers("WrongExamples: ", length, " bytes are no whole examples of ", stride, "; hand in a batch as it was committed");
  }
  if (!evidence.labelsFit(examples, length / stride)) refuseWith("WrongExamples: a label is none of the network's");
  const verdict = VERDICT + HEADER;
  putBe64(verdict, task);
  putBe32(verdict + 8, openedBatches);
  putBe32(verdict + 12, length / stride);
  evidence.keepBatch(task, openedBatches, examples, length);
  leaveVerdict(BATCH, BATCH_BYTES);
}

/** loadPages(uint64 task, uint32 firstPage, bytes weights): whole pages, in order; with the last one the task has version 1. */
function loadPages(args: usize): void {
  needWords(args, 4);
  const task = taskFrom(args);
  const first = word(args + 32);
  expectWord(args + 64, 3 << 5);
  const length = bytesAt(args + 96);
  expectEnd(args + 128 + padded(length));
  needShape(task);
  readRound(task);
  if (version != 0) refuseNumbers("TaskLoaded: task ", task, " has all its weights and is at version ", version, "");
  if (first != loaded) refuseNumbers("WrongPage: pages are loaded in order; page ", first, " was given, the next one is ", loaded, "");

  let page = <u32>first;
  let weights = args + 128;
  let left = length;
  while (left != 0) {
    if (page >= pageCount) refuseNumbers("WrongShape: more weights than the ", weightCount, " of the task; its last page is ", pageCount - 1, "");
    const bytes = countIn(page) << 1;
    if (left < bytes) refuseNumbers("WrongShape: ", left, " bytes are left over for a page of ", bytes, "; load whole pages");
    // The value is made in place: header and digest go over the 38 bytes before the page, which are spent: the page before, or ABI words.
    const value = weights - DIGEST_BYTES - HEADER;
    keccak256(weights, bytes, weights - DIGEST_BYTES);
    putHeader(value, TYPE_BYTES, DIGEST_BYTES + bytes);
    stateSet(pageKey(task, page), value);
    weights += bytes;
    left -= bytes;
    page++;
  }
  if (length == 0) refuseWith("WrongShape: no weights were given; load at least one page");

  const verdict = VERDICT + HEADER;
  putBe64(verdict, task);
  putBe32(verdict + 8, page);
  store<u8>(verdict, page == pageCount ? 1 : 0, 12);
  if (page == pageCount) putModelDigest(task, <usize>allocate(pageCount << 5), pageCount, verdict + 13);
  leaveVerdict(LOADED, LOADED_BYTES);
}

/** Puts the model's digest at `target`. `digests`: room for P digests, filled from page `known` on; those before are read from the state. */
function putModelDigest(task: u32, digests: usize, known: u32, target: usize): void {
  for (let page: u32 = 0; page < known; page++) {
    const kept = mark();
    copy32(digests + (page << 5), readPage(task, page, countIn(page)) + HEADER);
    release(kept);
  }
  keccak256(digests, pageCount << 5, target);
}

/**
 * submit(uint64 task, bytes32 digest, bytes header, bytes[] groups), or revealUpdate, which has a salt behind them. `words`: how many arguments.
 * The pool itself checks that the digest is the update's, and that a revealed one was committed to.
 */
function submit(args: usize, sender: usize, words: u32): void {
  needWords(args, words);
  const task = taskFrom(args);
  expectWord(args + 64, words << 5);
  const length = bytesAt(args + (words << 5));
  const header = args + (words << 5) + 32;
  expectWord(args + 96, ((words + 1) << 5) + padded(length));
  const groups = header + padded(length);
  const count = countAt(groups);

  needShape(task);
  readRound(task);
  if (length != headerBytes()) {
    refuseNumbers("WrongShape: the header has ", length, " bytes, an update of this task ", headerBytes(), "; pull the task's shape");
  }
  if (count != groupCount) refuseNumbers("WrongShape: the update has ", count, " groups, the task ", groupCount, "; pull the task's shape");
  if (!isHeader(header)) {
    refuseWith("NotCanonical: the header's format, encoding or bitmap is not one that this task reads; encode the update anew");
  }
  if (taskOf(header) != task) refuseNumbers("WrongTask: the update is for task ", taskOf(header), ", the call for task ", task, "");
  if (version == 0) refuseNumbers("NotLoaded: task ", task, " has ", loaded, " of its pages; wait until its first weights are loaded");
  if (baseOf(header) != version) {
    refuseNumbers("StaleBase: the update is for version ", baseOf(header), ", the model is at version ", version, "; pull it and train again");
  }
  putName("vault");
  const vault = propertyGet(KEY);
  if (lengthOf(vault) != 20) unreachable(); // deployed without it: NoVerdict
  const stake = readStake(vault + HEADER, task, sender);
  if (stake == 0) {
    refuseWith("NoStake: the sender has no stake that counts in this round; lock $LL for this task, it counts from a later round on");
  }

  expectEnd(measure(header, groups + 32));
  const norm = squaredNorm(header);
  if (norm > MAX_SQUARED_NORM) {
    refuseWith("NormTooLong: the update is longer than 2^31 in 2^-8 steps; the training has diverged");
  }
  if (norm < MIN_SQUARED_NORM) {
    refuseWith("EmptyUpdate: the update moves no weight by as much as a step; there is nothing to merge");
  }
  // At most a quarter of all stake an account: one key does not decide alone. It bounds no person, who may have several keys.
  // With fewer than 4 units there is nothing to share.
  const weight = eligible < 4 ? stake : min<u64>(stake, eligible >> 2);
  const verdict = VERDICT + HEADER;
  copy32(verdict, args + 32);
  copy20(verdict + 32, sender);
  putBe64(verdict + 52, task);
  putBe64(verdict + 60, weight);
  putBe64(verdict + 68, rules.verdict(rule, weight, norm));
  store<u8>(verdict, 0, 76); // flags: no rule has any yet
  leaveVerdict(JUDGED, JUDGED_BYTES);
}

/**
 * Checks that the groups hold exactly the pages that the header names, canonical, and sums their squares. `groups`: behind the array's length.
 * Returns where the last group ends.
 */
function measure(header: usize, groups: usize): usize {
  const encoding = encodingOf(header);
  let offset: u32 = groupCount << 5;
  let page: u32 = 0;
  let tensor: u32 = 0;
  for (let group: u32 = 0; group < groupCount; group++) {
    expectWord(groups + (group << 5), offset);
    const length = bytesAt(groups + offset);
    let data = groups + offset + 32;
    const end = data + length;
    const last = min<u32>(page + groupPages, pageCount);
    for (; page < last; page++) {
      if (!hasPage(header, page)) continue;
      tensor = tensorAt(page * pageLength, tensor);
      const bytes = pageBytes(encoding, countIn(page));
      if (data + bytes > end) break;
      if (!measurePage(encoding, page, tensor, data)) {
        say("NotCanonical: page ");
        sayNumber(page);
        say(" has unused bits set, or is all zero and should be left out; encode the update anew");
        refuse();
      }
      data += bytes;
    }
    if (page != last || data != end) {
      refuseNumbers("WrongShape: group ", group, " has ", length, " bytes, which are not those of the pages that the bitmap names");
    }
    offset += 32 + padded(length);
  }
  if (!areShifts(header)) {
    refuseWith("NotCanonical: a shift is out of range, or not 0 for a tensor that the update leaves out; encode the update anew");
  }
  return groups + offset;
}

/**
 * settle(uint64 task, uint64 round, uint32 group, Settlement[] updates): merges one group of pages. That these are the accepted updates is
 * for the pool to check, afterwards; if they are not, the transaction fails.
 */
function settle(args: usize): void {
  needWords(args, 5);
  const task = taskFrom(args);
  expectWord(args + 96, 4 << 5);
  const count = countAt(args + 128);
  const shape = needShape(task);
  readRound(task);
  const given = word(args + 32);
  const group = word(args + 64);
  if (version == 0 || given != round) refuseNumbers("WrongRound: round ", given, " was given, the open one is round ", round, "");
  if (group != merged) refuseNumbers("WrongGroup: groups are settled in order; group ", group, " was given, the next one is ", merged, "");
  if (accepted == 0) refuseNumbers("NoUpdates: round ", round, " of task ", task, " has no accepted update to settle");

  const records = <usize>allocate(count * <u32>RECORD);
  const present = readUpdates(args + 160, count, records);
  expectEnd(updatesEnd);
  if (rules.isWhole(rule)) {
    settleWhole(task, shape, records, count);
    return;
  }
  rules.begin(rule, present);
  const first = <u32>group * groupPages;
  const last = min<u32>(first + groupPages, pageCount);
  const digests: usize = last == pageCount ? <usize>allocate(pageCount << 5) : 0;
  let saturated: u64 = 0;
  let tensor: u32 = 0;
  for (let page = first; page < last; page++) {
    const kept = mark();
    tensor = tensorAt(page * pageLength, tensor);
    const isMoved = gatherPage(records, count, page, tensor);
    if (isMoved || digests != 0) {
      const value = readPage(task, page, countIn(page));
      if (isMoved) saturated += movePage(task, page, value);
      if (digests != 0) copy32(digests + (page << 5), value + HEADER);
    }
    release(kept);
  }
  expectAllRead(records, count, <u32>group);

  const verdict = VERDICT + HEADER;
  putBe64(verdict, task);
  putBe64(verdict + 8, round);
  putBe32(verdict + 16, <u32>group);
  putBe32(verdict + 20, groupCount);
  putBe64(verdict + 64, saturated);
  if (digests != 0) {
    putBe64(verdict + 24, version + 1);
    putModelDigest(task, digests, first, verdict + 32);
  }
  leaveVerdict(MERGED, MERGED_BYTES);
}

/** Refuses updates that bring more than their bitmaps name. */
function expectAllRead(records: usize, count: u32, group: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const record = records + <usize>i * RECORD;
    if (load<u32>(record, NEXT) != load<u32>(record, END)) {
      refuseNumbers("WrongShape: update ", i, " brings bytes for group ", group, " that its bitmap does not name");
    }
  }
}

/** Settles by a rule that looks at the whole model, which is one group. Behind the verdict on the merge stands what is said of each update. */
function settleWhole(task: u32, shape: usize, records: usize, count: u32): void {
  if (groupCount != 1) unreachable(); // the pool took no such task
  const length = MERGED_BYTES + count * evidence.JUDGED_BYTES;
  const value = <usize>allocate(<u32>HEADER + length + 8);
  const verdict = value + HEADER;
  const digests = <usize>allocate(pageCount << 5);
  evidence.settle(task, shape, records, count, verdict + MERGED_BYTES, digests);
  expectAllRead(records, count, 0);
  putBe64(verdict, task);
  putBe64(verdict + 8, round);
  putBe32(verdict + 16, 0);
  putBe32(verdict + 20, 1);
  putBe64(verdict + 24, version + 1);
  putModelDigest(task, digests, 0, verdict + 32);
  putBe64(verdict + 64, evidence.saturated);
  leave(MERGED, value, length);
}

/**
 * pay(uint64 task, uint32 from, bytes base, SettledRound[] rounds): credits the updates of the rounds from version `from` on; the rounds before,
 * as many as the memory goes back, come first. That they are the settled ones is for the pool to check, afterwards.
 */
function pay(args: usize): void {
  needWords(args, 4);
  const task = taskFrom(args);
  const from = word(args + 32);
  expectWord(args + 64, 4 << 5);
  const length = bytesAt(args + 128);
  const base = args + 160;
  expectWord(args + 96, (5 << 5) + padded(length));
  const count = countAt(base + padded(length));
  const array = base + padded(length) + 32;
  const shape = needShape(task);
  readExampleSet(task);
  if (openedBatches == 0 || !evidence.readNetwork(shape, inputExponent)) {
    refuseNumbers("NoExamples: task ", task, " has ", openedBatches, " batches of examples opened; nothing can be paid by them");
  }
  if (length != weightCount << 1) {
    refuseNumbers("WrongBase: ", length, " bytes are not the task's ", weightCount, " weights; hand in those of the first round's base version");
  }
  const remembered = min<u64>(from - 1, evidencePay.MEMORY_ROUNDS);
  if (from == 0 || count <= remembered) {
    refuseNumbers("NothingToPay: ", count, " rounds were given; before version ", from, " the memory goes back eight, and one is to be paid");
  }
  const rounds = <usize>allocate(count * <u32>evidencePay.ROUND);
  const bytes = readRounds(array, count, rounds, <u32>remembered);
  const value = <usize>allocate(<u32>HEADER + PAID_BYTES + bytes + 8);
  const verdict = value + HEADER;
  putBe64(verdict, task);
  putBe32(verdict + 8, <u32>from);
  putBe32(verdict + 12, count);
  evidencePay.pay(task, rounds, count, <u32>remembered, base, payKind == FAIR, verdict + PAID_BYTES);
  leave(PAID, value, PAID_BYTES + bytes);
}

/** Reads the array of SettledRound structs. Returns how long what is said of those behind the `remembered` first will be. */
function readRounds(array: usize, count: u32, rounds: usize, remembered: u32): u32 {
  let bytes: u32 = 0;
  let offset = count << 5;
  for (let n: u32 = 0; n < count; n++) {
    expectWord(array + (n << 5), offset);
    const head = array + offset;
    needWords(head, evidencePay.HEAD_WORDS);
    if (word(head + 160) > MAX_ELIGIBLE) refuseNumbers("WrongWeight: round ", n, " of the call would have more than ", MAX_ELIGIBLE, " units");
    expectWord(head + 256, evidencePay.HEAD_WORDS << 5);
    const length = bytesAt(head + 320);
    const kept = head + 352;
    const updates = kept + padded(length);
    expectWord(head + 288, <u32>(updates - head));
    const settled = countAt(updates);
    const records = <usize>allocate(settled * <u32>RECORD);
    readUpdates(updates + 32, settled, records);
    const one = rounds + <usize>n * evidencePay.ROUND;
    store<u32>(one, <u32>head);
    store<u32>(one, <u32>records, evidencePay.RECORDS);
    store<u32>(one, settled, evidencePay.COUNT);
    store<u32>(one, <u32>kept, evidencePay.KEPT);
    store<u32>(one, <u32>kept + length, evidencePay.KEPT_END);
    if (n >= remembered) bytes += evidencePay.KEPT_BYTES + settled * evidencePay.CREDIT_BYTES;
    offset = <u32>(updatesEnd - array);
  }
  expectEnd(array + offset);
  return bytes;
}

/**
 * drop(uint64 task): a round that is merged in part ends as it is, and the model's digest is that of what there is. Otherwise nothing changes
 * here.
 */
function drop(args: usize): void {
  const task = taskFrom(args);
  expectEnd(args + 32);
  needShape(task);
  readRound(task);
  if (merged == 0) return;
  const verdict = VERDICT + HEADER;
  putBe64(verdict, task);
  putBe64(verdict + 8, round);
  putModelDigest(task, <usize>allocate(pageCount << 5), pageCount, verdict + 16);
  leaveVerdict(ENDED, ENDED_BYTES);
}

/** Where the array that `readUpdates` has read ends. */
let updatesEnd: usize = 0;

/** Reads the array of Settlement structs into records. Returns S, the sum of their weights. `array`: behind its length. */
function readUpdates(array: usize, count: u32, records: usize): u64 {
  const expected = headerBytes();
  let present: u64 = 0;
  let offset = count << 5;
  for (let i: u32 = 0; i < count; i++) {
    // contributor, weight, effective, offsets of header, digests and pages; then these three
    expectWord(array + (i << 5), offset);
    const update = array + offset;
    needWords(update, 7);
    expectAddress(update);
    expectWord(update + 96, 6 << 5);
    const length = bytesAt(update + 192);
    const header = update + 224;
    const digests = header + padded(length);
    expectWord(update + 128, <u32>(digests - update));
    const groups = countAt(digests);
    if (length != expected || groups != groupCount || !isHeader(header)) {
      refuseNumbers("WrongShape: update ", i, " has a header or digests of another shape; hand in what was submitted, ", groupCount, " digests each");
    }
    const pages = digests + 32 + (groups << 5);
    expectWord(update + 160, <u32>(pages - update));
    const bytes = bytesAt(pages);
    const record = records + <usize>i * RECORD;
    store<u32>(record, <u32>header);
    store<u32>(record, <u32>pages + 32, NEXT);
    store<u32>(record, <u32>pages + 32 + bytes, END);
    store<u32>(record, <u32>update + 12, CONTRIBUTOR);
    store<u64>(record, word(update + 64), EFFECTIVE);
    const weight = word(update + 32);
    present += weight;
    // Keeps S below 2^64, and what a rule divides by other than 0, whatever a settler claims.
    if (weight > MAX_ELIGIBLE || present > MAX_ELIGIBLE) {
      refuseNumbers("WrongWeight: update ", i, " would bring the accepted stake above ", MAX_ELIGIBLE, "; hand in the weights of the events");
    }
    offset = <u32>(pages - array) + 32 + padded(bytes);
  }
  updatesEnd = array + offset;
  return present;
}

/** Hands one page of all updates to the rule. Whether any update has it. */
function gatherPage(records: usize, count: u32, page: u32, tensor: u32): bool {
  const end = records + <usize>count * RECORD;
  let any = false;
  for (let record = records; record < end; record += RECORD) {
    const header = <usize>load<u32>(record);
    if (!hasPage(header, page)) continue;
    const encoding = encodingOf(header);
    const data = <usize>load<u32>(record, NEXT);
    const next = data + pageBytes(encoding, countIn(page));
    if (next > <usize>load<u32>(record, END)) {
      refuseNumbers("WrongShape: update ", (record - records) / RECORD, " lacks bytes of page ", page, ", which its bitmap names");
    }
    if (!any) rules.beginPage(rule, page);
    any = true;
    rules.addPage(rule, encoding, header, load<i64>(record, EFFECTIVE), page, tensor, data);
    store<u32>(record, <u32>next, NEXT);
  }
  return any;
}

/** Moves the weights of a page, in its state value, and writes it if that changed any. Returns how many weights hit a bound. */
function movePage(task: u32, page: u32, value: usize): u64 {
  const count = countIn(page);
  const weights = value + HEADER + DIGEST_BYTES;
  const outcome = rules.movePage(rule, weights, count);
  if ((outcome & CHANGED) != 0) {
    keccak256(weights, count << 1, value + HEADER);
    stateSet(pageKey(task, page), value);
  }
  return outcome & ~CHANGED;
}

/**
 * Reading, through eth_call of the system contract's entrypoint. Changes nothing.
 * 0x01 | task 8: version 8 | round 8 | eligible 8 | merged groups 4 | accepted 2 | pages 4 | groups 4 | shape
 * 0x02 | task 8 | first 4 | count 4: version 8 | merged groups 4 | the weights of those pages
 * 0x03 | task 8 | first 4 | count 4: version 8 | merged groups 4 | the digests of those pages
 */
function operation(input: usize, length: u32): usize {
  // OperationInput { tx = 1, block = 2, call_data = 3 }
  if (!findField(input, length, 3) || fieldLength < 9) badQuestion();
  const question = fieldAt;
  const kind = <u32>load<u8>(question);
  if (!(kind == 1 && fieldLength == 9) && !((kind == 2 || kind == 3) && fieldLength == 17)) badQuestion();
  const asked = be64(question + 1);
  if (asked > MAX_TASK) refuseNumbers("NoSuchTask: task ", asked, " does not exist, the highest number is ", MAX_TASK, "");
  const task = <u32>asked;
  putName("pool");
  setPool(propertyGet(KEY) + HEADER);
  const shape = needShape(task);
  readRound(task);
  if (kind == 1) {
    const answer = newAnswer(TASK_HEAD + shapeLength);
    putBe64(answer, version);
    putBe64(answer + 8, round);
    putBe64(answer + 16, eligible);
    putBe32(answer + 24, merged);
    store<u16>(answer + 28, bswap<u16>(<u16>accepted));
    putBe32(answer + 30, pageCount);
    putBe32(answer + 34, groupCount);
    copyOver(answer + TASK_HEAD, shape, shapeLength);
    return answer - HEADER;
  }
  const first = be32(question + 9);
  const count = be32(question + 13);
  if (first > pageCount || count > pageCount - first || count == 0) {
    refuseNumbers("NoSuchPage: ", count, " pages from page ", first, " on were asked for, beyond what the task has");
  }
  const end = first + count;
  const weights = min<u32>(end * pageLength, weightCount) - first * pageLength;
  const answer = newAnswer(PAGES_HEAD + (kind == 2 ? weights << 1 : count << 5));
  putBe64(answer, version);
  putBe32(answer + 8, merged);
  let to = answer + PAGES_HEAD;
  for (let page = first; page < end; page++) {
    const kept = mark();
    const value = readPage(task, page, countIn(page)) + HEADER;
    if (kind == 2) {
      copyOver(to, value + DIGEST_BYTES, countIn(page) << 1);
      to += countIn(page) << 1;
    } else {
      copy32(to, value);
      to += 32;
    }
    release(kept);
  }
  return answer - HEADER;
}

/** A byte string to be answered with, and some room for copies that run over. */
function newAnswer(length: u32): usize {
  const value = <usize>allocate(<u32>HEADER + length + 8);
  putHeader(value, TYPE_BYTES, length);
  return value + HEADER;
}

function badQuestion(): void {
  refuseWith("BadQuestion: an operation is 0x01 and a task (9 bytes), or 0x02 or 0x03, a task, a first page and a count (17 bytes)");
}
