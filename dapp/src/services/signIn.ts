// Which sign-in texts this page has signed: only ones that name this page, this account, this chain, this task and the number just sent.

import { Refusal, base64Of, bytesOf, hexOf } from "../domain/bytes";
import { modelServer } from "./call";

const TEXT =
  /^(\S{1,255}) wants you to sign in with your Ethereum account:\n(0x[0-9A-Fa-f]{40})\n\n([^\n]{1,500})\n\nURI: (\S{1,500})\nVersion: 1\nChain ID: ([1-9]\d{0,19})\nNonce: ([0-9a-f]{64})\nIssued At: (\S+Z)\nExpiration Time: (\S+Z)$/;

export function check(text: string, expected: { origin: string; account: string; chainId: string; task: string; nonce: string; now: number }): void {
  const [, domain, address, statement, uri, chainId, nonce, issued, expires] = TEXT.exec(text) ?? [];
  const wrong = (what: string): Refusal =>
    new Refusal("UntrustedChallenge", `The server asks for a signature that this page does not give: ${what}. Nothing was signed.`);
  if (!domain) throw wrong("its text is not a sign-in");
  if (domain !== new URL(expected.origin).host || !uri.startsWith(`${expected.origin}/`)) throw wrong("its text names another page");
  if (address.toLowerCase() !== expected.account.toLowerCase()) throw wrong("its text is for another account");
  if (chainId !== expected.chainId) throw wrong("its text is for another chain");
  if (statement !== `Ask the model of LinkLearner task ${expected.task}. This signature costs nothing and moves nothing.`) throw wrong("its text states something else");
  if (!nonce.startsWith(expected.nonce)) throw wrong("its text may be an old one");
  const life = Date.parse(expires) - Date.parse(issued);
  if (!(life > 0 && life <= 300_000)) throw wrong("its text lives too long");
  if (!(Math.abs(Date.parse(issued) - expected.now) <= 120_000)) throw wrong("one of the two clocks is wrong");
}

/** A session's token. sign: personal_sign by the account. */
export async function signIn(
  account: string,
  chainId: string,
  task: string,
  sign: (text: string) => Promise<string>,
): Promise<{ token: string; until: number }> {
  const nonce = crypto.getRandomValues(new Uint8Array(16));
  const origin = location.origin;
  const { message } = await modelServer.challenge(base64Of(bytesOf(account)), base64Of(nonce), origin);
  check(message, { origin, account, chainId, task, nonce: hexOf(nonce).slice(2), now: Date.now() });
  const signature = await sign(message);
  const opened = await modelServer.open(message, base64Of(bytesOf(signature)));
  return { token: opened.token, until: Number(opened.expiresS) * 1000 };
}
