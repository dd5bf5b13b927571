// JSON-RPC to /rpc on this page's own origin.

import { Refusal } from "../domain/bytes";

export interface Block {
  number: string;
  hash: string;
  timestamp: string;
  transactions: Transaction[];
}
export interface Transaction {
  hash: string;
  from: string;
  to: string | null;
  input: string;
  gas: string;
}
export interface Receipt {
  status: string;
  gasUsed: string;
  blockNumber: string;
  logs: Log[];
}
export interface Log {
  address: string;
  topics: string[];
  data: string;
  blockNumber: string;
}

export class RpcError extends Error {
  constructor(
    readonly code: number,
    message: string,
    readonly data: unknown,
  ) {
    super(message);
  }
}

let number = 0;

/** Raises RpcError with what the node says, Refusal Unreachable where nobody answers. */
export async function rpc<T>(method: string, params: unknown[] = []): Promise<T> {
  let answer: { result?: T; error?: { code: number; message: string; data?: unknown } };
  try {
    const reply = await fetch("/rpc", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: ++number, method, params }),
    });
    if (!reply.ok) throw new Error(String(reply.status));
    answer = await reply.json();
  } catch {
    throw new Refusal("Unreachable", "the chain does not answer; this page tries again by itself");
  }
  if (answer.error) throw new RpcError(answer.error.code, answer.error.message, answer.error.data);
  return answer.result as T;
}

export const quantity = (value: number | bigint): `0x${string}` => `0x${value.toString(16)}`;
