// What the live view is drawn from: the task's events, and with each version its accuracy, its gas, and what was refused on the way.

import * as aspect from "./chain/aspect";
import { type Event, TOPICS, readEvent, refusalOf } from "./chain/contracts";
import { type Block, type Log, type Receipt, quantity, rpc } from "./chain/rpc";
import { type Refusal, bytesOf } from "./domain/bytes";
import { dequantise } from "./domain/fixedpoint";
import { accuracy } from "./domain/training";
import { hex } from "./format";
import { gateway } from "./services/call";
import { type VersionPoint, changed, state } from "./state";

const POINTS = 40; // versions shown
const BLOCKS = 40; // newest blocks that are looked through for refusals

let following = false;

/** Reads on from where it stopped. Whatever fails is read at the next call. */
export async function follow(): Promise<void> {
  if (following || !state.task || !state.chain) return;
  following = true;
  try {
    const number = state.taskNumber;
    const head = Number(await rpc<string>("eth_blockNumber"));
    const from = state.live.until ? state.live.until + 1 : Number(state.chain.deployedBlockNumber);
    if (head < from) return;
    const word = `0x${BigInt(number).toString(16).padStart(64, "0")}`;
    const logs = await rpc<Log[]>("eth_getLogs", [
      {
        address: [hex(state.chain.pool), hex(state.chain.vault)],
        fromBlock: quantity(from),
        toBlock: quantity(head),
        topics: [TOPICS, word],
      },
    ]);
    if (state.taskNumber !== number) return;
    const events = logs.map(readEvent).filter((one): one is Event => one !== null);
    state.live.events = [...state.live.events, ...events].slice(-2000);
    state.live.until = head;
    changed();
    for (const event of events.filter((one) => one.name === "ModelUpdated").slice(-POINTS)) {
      const point = await pointOf(event);
      if (state.taskNumber !== number) return;
      state.live.points = [...state.live.points, point].slice(-POINTS);
      changed();
    }
    await refusals(Math.max(from, head - BLOCKS + 1), head);
  } catch {
    // the page says by itself that the chain is away
  } finally {
    following = false;
    changed();
  }
}

async function pointOf(event: Event): Promise<VersionPoint> {
  const { version, digest, round, accepted } = event.values;
  const point: VersionPoint = {
    version: Number(version), block: event.block, accepted: Number(accepted), accuracy: null,
    submitGas: 0, settleGas: 0, bytes: 0,
  };
  if (state.test && state.model?.layers && state.shape) {
    const raw = await aspect
      .weights(hex(state.chain!.aspect), BigInt(state.taskNumber), state.shape, BigInt(version), bytesOf(digest), event.block)
      .catch(() => null); // the node no longer has that state
    if (raw) point.accuracy = accuracy(state.model, dequantise(raw, state.shape), state.test);
  }
  if (round) {
    const over = await gateway.round(state.taskNumber, String(round)).catch(() => null);
    for (const one of over?.contributions ?? []) {
      point.submitGas += Number(one.receipt?.gasUsed ?? 0);
      point.bytes += Number(one.updateBytes);
    }
    for (const one of over?.settlements ?? []) point.settleGas += Number(one.gasUsed);
  }
  return point;
}

async function refusals(from: number, to: number): Promise<void> {
  const contracts = [hex(state.chain!.pool), hex(state.chain!.vault)];
  for (let number = from; number <= to; number++) {
    const block = await rpc<Block>("eth_getBlockByNumber", [quantity(number), true]);
    for (const transaction of block.transactions) {
      if (!transaction.to || !contracts.includes(transaction.to.toLowerCase())) continue;
      const receipt = await rpc<Receipt>("eth_getTransactionReceipt", [transaction.hash]);
      if (receipt.status === "0x1") continue;
      const { from: sender, to: target, input, gas } = transaction;
      // as it stood before the block; and after it, because what was in the way may have come in it
      const ask = (at: number): Promise<Refusal | null> => rpc("eth_call", [{ from: sender, to: target, data: input, gas }, quantity(at)]).then(() => null, refusalOf);
      const refusal = (await ask(number - 1)) ?? (await ask(number));
      state.live.refused = [
        { block: number, from: sender, reason: refusal?.reason ?? "Refused", text: refusal?.message ?? "" },
        ...state.live.refused,
      ].slice(0, 20);
      changed();
    }
  }
}
