// The storage of the pool and of its stake vault, read from outside: slots as solc lays them out (tests hold these numbers to its storage layout).

import { HEADER, TYPE_BYTES, be16, be32, be64, copy20, putBe64, putHeader } from "./bytes";
import { storageGet } from "./host";
import { keccak256 } from "./keccak";
import { ADDRESS, PAIR, SLOT } from "./memory";

/** Slot of `mapping(uint64 task => Task) _tasks` of the pool; a task's first slot is its `Round`. */
export const TASKS_SLOT: u64 = 3;
/** Slot of `mapping(uint64 task => ExampleSet) _examples` of the pool; a set's first slot is all that is read of it. */
export const EXAMPLES_SLOT: u64 = 6;
/** Slot of `mapping(uint64 task => mapping(address account => int32)) _records` of the pool. */
export const RECORDS_SLOT: u64 = 7;
/** Slot of `mapping(uint64 task => mapping(address account => Stake)) _stakes` of the vault. */
export const STAKES_SLOT: u64 = 6;

const LOW_40: u64 = 0xffffffffff;

// struct Round, one slot, the first field in the lowest bits: version u32 | round u32 | eligible u40 | present u40 | openedAt u32 | firstAt u32 |
// merged u24 | accepted u16. While version is 0, `present` counts the pages loaded.
export let version: u64 = 0;
export let round: u64 = 0;
export let eligible: u64 = 0;
export let openedAt: u32 = 0;
export let merged: u32 = 0;
export let accepted: u32 = 0;
export let loaded: u32 = 0;

/** Takes the pool's 20 address bytes for the calls below. */
export function setPool(address: usize): void {
  setContract(address);
  putHeader(SLOT, TYPE_BYTES, 32);
}

function setContract(address: usize): void {
  putHeader(ADDRESS, TYPE_BYTES, 20);
  copy20(ADDRESS + HEADER, address);
}

/** Reads the task's open round. */
export function readRound(task: u64): void {
  slotOf(task, TASKS_SLOT);
  const slot = storageGet(ADDRESS, SLOT) + HEADER;
  version = <u64>be32(slot + 28);
  round = <u64>be32(slot + 24);
  eligible = be64(slot + 16) & LOW_40;
  openedAt = be32(slot + 10);
  merged = be32(slot + 2) & 0xffffff;
  accepted = be16(slot + 1);
  loaded = version == 0 ? <u32>(be64(slot + 11) & LOW_40) : 0;
}

/**
 * The account's stake that counts in the open round: all of it but what matures after the round's opening. `vault`: its 20 address bytes.
 * `readRound` came before; it cannot be called after this.
 */
export function readStake(vault: usize, task: u64, account: usize): u64 {
  setContract(vault);
  slotOf(task, STAKES_SLOT);
  innerSlotOf(account);
  // struct Stake: amount u40 | fresh u40 | maturesAt u32 | submitted u32 | unlocking u40 | withdrawableAt u32, the first in the lowest bits
  const slot = storageGet(ADDRESS, SLOT) + HEADER;
  const amount = be64(slot + 24) & LOW_40;
  return be32(slot + 18) > openedAt ? amount - (be64(slot + 19) & LOW_40) : amount;
}

// struct ExampleSet, its first slot, the first field in the lowest bits: batches u32 | examples u32 | openedBatches u32 | openedExamples u32 |
// inputExponent u8 | pay u8.
export let batches: u32 = 0;
export let openedBatches: u32 = 0;
export let openedExamples: u32 = 0;
export let inputExponent: u32 = 0;
export let payKind: u32 = 0;

/** Reads what the pool knows of the task's examples. Before `readStake`. */
export function readExampleSet(task: u64): void {
  slotOf(task, EXAMPLES_SLOT);
  const slot = storageGet(ADDRESS, SLOT) + HEADER;
  batches = be32(slot + 28);
  openedBatches = be32(slot + 20);
  openedExamples = be32(slot + 16);
  inputExponent = <u32>load<u8>(slot, 15);
  payKind = <u32>load<u8>(slot, 14);
}

/** E of the account, whose 20 address bytes are given. Before `readStake`. */
export function readRecord(task: u64, account: usize): i32 {
  slotOf(task, RECORDS_SLOT);
  innerSlotOf(account);
  return <i32>be32(storageGet(ADDRESS, SLOT) + HEADER + 28);
}

/** Of a mapping's mapping: SLOT holds the outer entry's slot, and then the inner one's: keccak256(account | slot). */
function innerSlotOf(account: usize): void {
  store<u64>(PAIR, 0);
  store<u32>(PAIR, 0, 8);
  copy20(PAIR + 12, account);
  store<u64>(PAIR, load<u64>(SLOT + HEADER), 32);
  store<u64>(PAIR, load<u64>(SLOT + HEADER, 8), 40);
  store<u64>(PAIR, load<u64>(SLOT + HEADER, 16), 48);
  store<u64>(PAIR, load<u64>(SLOT + HEADER, 24), 56);
  keccak256(PAIR, 64, SLOT + HEADER);
}

/** Puts the slot of a mapping's entry at SLOT: keccak256(key | slot of the mapping), both 32 bytes. */
function slotOf(key: u64, mapping: u64): void {
  for (let i: usize = 0; i < 64; i += 8) store<u64>(PAIR + i, 0);
  putBe64(PAIR + 24, key);
  putBe64(PAIR + 56, mapping);
  keccak256(PAIR, 64, SLOT + HEADER);
}
