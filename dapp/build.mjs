// Builds the page into src/linklearner/artifacts/page: the same bytes from the same sources, wherever it runs.
//   node build.mjs           writes it
//   node build.mjs --check   fails unless the committed files are what the sources give, byte for byte
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { keccak_256 } from "@noble/hashes/sha3.js";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const artifacts = join(here, "../src/linklearner/artifacts");
const out = join(artifacts, "page");
const check = process.argv.includes("--check");
const LIMIT = 60_000; // bytes of everything, gzipped
process.chdir(here);

// --- the ABI, of what the page calls and reads
const contract = (name) => JSON.parse(readFileSync(join(artifacts, `${name}.json`))).abi;
const [pool, vault, token] = ["TrainingPool", "StakeVault", "LinkLearnerToken"].map(contract);
const functions = { submit: pool, claim: pool, drop: pool, lock: vault };
const eventNames = ["ModelUpdated", "UpdateAccepted", "ContributionPaid", "SettlerPaid", "RoundDropped", "PotFunded", "StakeLocked"];
const found = (abi, type, name) => abi.find((one) => one.type === type && one.name === name);
const simple = (type) => (/^u?int/.test(type) ? "uint" : type);
const selector = ({ name, inputs }) => {
  const spelled = (one) => (one.components ? `(${one.components.map(spelled).join(",")})${one.type.slice(5)}` : one.type);
  return `0x${Buffer.from(keccak_256(Buffer.from(`${name}(${inputs.map(spelled).join(",")})`))).toString("hex")}`;
};
const entrypoint = { name: "entrypoint", inputs: [{ type: "address" }, { type: "bytes" }] }; // of Artela's system contract
const abiFunctions = [...Object.entries(functions).map(([name, abi]) => found(abi, "function", name)), entrypoint];
const abiEvents = eventNames.map((name) => [pool, vault].map((abi) => found(abi, "event", name)).find(Boolean));
const abiErrors = [...new Map([...pool, ...vault, ...token].filter((one) => one.type === "error").map((one) => [one.name, one])).values()]
  .sort((a, b) => (a.name < b.name ? -1 : 1));
const sets = {
  FUNCTIONS: abiFunctions.map((one) => [one.name, [selector(one).slice(0, 10), one.inputs.map(({ type }) => simple(type))]]),
  EVENTS: abiEvents.map((one) => [selector(one), [one.name, one.inputs.map(({ name, type, indexed }) => [name, simple(type), indexed])]]),
  ERRORS: abiErrors.map((one) => [selector(one).slice(0, 10), [one.name, one.inputs.map(({ name, type }) => [name, simple(type)])]]),
};
const abi = `// Made by build.mjs from the contracts' artifacts; do not edit.\n${Object.entries(sets)
  .map(([name, rows]) => `export const ${name} = {\n${rows.map(([key, row]) => `  ${JSON.stringify(key)}: ${JSON.stringify(row)},\n`).join("")}} as const;`)
  .join("\n")}\n`;

// --- the bundle
const files = new Map();
const stale = [];
const keep = (path, text) => {
  if (check) {
    if (!existsSync(path) || readFileSync(path, "utf8") !== text) stale.push(path);
  } else writeFileSync(path, text);
};
keep("src/chain/abi.ts", abi);
const built = await build({
  entryPoints: ["src/main.ts", "src/worker.ts", "src/style.css"],
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  entryNames: "[name]-[hash]",
  chunkNames: "chunk-[hash]",
  outdir: "out",
  write: false,
  metafile: true,
  loader: { ".bin": "file" },
  define: { "process.env.NODE_ENV": '"production"' },
});
// what tests/page asks in a browser, which takes no Node: the domain alone, as one script
const tested = await build({
  entryPoints: ["src/domain/tested.ts"], bundle: true, format: "iife", globalName: "domain", target: "es2022", minify: true, charset: "utf8",
  legalComments: "none", write: false,
  banner: { js: "// Made by dapp/build.mjs from dapp/src/domain/tested.ts; do not edit. `tools/build_page --check` holds it to its sources." },
});
keep("../tests/page/domain.js", tested.outputFiles[0].text);
const named = new Map();
for (const [path, { entryPoint }] of Object.entries(built.metafile.outputs)) if (entryPoint) named.set(entryPoint, path.slice(4));
for (const { path, contents } of built.outputFiles) files.set(path.slice(path.lastIndexOf("/") + 1), Buffer.from(contents));
const html = readFileSync("src/index.html", "utf8")
  .replace("main.js", named.get("src/main.ts"))
  .replace("worker.js", named.get("src/worker.ts"))
  .replace("style.css", named.get("src/style.css"));
files.set("index.html", Buffer.from(html));
files.set("icon.svg", readFileSync("src/icon.svg"));
files.set("starter.bin", readFileSync("src/starter.bin"));

const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");
const sources = {};
const walk = (folder) => {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) walk(path);
    else sources[path] = sha(readFileSync(path));
  }
};
walk("src");
for (const name of ["build.mjs", "package.json", "package-lock.json", "tsconfig.json"]) sources[name] = sha(readFileSync(name));
const versions = JSON.parse(readFileSync("package.json")).dependencies;
const tools = { esbuild: JSON.parse(readFileSync("package.json")).devDependencies.esbuild, ...versions };
const names = [...files.keys()].sort();
files.set(
  "MANIFEST.json",
  Buffer.from(`${JSON.stringify({ tools, sources, outputs: Object.fromEntries(names.map((name) => [name, sha(files.get(name))])) }, null, 1)}\n`),
);

const sizes = names.map((name) => [name, gzipSync(files.get(name), { level: 9 }).length]);
const total = sizes.reduce((sum, [, size]) => sum + size, 0);
for (const [name, size] of sizes) console.log(`${String(size).padStart(7)}  ${name}`);
console.log(`${String(total).padStart(7)}  bytes gzipped in all, at most ${LIMIT}`);
if (total > LIMIT) process.exit(1);

if (check) {
  const committed = readdirSync(out).sort();
  const wanted = [...files.keys()].sort();
  for (const name of new Set([...committed, ...wanted])) {
    if (!committed.includes(name) || !wanted.includes(name) || !readFileSync(join(out, name)).equals(files.get(name))) stale.push(name);
  }
  if (stale.length) {
    console.error(`not what the sources give: ${stale.join(", ")}; run \`node build.mjs\` in dapp/ and commit the result`);
    process.exit(1);
  }
  console.log("The committed page is what its sources give.");
} else {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  for (const [name, bytes] of files) writeFileSync(join(out, name), bytes);
}
