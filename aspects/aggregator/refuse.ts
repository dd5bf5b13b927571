// Reverting with a reason: "Name: a sentence with the facts". ASCII only.

import { HEADER, TYPE_STRING, putHeader } from "./bytes";
import { revert } from "./host";
import { REASON } from "./memory";

let length: usize = 0;

/** Adds text to the reason. */
export function say(text: string): void {
  const from = changetype<usize>(text);
  for (let i = 0; i < text.length; i++) store<u8>(REASON + HEADER + length++, load<u16>(from + (<usize>i << 1)));
}

/** Adds a number, decimal. */
export function sayNumber(value: u64): void {
  if (value >= 10) sayNumber(value / 10);
  store<u8>(REASON + HEADER + length++, 48 + <u8>(value % 10));
}

/** Reverts with what has been said. Never returns. */
export function refuse(): void {
  putHeader(REASON, TYPE_STRING, <u32>length);
  revert(REASON);
  unreachable();
}

/** Reverts with one sentence. */
export function refuseWith(text: string): void {
  say(text);
  refuse();
}

/** Reverts with two numbers in a sentence. */
export function refuseNumbers(before: string, first: u64, between: string, second: u64, after: string): void {
  say(before);
  sayNumber(first);
  say(between);
  sayNumber(second);
  say(after);
  refuse();
}
