// The rules that this Aspect has: one row in each function. docs/recipes/rule.md says how to add one.
//
// A rule says what the verdict on an update is, and how a page's weights move: `begin` once a settlement, then for each page that an update
// has `beginPage`, `addPage` for each such update, `movePage`. A rule that looks at the whole model (`isWhole`) settles by itself instead.
// When rounds begin and end, and what is paid, is for the pool's half of a rule.

import { refuse, say, sayNumber } from "../refuse";
import * as evidence from "./evidence";
import * as mean from "./mean";

/** Whether the rule settles the whole model at once, and answers for each update (`evidence.settle`). */
@inline
export function isWhole(rule: u32): bool {
  return rule == evidence.NUMBER;
}

@inline
export function verdict(rule: u32, weight: u64, norm: u64): u64 {
  if (rule == mean.NUMBER) return mean.verdict(weight, norm);
  if (rule == evidence.NUMBER) return evidence.verdict(weight);
  return unknown(rule);
}

@inline
export function begin(rule: u32, present: u64): void {
  if (rule == mean.NUMBER) mean.begin(present);
  else unknown(rule);
}

@inline
export function beginPage(rule: u32, page: u32): void {
  if (rule == mean.NUMBER) mean.beginPage(page);
}

@inline
export function addPage(rule: u32, encoding: u32, header: usize, effective: i64, page: u32, first: u32, data: usize): void {
  if (rule == mean.NUMBER) mean.addPage(encoding, header, effective, page, first, data);
}

@inline
export function movePage(rule: u32, weights: usize, count: u32): u64 {
  if (rule == mean.NUMBER) return mean.movePage(weights, count);
  return unknown(rule);
}

/** The pool opened a task by a rule that it has and this Aspect has not. */
function unknown(rule: u32): u64 {
  say("NoSuchRule: the task goes by rule ");
  sayNumber(rule);
  say(", which this Aspect does not have; the pool and its Aspect do not belong together");
  refuse();
  return 0;
}
