// MANIFEST.json beside the artifacts: which sources (by SHA-256) and which compiler made them. A fast Python test holds it to the tree.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const digest = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Writes one section of the manifest; the other sections stay as they are. */
export function record(output, section, { compiler, outputs, sources }) {
  const path = join(output, "MANIFEST.json");
  const manifest = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
  manifest[section] = {
    compiler,
    sources: Object.fromEntries([...sources].sort().map((source) => [source, digest(join(root, source))])),
    outputs: Object.fromEntries([...outputs].sort().map((name) => [name, digest(join(output, name))])),
  };
  const sorted = Object.fromEntries(Object.keys(manifest).sort().map((key) => [key, manifest[key]]));
  writeFileSync(path, JSON.stringify(sorted, null, 1) + "\n");
}
