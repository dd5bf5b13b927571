// Training, away from the page: it stays quick under a thumb.

import { accuracy, type Samples, train } from "./domain/training";
import type { Model } from "./domain/model";

export interface Order {
  model: Model;
  base: Float32Array;
  samples: Samples;
  /** Of the person, to measure on. */
  own: Samples;
  starter: Samples | null;
  seed: number;
}
export interface Measured {
  own: number;
  starter: number;
}
export type Report =
  | { kind: "progress"; step: number; loss: number }
  | { kind: "done"; delta: Float64Array; before: Measured; after: Measured }
  | { kind: "failed"; message: string };

const tell = (report: Report): void => postMessage(report);

addEventListener("message", (event: MessageEvent<Order>) => {
  const { model, base, samples, own, starter, seed } = event.data;
  const measure = (weights: Float32Array): Measured => ({
    own: accuracy(model, weights, own),
    starter: starter ? accuracy(model, weights, starter) : NaN,
  });
  try {
    const before = measure(base);
    const delta = train(model, base, samples, seed, (step, loss) => tell({ kind: "progress", step, loss }));
    const after = measure(Float32Array.from(base, (weight, i) => weight + delta[i]));
    tell({ kind: "done", delta, before, after });
  } catch (error) {
    tell({ kind: "failed", message: (error as Error).message });
  }
});
