// Local training: Adam on the mean cross-entropy, with the trainer's recipe. A mirror of services/trainer/training.py (not to the bit: what
// is learned is each contributor's own affair; what is sent is rounded in one defined way).

import { Refusal } from "./bytes";
import { backward, forward } from "./layers";
import type { Model } from "./model";

export interface Samples {
  /** (n, inputs), unscaled. */
  x: Float32Array;
  /** (n,) labels. */
  y: Uint8Array;
}

export const STEPS = 100;
const BATCH = 64;
const RATE = 0.01;
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8];

/** (N,) float64: what training moved the weights by. progress: step and mean loss since the last call. */
export function train(
  model: Model,
  base: Float32Array,
  samples: Samples,
  seed: number,
  progress: (step: number, loss: number) => void,
): Float64Array {
  const layers = model.layers!;
  const [inputs, labels, n] = [model.inputCount, model.labels.length, samples.y.length];
  const random = mulberry32(seed);
  const counts = new Float64Array(labels);
  for (const label of samples.y) counts[label]++;
  const offset = counts.map((count) => Math.log(count / n)); // a label without samples leaves the softmax: -Infinity
  const weights = base.slice();
  const mean = new Float64Array(base.length);
  const square = new Float64Array(base.length);
  const batch = Math.min(BATCH, n);
  const x = new Float32Array(batch * inputs);
  const rows = Uint32Array.from({ length: n }, (_, i) => i);
  let used = n;
  let total = 0;
  let since = 0;
  for (let step = 1; step <= STEPS; step++) {
    if (used + batch > n) {
      shuffle(rows, random);
      used = 0;
    }
    const taken = rows.subarray(used, used + batch);
    used += batch;
    taken.forEach((row, b) => {
      for (let i = 0; i < inputs; i++) x[b * inputs + i] = samples.x[row * inputs + i] * model.scale;
    });
    const values = forward(layers, weights, x, batch);
    const logits = values.at(-1)!;
    const outer = new Float32Array(logits.length);
    let loss = 0;
    for (let b = 0; b < batch; b++) {
      const shares = softmax(logits.subarray(b * labels, (b + 1) * labels), offset);
      const label = samples.y[taken[b]];
      loss -= Math.log(Math.max(shares[label], 1e-30));
      for (let l = 0; l < labels; l++) outer[b * labels + l] = (shares[l] - (l === label ? 1 : 0)) / batch;
    }
    const gradient = new Float32Array(base.length);
    backward(layers, weights, values, outer, gradient, batch);
    const [fix1, fix2] = [1 - BETA1 ** step, Math.sqrt(1 - BETA2 ** step)];
    for (let i = 0; i < weights.length; i++) {
      const g = gradient[i];
      mean[i] += (g - mean[i]) * (1 - BETA1);
      square[i] = square[i] * BETA2 + g * g * (1 - BETA2);
      weights[i] -= ((RATE / fix1) * mean[i]) / (Math.sqrt(square[i]) / fix2 + EPSILON);
    }
    total += loss / batch;
    since++;
    if (step % 5 === 0 || step === STEPS) {
      if (!Number.isFinite(total)) throw new Refusal("Diverged", "the training has diverged: are the samples in the task's range?");
      progress(step, total / since);
      total = since = 0;
    }
  }
  return Float64Array.from(weights, (weight, i) => weight - base[i]);
}

/** (n, labels) shares by the weights. x: (n, inputs), unscaled. */
export function predict(model: Model, weights: Float32Array, x: Float32Array): Float32Array[] {
  const n = x.length / model.inputCount;
  const logits = forward(model.layers!, weights, x.map((value) => value * model.scale), n).at(-1)!;
  const labels = logits.length / Math.max(n, 1);
  return Array.from({ length: n }, (_, b) => softmax(logits.subarray(b * labels, (b + 1) * labels)));
}

/** Share of labels that are right, 0 to 1; NaN without samples. */
export function accuracy(model: Model, weights: Float32Array, samples: Samples): number {
  const right = predict(model, weights, samples.x).filter((shares, i) => best(shares) === samples.y[i]);
  return right.length / samples.y.length;
}

export function best(values: ArrayLike<number>): number {
  let found = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[found]) found = i;
  return found;
}

export function softmax(logits: ArrayLike<number>, offset?: ArrayLike<number>): Float32Array {
  const shifted = Float32Array.from(logits, (logit, i) => logit + (offset ? offset[i] : 0));
  const most = shifted.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  for (let i = 0; i < shifted.length; i++) sum += shifted[i] = Math.exp(shifted[i] - most);
  return shifted.map((value) => value / sum);
}

function shuffle(rows: Uint32Array, random: () => number): void {
  for (let i = rows.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [rows[i], rows[j]] = [rows[j], rows[i]];
  }
}

function mulberry32(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
