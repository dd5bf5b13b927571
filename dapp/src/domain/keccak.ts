// keccak-256. A page over plain http in a local network has no crypto.subtle, and that knows no keccak anyhow.

import { keccak_256 } from "@noble/hashes/sha3.js";

export const keccak: (bytes: Uint8Array) => Uint8Array = keccak_256;
