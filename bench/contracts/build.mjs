// Compiles the contracts of this folder into contracts.json, with the digest of each source. The compiler and OpenZeppelin are tools/'s:
// (cd tools && npm ci) && node bench/contracts/build.mjs
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "../../tools/node_modules");
const solc = createRequire(join(modules, "solc/package.json"))("solc");
const sources = ["Arguments.sol", "Coin.sol", "FeePool.sol", "FlashLoan.sol", "PlainToken.sol", "Slots.sol", "Wallet.sol"];

const input = {
  language: "Solidity",
  sources: Object.fromEntries(sources.map((name) => [name, { content: readFileSync(join(here, name), "utf8") }])),
  settings: {
    evmVersion: "cancun",
    optimizer: { enabled: true, runs: 200 },
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const imports = (path) => ({ contents: readFileSync(join(modules, path), "utf8") });
const result = JSON.parse(solc.compile(JSON.stringify(input), { import: imports }));
for (const error of result.errors ?? []) console.error(error.formattedMessage);
if ((result.errors ?? []).some((error) => error.severity === "error")) process.exit(1);

const contracts = {};
for (const name of sources)
  for (const [contract, { abi, evm }] of Object.entries(result.contracts[name]))
    contracts[contract] = { abi, bytecode: "0x" + evm.bytecode.object };
const digests = Object.fromEntries(
  sources.map((name) => [name, createHash("sha256").update(readFileSync(join(here, name))).digest("hex")]),
);
writeFileSync(join(here, "contracts.json"), JSON.stringify({ compiler: solc.version(), sources: digests, contracts }, null, 1) + "\n");
