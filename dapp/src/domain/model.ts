// What a task's weights mean: the text that the chain keeps, a graph of ONNX operators, in which MLPs and the small CNN are recognised,
// whoever wrote them down. Whatever else there is can be looked at and asked, not trained here.

import { Refusal, hexOf, ofBase64 } from "./bytes";
import { keccak } from "./keccak";
import type { Layer } from "./layers";

export interface Model {
  name: string;
  labels: string[];
  loss: string;
  inputName: string;
  /** Of one sample. */
  dimensions: number[];
  inputCount: number;
  datatype: string;
  range: [number, number] | null;
  scale: number;
  /** What this page can compute; null for other graphs. */
  layers: Layer[] | null;
  /** In a few words, for people: "MLP 64-32-10". */
  summary: string;
}

const MAX_GRAPH = 4 << 20;

type Fields = Record<string, any>;

/** Raises a Refusal for a text that this page cannot read. */
export async function readModel(text: string): Promise<Model> {
  let fields: Fields;
  try {
    fields = JSON.parse(text);
  } catch {
    throw new Refusal("InvalidModel", "the task's model is not JSON");
  }
  try {
    if (fields["format"] === 2) return ofGraph(fields, await graphOf(fields));
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal("InvalidModel", "the task's model cannot be read");
  }
  throw new Refusal("InvalidModel", "the task's model is of a format that this page does not know");
}

async function graphOf(fields: Fields): Promise<Fields> {
  const packed = ofBase64(String(fields["graph"]));
  const stream = new Blob([packed as BlobPart]).stream().pipeThrough(new DecompressionStream("deflate"));
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > MAX_GRAPH) throw new Refusal("InvalidModel", "the task's graph is too large for this page");
    parts.push(value);
  }
  const bytes = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
  if (hexOf(keccak(bytes)).slice(2) !== fields["digest"]) throw new Refusal("InvalidModel", "the task's graph is not the one that its digest names");
  return JSON.parse(new TextDecoder().decode(bytes));
}

function ofGraph(fields: Fields, graph: Fields): Model {
  const [inputName, datatype, dimensions, range] = graph["inputs"][0];
  const common = {
    name: String(fields["name"]),
    labels: texts(fields["labels"]),
    loss: String(fields["loss"]),
    inputName: String(inputName),
    dimensions: numbers(dimensions),
    inputCount: numbers(dimensions).reduce((a, b) => a * b, 1),
    datatype: String(datatype),
    range: range ? ([+range[0], +range[1]] as [number, number]) : null,
  };
  const found = common.loss === "cross-entropy" && graph["inputs"].length === 1 && !graph["frozen"].length ? chainOf(graph, common.dimensions) : null;
  if (found) return { ...common, ...found };
  const operators = [...new Set(graph["nodes"].map((node: any[]) => String(node[0])))];
  return { ...common, scale: 1, layers: null, summary: `graph of ${operators.slice(0, 4).join(", ")}${operators.length > 4 ? " …" : ""}` };
}

/** A chain of nodes, each fed by the one before it, that is an MLP or the small CNN; null for every other graph. */
function chainOf(graph: Fields, dimensions: number[]): { scale: number; layers: Layer[]; summary: string } | null {
  const sizes = new Map<string, number[]>(graph["parameters"].map(([name, dims]: [string, number[]]) => [name, dims]));
  const offsets = new Map<string, number>();
  let total = 0;
  for (const [name, dims] of graph["parameters"]) {
    offsets.set(name, total);
    total += dims.reduce((a: number, b: number) => a * b, 1);
  }
  const constants = new Map<string, number[]>(graph["constants"].map((c: any[]) => [c[0], c[3]]));
  const layers: Layer[] = [];
  const [widths, channels]: number[][] = [[], []];
  let at = graph["inputs"][0][0];
  let dims = dimensions;
  let scale = 1;
  const trained: string[] = [];
  for (const [operator, inputs, output, attributes] of graph["nodes"] as [string, string[], string, Fields][]) {
    if (inputs[0] !== at) return null;
    const weight = sizes.get(inputs[1]);
    if (operator === "Mul" && !layers.length && scale === 1 && constants.get(inputs[1])?.length === 1) {
      scale = constants.get(inputs[1])![0];
    } else if (operator === "Div" && !layers.length && scale === 1 && constants.get(inputs[1])?.length === 1) {
      scale = Math.fround(1 / constants.get(inputs[1])![0]);
    } else if (operator === "Gemm" && dims.length === 1 && weight?.length === 2 && weight[1] === dims[0] && transposed(attributes)) {
      if (sizes.get(inputs[2])?.[0] !== weight[0]) return null;
      layers.push({ kind: "linear", into: weight[1], out: weight[0], weight: offsets.get(inputs[1])!, bias: offsets.get(inputs[2])! });
      trained.push(inputs[1], inputs[2]);
      dims = [weight[0]];
      widths.push(weight[0]);
    } else if (operator === "Relu") {
      layers.push({ kind: "relu", size: dims.reduce((a, b) => a * b, 1) });
    } else if (operator === "Conv" && dims.length === 3 && weight?.length === 4 && weight[1] === dims[0] && padded(attributes, weight)) {
      if (sizes.get(inputs[2])?.[0] !== weight[0]) return null;
      const [rows, columns] = [dims[1], dims[2]];
      layers.push({ kind: "conv", from: weight[1], to: weight[0], rows, columns, kernel: weight[2], weight: offsets.get(inputs[1])!, bias: offsets.get(inputs[2])! });
      trained.push(inputs[1], inputs[2]);
      dims = [weight[0], rows, columns];
      channels.push(weight[0]);
    } else if (operator === "MaxPool" && dims.length === 3 && halving(attributes)) {
      layers.push({ kind: "pool", channels: dims[0], rows: dims[1], columns: dims[2] });
      dims = [dims[0], dims[1] >> 1, dims[2] >> 1];
    } else if (operator === "Flatten" && (attributes["axis"] ?? 1) === 1) {
      dims = [dims.reduce((a, b) => a * b, 1)];
    } else return null;
    at = output;
  }
  const labels = graph["outputs"][0];
  if (at !== labels[0] || dims.length !== 1 || new Set(trained).size !== sizes.size || trained.length !== sizes.size) return null;
  const summary = channels.length
    ? `CNN ${dimensions.join("×")}, ${channels.join("-")} channels`
    : `MLP ${[dimensions.reduce((a, b) => a * b, 1), ...widths].join("-")}`;
  return { scale, layers, summary };
}

const all = (value: unknown, wanted: number, count: number): boolean =>
  Array.isArray(value) && value.length === count && value.every((one) => one === wanted);
const only = (attributes: Fields, names: string[]): boolean => Object.keys(attributes).every((name) => names.includes(name));
const transposed = (a: Fields): boolean => a["transB"] === 1 && only(a, ["transB"]);
const padded = (a: Fields, w: number[]): boolean =>
  w[2] === w[3] && w[2] % 2 === 1 && all(a["pads"] ?? [0, 0, 0, 0], w[2] >> 1, 4) && (a["strides"] === undefined || all(a["strides"], 1, 2)) &&
  (a["kernel_shape"] === undefined || all(a["kernel_shape"], w[2], 2)) && only(a, ["pads", "strides", "kernel_shape"]);
const halving = (a: Fields): boolean => all(a["kernel_shape"], 2, 2) && all(a["strides"], 2, 2) && only(a, ["kernel_shape", "strides"]);

function numbers(value: unknown): number[] {
  if (!Array.isArray(value) || !value.length || !value.every((n) => Number.isInteger(n) && n > 0 && n <= 2 ** 20)) throw new Error("numbers");
  return value;
}

function texts(value: unknown): string[] {
  if (!Array.isArray(value) || value.length > 4096) throw new Error("texts");
  return value.map(String);
}

/** Rows and columns of the image that a sample is, one channel; null where it is none that a person could draw. */
export function drawable(model: Model): number | null {
  const { dimensions, inputCount, datatype } = model;
  const side = Math.sqrt(inputCount);
  if (datatype !== "FP32" || !Number.isInteger(side) || side < 6 || side > 32) return null;
  if (dimensions.length === 1 || dimensions.at(-1) === side) return side;
  return null;
}
