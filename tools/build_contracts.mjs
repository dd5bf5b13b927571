// Compiles contracts/*.sol into src/linklearner/artifacts/*.json. The same sources and lock file give the same
// bytes: no timestamps, no metadata hash, keys in a fixed order. Usage: node tools/build_contracts.mjs [output folder]
import { readFileSync, writeFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { record } from "./manifest.mjs";

const require = createRequire(import.meta.url);
const solc = require("solc");
const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..");
const output = process.argv[2] ?? join(root, "src/linklearner/artifacts");
const MAX_CODE_BYTES = 24576;

const names = readdirSync(join(root, "contracts"), { recursive: true }).filter((name) => name.endsWith(".sol")).sort();
const input = {
  language: "Solidity",
  sources: Object.fromEntries(names.map((name) => [name, { content: readFileSync(join(root, "contracts", name), "utf8") }])),
  settings: {
    evmVersion: "cancun", // an Artela node runs PUSH0 and MCOPY
    viaIR: true,
    optimizer: { enabled: true, runs: 10000 },
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] } },
  },
};
const imports = (path) => ({ contents: readFileSync(join(here, "node_modules", path), "utf8") });
const result = JSON.parse(solc.compile(JSON.stringify(input), { import: imports }));
// Warnings too, but not those about a library's own code, which is pinned.
const foreign = (error) => error.severity === "warning" && error.sourceLocation?.file.startsWith("@");
const complaints = (result.errors ?? []).filter((error) => !foreign(error));
for (const error of complaints) console.error(error.formattedMessage);
if (complaints.length > 0) process.exit(1);

const CONTRACTS = ["EvidenceRoom", "InferenceEscrow", "LinkLearnerToken", "StakeVault", "TrainingPool"];
const FOLDERS = { EvidenceRoom: "rules/" };
const compiled = (name) => result.contracts[`${FOLDERS[name] ?? ""}${name}.sol`][name];
// What a contract answers to beside its own functions: it delegates to these.
const ROOMS = { TrainingPool: ["EvidenceRoom"] };
for (const name of CONTRACTS) {
  const contract = compiled(name);
  const deployed = contract.evm.deployedBytecode.object;
  if (deployed.length / 2 > MAX_CODE_BYTES) {
    console.error(`${name}: ${deployed.length / 2} bytes of code, more than ${MAX_CODE_BYTES}`);
    process.exit(1);
  }
  const artifact = {
    contractName: name,
    abi: interfaceOf(name),
    bytecode: "0x" + contract.evm.bytecode.object,
    deployedBytecode: "0x" + deployed,
    storageLayout: layout(contract.storageLayout),
  };
  writeFileSync(join(output, `${name}.json`), JSON.stringify(artifact, null, 1) + "\n");
  console.log(`${name}: ${deployed.length / 2} bytes of code`);
}
record(output, "contracts", {
  compiler: `solc ${solc.version().replace(/\+commit.*/, "")}`,
  outputs: CONTRACTS.map((name) => `${name}.json`),
  sources: [...names.map((name) => `contracts/${name}`), "tools/build_contracts.mjs", "tools/package-lock.json"],
});

// A contract's entries, and those of its rooms that it has not itself.
function interfaceOf(name) {
  const entries = new Map(compiled(name).abi.map((entry) => [JSON.stringify(entry), entry]));
  for (const room of ROOMS[name] ?? [])
    for (const entry of compiled(room).abi) if (entry.type !== "constructor") entries.set(JSON.stringify(entry), entry);
  return [...entries.values()];
}

// solc numbers AST nodes, which a new source would renumber; only names, slots, offsets and types matter.
function layout(storage) {
  const clean = (text) => text.replace(/\)\d+/g, ")");
  const member = ({ label, offset, slot, type }) => ({ label, offset, slot, type: clean(type) });
  return {
    storage: storage.storage.map(member),
    types: Object.fromEntries(
      Object.entries(storage.types ?? {}).map(([name, { label, numberOfBytes, members }]) => [
        clean(name),
        { label, numberOfBytes, ...(members ? { members: members.map(member) } : {}) },
      ]),
    ),
  };
}
