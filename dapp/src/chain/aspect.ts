// What the Aspect answers to readers, through Artela's system contract: a task's weights.

import { Refusal, bytesOf, hexOf, same } from "../domain/bytes";
import { modelDigest, weightsOf } from "../domain/digest";
import type { Shape } from "../domain/shape";
import { decode } from "./coder";
import { calldata } from "./contracts";
import { quantity, rpc } from "./rpc";

const SYSTEM = "0x0000000000000000000000000000000000a27e14";
const READ_BYTES = 1 << 20;

async function operate(aspect: string, question: Uint8Array, block: string): Promise<Uint8Array> {
  const data = calldata("entrypoint", aspect, hexOf(question));
  const answer = await rpc<`0x${string}`>("eth_call", [{ to: SYSTEM, data }, block]);
  return bytesOf(decode("bytes", answer.slice(2), 0) as string);
}

/** Question 0x02, at one block: (N,) int16. Raises a Refusal unless they are of this version and give this digest. */
export async function weights(
  aspect: string,
  task: bigint,
  shape: Shape,
  version: bigint,
  digest: Uint8Array,
  block?: number,
): Promise<Int16Array> {
  const at = quantity(block ?? Number(await rpc<string>("eth_blockNumber")));
  const count = Math.max(1, Math.floor(READ_BYTES / (2 * shape.pageLength)));
  const whole = new Uint8Array(2 * shape.weightCount);
  for (let first = 0; first < shape.pageCount; first += count) {
    const pages = Math.min(count, shape.pageCount - first);
    const question = new Uint8Array(17);
    const asked = new DataView(question.buffer);
    asked.setUint8(0, 2);
    asked.setBigUint64(1, task);
    asked.setUint32(9, first);
    asked.setUint32(13, pages);
    const answer = await operate(aspect, question, at);
    const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
    const from = 2 * shape.pageStart(first);
    if (answer.length !== 12 + 2 * shape.pageStop(first + pages - 1) - from) throw new Refusal("DataLoss", "the chain gave weights of another length");
    if (view.getBigUint64(0) !== version || view.getUint32(8)) throw new Refusal("Moved", "the weights have just changed");
    whole.set(answer.subarray(12), from);
  }
  if (!same(modelDigest(whole, shape), digest)) throw new Refusal("DataLoss", "the chain's weights do not give the digest that was announced");
  return weightsOf(whole);
}
