// Builds vault.json and breaker.wasm with the compilers of tools/: (cd tools && npm ci) && node examples/aspect/build.mjs [output folder]
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = process.argv[2] ?? here;
const fromTools = createRequire(join(here, "../../tools/package.json"));

const solc = fromTools("solc");
const result = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources: { "Vault.sol": { content: readFileSync(join(here, "Vault.sol"), "utf8") } },
      settings: {
        evmVersion: "cancun",
        optimizer: { enabled: true, runs: 200 },
        metadata: { appendCBOR: false, bytecodeHash: "none" },
        outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
      },
    }),
  ),
);
for (const error of result.errors ?? []) console.error(error.formattedMessage);
if ((result.errors ?? []).length > 0) process.exit(1); // warnings too
const { abi, evm } = result.contracts["Vault.sol"].Vault;
writeFileSync(join(output, "vault.json"), JSON.stringify({ abi, bytecode: "0x" + evm.bytecode.object }, null, 1) + "\n");

const asc = await import(pathToFileURL(join(here, "../../tools/node_modules/assemblyscript/dist/asc.js")));
const { error, stderr } = await asc.main([
  "examples/aspect/breaker.ts",
  "--baseDir", join(here, "../.."),
  "--outFile", join(output, "breaker.wasm"),
  "--runtime", "stub", // an instance lives for one call: nothing is freed
  "--exportStart", "__aspect_start__", // a node refuses a start section,
  "--disable", "bulk-memory", // bulk memory,
  "--noAssert", "-O3", // and anything with a float in it
]);
if (error) {
  console.error(stderr.toString(), error.message);
  process.exit(1);
}
