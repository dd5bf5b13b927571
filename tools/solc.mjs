#!/usr/bin/env node
// The npm solc behind the two options of the native one that Slither's compiler front end uses: --version and --standard-json.
// It compiles for reading, not for running: Slither wants the syntax tree, so nothing is optimised.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const solc = createRequire(import.meta.url)("solc");
const root = join(dirname(fileURLToPath(import.meta.url)), "..");

if (process.argv.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else if (process.argv.includes("--standard-json")) {
  const input = JSON.parse(readFileSync(0, "utf8"));
  input.settings.evmVersion = "cancun";
  input.settings.viaIR = true;
  const imports = (path) => {
    try {
      return { contents: readFileSync(join(root, path), "utf8") };
    } catch (error) {
      return { error: error.message };
    }
  };
  console.log(solc.compile(JSON.stringify(input), { import: imports }));
} else {
  console.error("only --version and --standard-json");
  process.exit(2);
}
