// Wallets that are there (EIP-6963), and the practice wallet beside them.

export interface Provider {
  request(args: { method: string; params?: unknown[] }): Promise<any>;
  on?(event: string, listener: (value: any) => void): void;
  removeListener?(event: string, listener: (value: any) => void): void;
}
export interface Announced {
  info: { uuid: string; name: string; icon: string; rdns: string };
  provider: Provider;
}

/** Calls `found` for each wallet that announces itself, now and later. */
export function discover(found: (wallet: Announced) => void): void {
  addEventListener("eip6963:announceProvider", (event) => {
    const detail = (event as CustomEvent<Announced>).detail;
    if (detail?.info?.uuid && detail.provider) found(detail);
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
}
