// Pool and vault by their ABI: calldata, events, and what a refusal says.

import { Refusal } from "../domain/bytes";
import { ERRORS, EVENTS, FUNCTIONS } from "./abi";
import { type Type, decode, encode } from "./coder";
import { type Log, RpcError } from "./rpc";

type Hex = `0x${string}`;

export type FunctionName = keyof typeof FUNCTIONS;
export type EventName = (typeof EVENTS)[keyof typeof EVENTS][0];

export function calldata(name: FunctionName, ...values: unknown[]): Hex {
  const [selector, types] = FUNCTIONS[name];
  return `${selector}${encode(types as readonly Type[], values)}` as Hex;
}

export interface Event {
  name: EventName;
  values: Record<string, any>;
  block: number;
}

/** Of all events that this page knows; each names its task first. */
export const TOPICS = Object.keys(EVENTS);

/** null for an event that this page does not know. */
export function readEvent(log: Log): Event | null {
  const known = (EVENTS as Record<string, readonly [EventName, readonly (readonly [string, string, boolean])[]]>)[log.topics[0]];
  if (!known) return null;
  const values: Record<string, any> = {};
  let [topics, words] = [1, 0];
  for (const [name, type, indexed] of known[1]) {
    values[name] = indexed ? decode(type as Type, (log.topics[topics++] ?? "0x").slice(2), 0) : decode(type as Type, log.data.slice(2), words++);
  }
  return { name: known[0], values, block: Number(log.blockNumber) };
}

export const SEALED = "This task takes sealed updates, which this page cannot send. A trainer on a computer can (linklearner train).";

/** What to do about a refusal, by its name. */
const REMEDY: Record<string, string> = {
  AlreadySubmitted: "One update an account and round: wait for the next version.",
  BelowMinimumStake: "Too little of your stake counts in this round. Lock more, or wait for the round in which it counts.",
  ERC20InsufficientBalance: "There is too little $LL in this account.",
  EmptyUpdate: "The update moves nothing: draw something new and train again.",
  InsufficientFunds: "There is too little coin in this account to pay for gas.",
  NotCommitted: SEALED,
  NoStake: "Lock $LL for this task first.",
  PhaseOver: "The round takes no more updates: it is being judged. Submit to the next one.",
  NotYetDroppable: "The round cannot be ended yet.",
  RoundFull: "The round is full: wait for the next version.",
  RoundNotOver: "The round is not over yet.",
  RoundSettling: "The round is being settled: wait for the next version.",
  StakeStillLocked: "The stake is still held.",
  StaleBase: "The model moved on while you trained: train again on the new version.",
  TaskIsClosing: "The task's creator has closed it.",
  TaskNotReady: "The task's first weights are still being loaded.",
};

/** What a wallet or a node refused with, as a Refusal: the Aspect's "Name: sentence", a custom error, or their own words. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const given = error as { code?: number; message?: string; data?: any };
  if (given?.code === 4001) return new Refusal("Declined", "You declined it in your wallet. Nothing was sent.");
  const message = String(given?.message ?? error);
  const nested = given?.data?.data ?? given?.data?.originalError?.data;
  const data = typeof given?.data === "string" ? given.data : typeof nested === "string" ? nested : "";
  const known = (ERRORS as Record<string, readonly [string, readonly (readonly [string, string])[]]>)[data.slice(0, 10)];
  if (known) {
    const facts: Record<string, string> = {};
    known[1].forEach(([name, type], i) => (facts[name] = String(decode(type as Type, data.slice(10), i))));
    const shown = Object.entries(facts).map(([name, value]) => `${name} ${value.length > 20 ? `${value.slice(0, 6)}…${value.slice(-4)}` : value}`).join(", ");
    return new Refusal(known[0], REMEDY[known[0]] ?? `The contract refused: ${known[0]}${shown ? ` (${shown})` : ""}.`, facts);
  }
  const text = data.startsWith("0x08c379a0") ? String(decode("string", data.slice(10), 0)) : message.split("execution reverted: ")[1];
  const named = text?.match(/^([A-Z]\w+): (.+)$/s);
  if (named) return new Refusal(named[1], REMEDY[named[1]] ?? `${named[2][0].toUpperCase()}${named[2].slice(1)}.`);
  if (/insufficient (funds|balance)/.test(message)) return new Refusal("InsufficientFunds", REMEDY["InsufficientFunds"]);
  if (error instanceof RpcError) return new Refusal("NodeRefused", text ?? message);
  return new Refusal("Failed", message.slice(0, 300));
}
