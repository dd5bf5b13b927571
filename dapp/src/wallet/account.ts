// One account of one wallet: the right chain, a transaction and its receipt, a signed text.

import { Refusal, hexOf } from "../domain/bytes";
import { refusalOf } from "../chain/contracts";
import { type Receipt, type Transaction, quantity, rpc } from "../chain/rpc";
import type { Provider } from "./discover";

const LOOK_MS = 300;
const LOST_LOOKS = 60; // in a row, in which the node answers and does not know a transaction

export interface ChainOffer {
  chainId: string;
  name: string;
  symbol: string;
}

/** The wallet's account after it agreed. Raises Refusal (Declined where it did not). */
export async function connect(provider: Provider): Promise<string> {
  try {
    const accounts: string[] = await provider.request({ method: "eth_requestAccounts" });
    if (!accounts[0]) throw new Refusal("NoAccount", "the wallet has no account for this page");
    return accounts[0];
  } catch (error) {
    throw refusalOf(error);
  }
}

export async function chainOf(provider: Provider): Promise<string> {
  return BigInt(await provider.request({ method: "eth_chainId" })).toString();
}

/** Switches the wallet to our chain, adding it where the wallet does not know it. */
export async function toChain(provider: Provider, offer: ChainOffer): Promise<void> {
  const chainId = quantity(BigInt(offer.chainId));
  try {
    try {
      await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
    } catch (error) {
      const code = (error as any)?.code ?? (error as any)?.data?.originalError?.code;
      if (code !== 4902 && code !== -32603) throw error;
      await provider.request({
        method: "wallet_addEthereumChain",
        params: [
          {
            chainId,
            chainName: offer.name,
            nativeCurrency: { name: offer.symbol, symbol: offer.symbol, decimals: 18 },
            rpcUrls: [`${location.origin}/rpc`],
          },
        ],
      });
      if ((await chainOf(provider)) !== offer.chainId) {
        await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
      }
    }
  } catch (error) {
    throw refusalOf(error);
  }
}

export interface Call {
  to: string;
  data: string;
  gas: number;
  /** Sent without asking first: what it hangs on is the time, which stands still between the blocks of a chain that makes them on demand. */
  unasked?: boolean;
}

/** Sends a transaction of the account and waits for its block. sent: called with its hash. Raises Refusal with the chain's reason. */
export async function send(
  provider: Provider,
  account: string,
  chainId: string,
  call: Call,
  sent: (hash: string) => void,
): Promise<Receipt> {
  if ((await chainOf(provider)) !== chainId) throw new Refusal("WrongChain", "Your wallet is on another chain.");
  // asked without a gas limit: whether it would be refused, and why, before anybody pays
  if (!call.unasked) {
    await rpc("eth_call", [{ from: account, to: call.to, data: call.data }, "latest"]).catch((error) => {
      throw refusalOf(error);
    });
  }
  let hash: string;
  try {
    hash = await provider.request({
      method: "eth_sendTransaction",
      params: [{ from: account, to: call.to, data: call.data, gas: quantity(call.gas), value: "0x0" }],
    });
  } catch (error) {
    throw refusalOf(error);
  }
  sent(hash);
  return landed(hash);
}

/** The receipt of a transaction that was carried out, however long a block takes; a node that is away is asked again. Raises Refusal with
 * the chain's reason, or Lost for one that the node does not know. */
export async function landed(hash: string): Promise<Receipt> {
  for (let unknown = 0; unknown < LOST_LOOKS; ) {
    const receipt = await rpc<Receipt | null>("eth_getTransactionReceipt", [hash]).catch(() => null);
    if (receipt) return receipt.status === "0x1" ? receipt : refused(hash, receipt);
    const known = await rpc<Transaction | null>("eth_getTransactionByHash", [hash]).catch(() => undefined);
    unknown = known === null ? unknown + 1 : 0; // undefined: nobody answers
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw new Refusal("Lost", "The chain does not know your transaction any more: your wallet may have replaced or dropped it. Nothing was changed; try again.");
}

/** Raises why: that is not in the receipt, so the same question once more, as it stood before that block and after it, because what was
 * in the way may have come in that very block. */
async function refused(hash: string, receipt: Receipt): Promise<never> {
  const sent = await rpc<Transaction | null>("eth_getTransactionByHash", [hash]);
  if (sent?.to) {
    const block = Number(receipt.blockNumber);
    for (const at of [block - 1, block]) {
      await rpc("eth_call", [{ from: sent.from, to: sent.to, data: sent.input }, quantity(at)]).catch((error) => {
        throw refusalOf(error);
      });
    }
  }
  throw new Refusal("Reverted", "The chain refused it without giving a reason.");
}

export async function signText(provider: Provider, account: string, text: string): Promise<string> {
  try {
    return await provider.request({ method: "personal_sign", params: [hexOf(new TextEncoder().encode(text)), account] });
  } catch (error) {
    throw refusalOf(error);
  }
}
