// The Aspect's own state: "t" task -> the rule's number (1 byte) and the shape's bytes; "p" task page -> page digest
// (32 bytes) and the page's weights, int16 little-endian; "x" task batch -> the examples of a batch that was opened (rule evidence).
// Task and page are three characters of seven bits each, so that a key is valid UTF-8. Keys are short: a written byte costs 156.25 gas.

import { HEADER, TYPE_STRING, lengthOf, putHeader } from "./bytes";
import { stateGet } from "./host";
import { KEY } from "./memory";
import { refuseNumbers } from "./refuse";

export const MAX_TASK: u64 = (1 << 21) - 1;
/** Bytes before the shape in the state value of a task. */
export const RULE_BYTES: u32 = 1;
/** Bytes before the weights in the state value of a page. */
export const DIGEST_BYTES: u32 = 32;

@inline
function putSeven(at: usize, value: u32): void {
  store<u8>(at, (value >> 14) & 127);
  store<u8>(at, (value >> 7) & 127, 1);
  store<u8>(at, value & 127, 2);
}

/** The key of a task's rule and shape. */
export function shapeKey(task: u32): usize {
  putHeader(KEY, TYPE_STRING, 4);
  store<u8>(KEY, 0x74, HEADER);
  putSeven(KEY + HEADER + 1, task);
  return KEY;
}

/** The key of a page. */
export function pageKey(task: u32, page: u32): usize {
  putHeader(KEY, TYPE_STRING, 7);
  store<u8>(KEY, 0x70, HEADER);
  putSeven(KEY + HEADER + 1, task);
  putSeven(KEY + HEADER + 4, page);
  return KEY;
}

/** The key of a batch of examples. */
export function batchKey(task: u32, batch: u32): usize {
  pageKey(task, batch);
  store<u8>(KEY, 0x78, HEADER);
  return KEY;
}

/** The state value of a page of `count` weights: header, digest, weights, in place. */
export function readPage(task: u32, page: u32, count: u32): usize {
  const value = stateGet(pageKey(task, page));
  if (lengthOf(value) != DIGEST_BYTES + 2 * count) {
    refuseNumbers("NotLoaded: page ", page, " of task ", task, " has no weights yet");
  }
  return value;
}
