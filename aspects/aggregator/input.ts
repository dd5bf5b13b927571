// What a call brings: the node's protobuf around it, and the contract's ABI encoding inside. Both are read in place.
//
// ABI arguments must be encoded canonically, byte for byte: dynamic arguments one after the other without gaps, the high bytes of numbers and
// addresses and the padding of byte strings zero, nothing cut off and nothing appended. The contract follows offsets, this Aspect follows
// lengths, and only where the offsets are the expected ones do the two read the same bytes. solc's decoder takes much more than that, other
// decoders less: calldata that this chain accepts must be read alike by all who come after, or a round could never be settled. So one call has
// one encoding, and `encode(decode(calldata)) == calldata` for what is accepted (tests/differential/calldata.py tries it).

import { be32, be64 } from "./bytes";
import { refuseWith, say } from "./refuse";

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
  if (<u64>at + (<u64>words << 5) > <u64>end) badCalldata("it is cut off");
}

/** Refuses the call unless the arguments end at `at`. */
export function expectEnd(at: usize): void {
  if (at != end) badCalldata("bytes follow the last argument");
}

/** The word at `at` as u64. */
export function word(at: usize): u64 {
  if (load<u64>(at) != 0 || load<u64>(at, 8) != 0 || load<u64>(at, 16) != 0) badCalldata("a number is too large");
  return be64(at + 24);
}

/** Refuses the call unless the word at `at` is an address: 12 zero bytes first. */
export function expectAddress(at: usize): void {
  if (load<u64>(at) != 0 || load<u32>(at, 8) != 0) badCalldata("an address is too long");
}

/** Refuses the call unless the word at `at` is `value`: an offset where every encoder puts it. */
export function expectWord(at: usize, value: u32): void {
  if (be32(at + 28) != value || load<u64>(at) != 0 || load<u64>(at, 8) != 0 || load<u64>(at, 16) != 0 || load<u32>(at, 24) != 0) {
    badCalldata("an offset leads elsewhere than to the next free place");
  }
}

/** The length word at `at` of an array of words, which must be there. */
export function countAt(at: usize): u32 {
  return lengthAt(at, 32);
}

/** The length word at `at` of a byte string, which must be there, and zeros behind it up to a whole word. */
export function bytesAt(at: usize): u32 {
  const length = lengthAt(at, 1);
  const stop = at + 32 + padded(length);
  if (stop > end) badCalldata("it is cut off");
  for (let padding = at + 32 + length; padding < stop; padding++) {
    if (load<u8>(padding) != 0) badCalldata("the padding behind a byte string is not zero");
  }
  return length;
}

function lengthAt(at: usize, unit: u32): u32 {
  needWords(at, 1);
  const length = word(at);
  if (length > 0xffffff || <u64>at + 32 + length * unit > <u64>end) badCalldata("a length reaches beyond its end");
  return <u32>length;
}

/** Bytes rounded up to words. */
@inline
export function padded(length: u32): u32 {
  return (length + 31) & ~31;
}

/** Whether the bytes are UTF-8 in the one way to write it: shortest forms, no surrogates, nothing above U+10FFFF. */
export function isText(at: usize, length: u32): bool {
  const stop = at + length;
  while (at < stop) {
    const first = <u32>load<u8>(at++);
    if (first < 0x80) continue;
    if (first < 0xc2 || first > 0xf4) return false;
    const more: usize = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (at + more > stop) return false;
    const second = <u32>load<u8>(at);
    if (first == 0xe0 && second < 0xa0) return false;
    if (first == 0xed && second > 0x9f) return false;
    if (first == 0xf0 && second < 0x90) return false;
    if (first == 0xf4 && second > 0x8f) return false;
    for (const next = at + more; at < next; at++) {
      if (load<u8>(at) >> 6 != 2) return false;
    }
  }
  return true;
}

function badCalldata(what: string): void {
  say("BadCalldata: the arguments are not in the ABI's one canonical encoding: ");
  say(what);
  refuseWith("; encode the call with the pool's own ABI");
}
