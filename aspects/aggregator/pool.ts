// The pool's storage, read from outside: slots as solc lays them out (tests hold these numbers to its storage layout).

import { HEADER, TYPE_BYTES, be16, be32, be64, copy20, putBe64, putHeader } from "./bytes";
import { storageGet } from "./host";
import { keccak256 } from "./keccak";
import { ADDRESS, PAIR, SLOT } from "./memory";

/** Slot of `mapping(uint64 task => Task) _tasks`; a task's first slot is its `Round`. */
export const TASKS_SLOT: u64 = 1;
/** Slot of `mapping(uint64 task => mapping(address account => Stake)) _stakes`. */
export const STAKES_SLOT: u64 = 2;

// struct Round, one slot, the first field in the lowest bits: version u32 | round u32 | eligible u40 | present u40 | since u40 | merged u24 |
// accepted u16 | loaded u24.
export let version: u64 = 0;
export let round: u64 = 0;
export let eligible: u64 = 0;
export let merged: u32 = 0;
export let accepted: u32 = 0;
export let loaded: u32 = 0;

/** Takes the pool's 20 address bytes for the calls below. */
export function setPool(address: usize): void {
  putHeader(ADDRESS, TYPE_BYTES, 20);
  copy20(ADDRESS + HEADER, address);
  putHeader(SLOT, TYPE_BYTES, 32);
}

/** Reads the task's open round. */
export function readRound(task: u64): void {
  slotOf(task, TASKS_SLOT);
  const slot = storageGet(ADDRESS, SLOT) + HEADER;
  version = <u64>be32(slot + 28);
  round = <u64>be32(slot + 24);
  eligible = be64(slot + 16) & 0xffffffffff;
  merged = be32(slot + 5) & 0xffffff;
  accepted = be16(slot + 4);
  loaded = be32(slot) & 0xffffff;
}

/** The account's stake that counts in the open round: all of it but what was locked in that round. `readRound` came before. */
export function readStake(task: u64, account: usize): u64 {
  slotOf(task, STAKES_SLOT);
  // The inner mapping's slot is the hash just made: key, then slot.
  store<u64>(PAIR, 0);
  store<u32>(PAIR, 0, 8);
  copy20(PAIR + 12, account);
  store<u64>(PAIR, load<u64>(SLOT + HEADER), 32);
  store<u64>(PAIR, load<u64>(SLOT + HEADER, 8), 40);
  store<u64>(PAIR, load<u64>(SLOT + HEADER, 16), 48);
  store<u64>(PAIR, load<u64>(SLOT + HEADER, 24), 56);
  keccak256(PAIR, 64, SLOT + HEADER);
  // struct Stake: amount u64 | fresh u64 | round u64 | submitted u64, the first in the lowest bits
  const slot = storageGet(ADDRESS, SLOT) + HEADER;
  const amount = be64(slot + 24);
  return be64(slot + 8) == round ? amount - be64(slot + 16) : amount;
}

/** Puts the slot of a mapping's entry at SLOT: keccak256(key | slot of the mapping), both 32 bytes. */
function slotOf(key: u64, mapping: u64): void {
  for (let i: usize = 0; i < 64; i += 8) store<u64>(PAIR + i, 0);
  putBe64(PAIR + 24, key);
  putBe64(PAIR + 56, mapping);
  keccak256(PAIR, 64, SLOT + HEADER);
}
