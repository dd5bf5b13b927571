// From a trained delta to an update, and what rounding left over. A mirror of linklearner/domain/quantise.py, to the bit.

import { Refusal } from "./bytes";
import { type Encoding, MIN_SHIFT } from "./encodings";
import { roundHalfAway } from "./fixedpoint";
import type { Shape } from "./shape";
import { type Update, delta as deltaOf } from "./update";

const GRID = 2 ** 32;
const MAX_STEPS = 2 ** 20;

export interface Quantised {
  update: Update;
  /** (N,) in real units: to be added to the next delta. */
  residual: Float64Array;
}

/** delta: (N,) in real units, the carried residual included. */
export function quantise(delta: Float64Array, shape: Shape, task: bigint, baseVersion: bigint, encoding: Encoding): Quantised {
  const steps = new Float64Array(shape.weightCount);
  shape.tensors.forEach((tensor, t) => {
    const size = 2 ** tensor.exponent;
    for (let i = shape.bounds[t]; i < shape.bounds[t + 1]; i++) {
      const moved = delta[i] * size;
      if (!(Math.abs(moved) <= MAX_STEPS)) throw new Refusal("Diverged", "the training has diverged: train again");
      steps[i] = roundHalfAway(moved * GRID) / GRID;
    }
  });

  let sent: number[] = [];
  for (let page = 0; page < shape.pageCount; page++) {
    if (steps.subarray(shape.pageStart(page), shape.pageStop(page)).some((step) => step !== 0)) sent.push(page);
  }
  let update: Update;
  for (;;) {
    const shifts = shiftsOf(steps, shape, sent, encoding);
    const pages = sent.map((page): [number, Int8Array] => [page, digits(steps, shape, page, shifts, encoding)]);
    const kept = pages.filter(([, values]) => values.some((d) => d !== 0)).map(([page]) => page);
    update = { task, baseVersion, encoding, shifts, pages };
    if (kept.length === sent.length) break;
    sent = kept; // a page that rounds to zero is left out, which may lower a shift
  }
  const said = deltaOf(update, shape);
  const residual = new Float64Array(shape.weightCount);
  shape.tensors.forEach((tensor, t) => {
    const unit = 2 ** -tensor.exponent;
    for (let i = shape.bounds[t]; i < shape.bounds[t + 1]; i++) residual[i] = (steps[i] - said[i]) * unit;
  });
  return { update, residual };
}

function shiftsOf(steps: Float64Array, shape: Shape, sent: number[], encoding: Encoding): number[] {
  const parts: Float64Array[][] = shape.tensors.map(() => []);
  for (const page of sent) {
    for (const { tensor, start, stop } of shape.segments(page)) parts[tensor].push(steps.subarray(start, stop));
  }
  return parts.map((part) =>
    part.length ? Math.min(Math.max(encoding.shift(part), MIN_SHIFT), encoding.maxShift) : 0,
  );
}

function digits(steps: Float64Array, shape: Shape, page: number, shifts: number[], encoding: Encoding): Int8Array {
  const from = shape.pageStart(page);
  const values = new Int8Array(shape.pageStop(page) - from);
  for (const { tensor, start, stop } of shape.segments(page)) {
    const size = 2 ** -shifts[tensor];
    for (let i = start; i < stop; i++) values[i - from] = encoding.digit(steps[i] * size);
  }
  return values;
}
