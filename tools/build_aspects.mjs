// Compiles aspects/aggregator into src/linklearner/artifacts/aggregator.wasm, and its arithmetic alone into tests/aspects/pure.wasm.
// The same sources and lock file give the same bytes. Usage: node tools/build_aspects.mjs [output folder [folder of pure.wasm]]
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { record } from "./manifest.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const output = process.argv[2] ?? join(root, "src/linklearner/artifacts");
const tests = process.argv[3] ?? join(root, "tests/aspects");
const MEMORY_BASE = 0x40000; // aspects/aggregator/memory.ts

async function compile(entry, outFile) {
  const { error, stderr } = await asc.main([
    entry,
    "--outFile", outFile,
    "--baseDir", root,
    "--runtime", "stub", // nothing is managed, nothing freed
    "--exportStart", "__aspect_start__", // a node refuses a start section
    "--disable", "bulk-memory", // and bulk memory
    "--initialMemory", "160", // free; growing costs gas
    "--memoryBase", String(MEMORY_BASE),
    "--noAssert",
    "--optimizeLevel", "3", "--shrinkLevel", "0", "--converge",
  ]);
  if (error) {
    console.error(stderr.toString(), error.message);
    process.exit(1);
  }
}

await compile("aspects/aggregator/index.ts", join(output, "aggregator.wasm"));
await compile("aspects/aggregator/pure.ts", join(tests, "pure.wasm"));
const sources = readdirSync(join(root, "aspects/aggregator"), { recursive: true }).filter((name) => name.endsWith(".ts"));
record(output, "aspects", {
  compiler: "asc 0.27.31",
  outputs: ["aggregator.wasm"],
  sources: [...sources.map((name) => `aspects/aggregator/${name}`), "tools/build_aspects.mjs", "tools/package-lock.json"],
});
