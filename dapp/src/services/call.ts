// gRPC by Connect's unary JSON: nine lines, and the errors in this page's own words.

import { Refusal } from "../domain/bytes";
import type { Balance, Chain, Earnings, InferParameter, Round, Task } from "./messages";

async function call<T>(method: string, message: unknown, token = ""): Promise<T> {
  const headers: Record<string, string> = { "Content-Type": "application/json", "Connect-Protocol-Version": "1" };
  if (token) headers["Authorization"] = `Bearer ${token}`;
  let reply: Response;
  try {
    reply = await fetch(`/${method}`, { method: "POST", headers, body: JSON.stringify(message) });
  } catch {
    throw new Refusal("Unreachable", "the page's server does not answer; this page tries again by itself");
  }
  const answer = await reply.json().catch(() => ({ code: "unknown", message: reply.statusText }));
  if (reply.ok) return answer;
  const detail = answer.details?.find((one: any) => one.debug?.reason)?.debug;
  if (!detail && ["unavailable", "deadline_exceeded"].includes(answer.code)) {
    throw new Refusal("Unreachable", method.startsWith(GATEWAY) ? "the gateway does not answer; this page tries again by itself" : "The model server does not answer: ask again in a moment.", answer);
  }
  throw new Refusal(detail?.reason ?? answer.code, answer.message, { code: answer.code, ...detail?.metadata });
}

const GATEWAY = "linklearner.v1.ChainGatewayService";
const SESSIONS = "linklearner.v1.SessionService";
const INFERENCE = "inference.GRPCInferenceService";

export const gateway = {
  chain: () => call<Chain>(`${GATEWAY}/GetChain`, {}),
  tasks: () => call<{ tasks?: Task[] }>(`${GATEWAY}/ListTasks`, {}),
  task: async (task: string) => (await call<{ task: Task }>(`${GATEWAY}/GetTask`, { task })).task,
  round: (task: string, round: string) => call<Round>(`${GATEWAY}/GetRound`, { task, round }),
  balance: (account: string, task: string) => call<Balance>(`${GATEWAY}/GetBalance`, { account, task }),
  earnings: async (account: string, task: string): Promise<Earnings> => {
    const { earnings, record } = await call<{ earnings: Earnings; record?: { recordQ16: number } }>(`${GATEWAY}/GetEarnings`, { account, task });
    return record ? { ...earnings, recordQ16: record.recordQ16 } : earnings;
  },
};

export const modelServer = {
  challenge: (address: string, nonce: string, origin: string) =>
    call<{ message: string }>(`${SESSIONS}/CreateChallenge`, { address, nonce, origin }),
  open: (message: string, signature: string) =>
    call<{ token: string; expiresS: string }>(`${SESSIONS}/OpenSession`, { message, signature }),
  infer: (request: unknown, token: string) =>
    call<{ modelVersion: string; parameters?: Record<string, InferParameter>; rawOutputContents: string[] }>(
      `${INFERENCE}/ModelInfer`,
      request,
      token,
    ),
};

export interface Start {
  task: string;
  modelServer: boolean;
  faucet: { coinWei: string; tokenWei: string } | null;
}

export async function start(): Promise<Start> {
  const reply = await fetch("/page.json");
  if (!reply.ok) throw new Refusal("Unreachable", "the page's server does not answer");
  return reply.json();
}

export async function file(name: string): Promise<ArrayBuffer> {
  const reply = await fetch(name).catch(() => null);
  if (!reply?.ok) throw new Refusal("Unreachable", "the page's server does not answer; this page tries again by itself");
  return reply.arrayBuffer();
}

export async function askFaucet(account: string): Promise<{ coinWei: string; tokenWei: string }> {
  const reply = await fetch("/faucet", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ account }),
  });
  if (reply.ok) return reply.json();
  const text = await reply.text();
  let message = text.trim();
  try {
    message = JSON.parse(text).message;
  } catch {
    // a plain sentence
  }
  throw new Refusal("Faucet", message);
}
