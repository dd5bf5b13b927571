// What a call brings: the node's protobuf around it, and the contract's ABI encoding inside. Both are read in place.
//
// ABI arguments must be laid out as every encoder does it, one dynamic argument after the other: the contract follows offsets, this Aspect
// follows lengths, and only where the offsets are the expected ones do the two read the same bytes.

import { be32, be64 } from "./bytes";
import { refuseWith } from "./refuse";

let cursor: usize = 0;

/** Position of the bytes found by the last `findField`. */
export let fieldAt: usize = 0;
export let fieldLength: u32 = 0;

function varint(): u64 {
  let value: u64 = 0;
  let places: u64 = 0;
  let byte: u64;
  do {
    byte = <u64>load<u8>(cursor++);
    value |= (byte & 127) << places;
    places += 7;
  } while (byte > 127);
  return value;
}

/** Finds the length-delimited protobuf field `number` in a message. Whether it is there. Messages hold varints and byte strings only. */
export function findField(message: usize, length: u32, number: u64): bool {
  cursor = message;
  const end = message + length;
  while (cursor < end) {
    const tag = varint();
    const value = varint();
    if ((tag & 7) == 2) {
      if (tag >> 3 == number) {
        fieldAt = cursor;
        fieldLength = <u32>value;
        return true;
      }
      cursor += <usize>value;
    }
  }
  return false;
}

// ABI. `args`: behind the selector; all positions below are absolute addresses.

let end: usize = 0;

/** The arguments end here; nothing is read beyond. */
export function setEnd(to: usize): void {
  end = to;
}

/** Refuses the call unless `words` words follow `at`. */
export function needWords(at: usize, words: u32): void {
  if (<u64>at + (<u64>words << 5) > <u64>end) badCalldata();
}

/** The word at `at` as u64. */
export function word(at: usize): u64 {
  if (load<u64>(at) != 0 || load<u64>(at, 8) != 0 || load<u64>(at, 16) != 0) badCalldata();
  return be64(at + 24);
}

/** The low 8 bytes of the word at `at`; the contract's own decoder refuses higher ones. */
@inline
export function lowWord(at: usize): u64 {
  return be64(at + 24);
}

/** Refuses the call unless the word at `at` is `value`: an offset where every encoder puts it. */
export function expectWord(at: usize, value: u32): void {
  if (be32(at + 28) != value || load<u64>(at) != 0 || load<u64>(at, 8) != 0 || load<u64>(at, 16) != 0 || load<u32>(at, 24) != 0) {
    badCalldata();
  }
}

/** The length word at `at` of a byte string or array, of which `unit` bytes an element follow: they must be there. */
export function lengthAt(at: usize, unit: u32): u32 {
  needWords(at, 1);
  const length = word(at);
  if (length > 0xffffff || <u64>at + 32 + length * unit > <u64>end) badCalldata();
  return <u32>length;
}

/** Bytes rounded up to words. */
@inline
export function padded(length: u32): u32 {
  return (length + 31) & ~31;
}

export function badCalldata(): void {
  refuseWith("BadCalldata: the arguments are not encoded as the ABI's encoders do; call the pool with its own ABI");
}
