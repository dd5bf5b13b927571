// A wallet for those who have none, on development chains alone: a key in this browser, that signs what this page asks. A chunk of its own,
// loaded when it is asked for, and announced like any other wallet.

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import * as secp from "@noble/secp256k1";

import { rpc } from "../chain/rpc";
import { bytesOf, concat, hexOf } from "../domain/bytes";
import { keccak } from "../domain/keccak";
import type { Announced, Provider } from "./discover";

const KEPT = "linklearner practice wallet";

secp.hashes.sha256 = sha256;
secp.hashes.hmacSha256 = (key, message) => hmac(sha256, key, message);

function key(): Uint8Array {
  let kept = localStorage.getItem(KEPT);
  if (!kept || !/^0x[0-9a-f]{64}$/.test(kept)) {
    kept = hexOf(secp.utils.randomSecretKey());
    localStorage.setItem(KEPT, kept);
  }
  return bytesOf(kept);
}

/** r, s and the parity of a signature of a digest. */
function sign(digest: Uint8Array, secret: Uint8Array): [Uint8Array, Uint8Array, number] {
  const signed = secp.sign(digest, secret, { prehash: false, format: "recovered" });
  return [signed.subarray(1, 33), signed.subarray(33, 65), signed[0]];
}

/** Recursive length prefix, of byte strings in a list. */
function rlp(items: readonly Uint8Array[]): Uint8Array {
  const body = concat(items.map((item) => (item.length === 1 && item[0] < 0x80 ? item : concat([prefix(item.length, 0x80), item]))));
  return concat([prefix(body.length, 0xc0), body]);
}

function prefix(length: number, base: number): Uint8Array {
  if (length < 56) return Uint8Array.of(base + length);
  const size = trimmed(BigInt(length));
  return Uint8Array.of(base + 55 + size.length, ...size);
}

/** Big-endian without leading zeros: 0 is empty. */
function trimmed(value: bigint): Uint8Array {
  const digits = value ? value.toString(16) : "";
  return bytesOf(digits.length % 2 ? `0${digits}` : digits);
}

class PracticeWallet implements Provider {
  readonly #key = key();
  readonly #address = hexOf(keccak(secp.getPublicKey(this.#key, false).subarray(1)).subarray(12));
  /** Sends one after another: each needs the nonce after the one before. */
  #turn: Promise<unknown> = Promise.resolve();

  async request({ method, params = [] }: { method: string; params?: any[] }): Promise<any> {
    switch (method) {
      case "eth_requestAccounts":
      case "eth_accounts":
        return [this.#address];
      case "wallet_switchEthereumChain":
      case "wallet_addEthereumChain":
        return null;
      case "personal_sign": {
        const text = bytesOf(params[0]);
        const head = new TextEncoder().encode(`\x19Ethereum Signed Message:\n${text.length}`);
        const [r, s, parity] = sign(keccak(concat([head, text])), this.#key);
        return hexOf(concat([r, s, Uint8Array.of(27 + parity)]));
      }
      case "eth_sendTransaction":
        return (this.#turn = this.#turn.catch(() => null).then(() => this.#send(params[0])));
      default:
        return rpc(method, params);
    }
  }

  /** EIP-155. */
  async #send(call: { to: string; data: string; gas: string; value?: string }): Promise<string> {
    const [chainId, nonce, price] = (
      await Promise.all([
        rpc<string>("eth_chainId"),
        rpc<string>("eth_getTransactionCount", [this.#address, "pending"]),
        rpc<string>("eth_gasPrice"),
      ])
    ).map(BigInt);
    const fields = [nonce, 2n * price, BigInt(call.gas)].map(trimmed);
    fields.push(bytesOf(call.to), trimmed(BigInt(call.value ?? 0)), bytesOf(call.data));
    const [r, s, parity] = sign(keccak(rlp([...fields, trimmed(chainId), trimmed(0n), trimmed(0n)])), this.#key);
    const number = (bytes: Uint8Array): Uint8Array => trimmed(BigInt(hexOf(bytes)));
    const raw = rlp([...fields, trimmed(2n * chainId + 35n + BigInt(parity)), number(r), number(s)]);
    return rpc<string>("eth_sendRawTransaction", [hexOf(raw)]);
  }
}

export function practiceWallet(): Announced {
  return { info: { uuid: "practice", name: "Practice wallet", icon: "", rdns: "linklearner.practice" }, provider: new PracticeWallet() };
}
