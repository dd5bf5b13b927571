// All that the page shows, in one value; whoever changes it calls `changed`.

import type { Stroke } from "./bitmap";
import type { Event } from "./chain/contracts";
import type { Model } from "./domain/model";
import type { Quantised } from "./domain/quantise";
import type { Shape } from "./domain/shape";
import type { Samples } from "./domain/training";
import type { Start } from "./services/call";
import type { Balance, Chain, Earnings, Round, Task, Verdict } from "./services/messages";
import type { Carried, Sample } from "./store";
import type { Announced } from "./wallet/discover";
import type { Measured } from "./worker";

export interface Notice {
  tone: "info" | "good" | "bad";
  text: string;
  action?: { label: string; run: () => unknown };
}

export interface Trained {
  base: string;
  before: Measured;
  after: Measured;
  quantised: Quantised;
  bytes: number;
  digest: string;
  gas: number;
  data: string;
  /** The update's length over the task's bound: beyond 1 it is scaled down. */
  lengths: number;
}

export interface VersionPoint {
  version: number;
  block: number;
  accepted: number;
  /** Of the held-out digits, 0 to 1; null where they do not fit the task, or the node has forgotten these weights. */
  accuracy: number | null;
  submitGas: number;
  settleGas: number;
  bytes: number;
}

export interface RefusedOnChain {
  block: number;
  from: string;
  reason: string;
  text: string;
}

export interface Live {
  events: Event[];
  points: VersionPoint[];
  refused: RefusedOnChain[];
  until: number;
}

export interface Answer {
  shares: Float32Array;
  version: string;
  digest: string;
  ms: number;
}

export interface State {
  taskNumber: string;
  start: Start | null;
  chain: Chain | null;
  genesis: string;
  tasks: Task[];
  task: Task | null;
  missing: string;
  model: Model | null;
  modelTrouble: string;
  shape: Shape | null;
  weights: Float32Array | null;
  weightsVersion: string;
  round: Round | null;
  /** By rule evidence: the round before, with what was said of each update. */
  judged: Round | null;
  away: string;

  strokes: Stroke[];
  drawing: boolean;
  pen: { x: number; y: number; down: boolean } | null;
  values: Float32Array | null;
  pictures: Float32Array[];
  shares: Float32Array | null;
  samples: Sample[];
  starter: Samples | null;
  test: Samples | null;

  wallets: Announced[];
  wallet: Announced | null;
  account: string;
  walletChain: string;
  balance: Balance | null;
  earnings: Earnings | null;
  /** By step: what it waits for just now. */
  waits: Record<string, string>;

  training: { step: number; losses: number[] } | null;
  trained: Trained | null;
  carried: Carried;
  /** What became of our last update; fresh: how many examples judged it, by rule evidence. */
  outcome: { round: string; version: string; paidWei: bigint; verdict: Verdict | null; fresh: number } | null;

  session: { token: string; until: number } | null;
  answer: Answer | null;

  live: Live;
  notice: Notice | null;
  now: number;
}

export const state: State = {
  taskNumber: "",
  start: null,
  chain: null,
  genesis: "",
  tasks: [],
  task: null,
  missing: "",
  model: null,
  modelTrouble: "",
  shape: null,
  weights: null,
  weightsVersion: "",
  round: null,
  judged: null,
  away: "",
  strokes: [],
  drawing: false,
  pen: null,
  values: null,
  pictures: [],
  shares: null,
  samples: [],
  starter: null,
  test: null,
  wallets: [],
  wallet: null,
  account: "",
  walletChain: "",
  balance: null,
  earnings: null,
  waits: {},
  training: null,
  trained: null,
  carried: { residual: null, held: null },
  outcome: null,
  session: null,
  answer: null,
  live: { events: [], points: [], refused: [], until: 0 },
  notice: null,
  now: Date.now(),
};

let render: () => void = () => {};
let due = false;

export function onChange(draw: () => void): void {
  render = draw;
}

/** Draws again before the next frame, once however often it is called. */
export function changed(): void {
  if (due) return;
  due = true;
  queueMicrotask(() => {
    due = false;
    render();
  });
}

export function say(tone: Notice["tone"], text: string, action?: Notice["action"]): void {
  const notice: Notice = action ? { tone, text, action } : { tone, text };
  state.notice = notice;
  changed();
  // good news is in the steps, too, and need not lie over them for long
  if (tone === "good") setTimeout(() => state.notice === notice && ((state.notice = null), changed()), 8000);
}
