// The shape of a task: tensors, how fine their weights are, pages and groups. A mirror of linklearner/domain/shape.py.

import { Refusal } from "./bytes";

export interface Tensor {
  length: number;
  /** q: a weight w stands for w * 2**-q. */
  exponent: number;
}

/** A run of one tensor inside a page; start and stop in the flat vector. */
export interface Segment {
  tensor: number;
  start: number;
  stop: number;
}

export class Shape {
  readonly weightCount: number;
  readonly pageCount: number;
  readonly groupCount: number;
  /** Where the tensors begin in the flat vector, and N at the end. */
  readonly bounds: number[];

  constructor(
    readonly tensors: readonly Tensor[],
    readonly pageLength: number,
    readonly groupPages: number,
    readonly normBound: bigint,
  ) {
    this.bounds = [0];
    for (const tensor of tensors) this.bounds.push(this.bounds.at(-1)! + tensor.length);
    this.weightCount = this.bounds.at(-1)!;
    this.pageCount = Math.ceil(this.weightCount / pageLength);
    this.groupCount = Math.ceil(this.pageCount / groupPages);
  }

  pageStart(page: number): number {
    return page * this.pageLength;
  }

  pageStop(page: number): number {
    return Math.min((page + 1) * this.pageLength, this.weightCount);
  }

  segments(page: number): Segment[] {
    const from = this.pageStart(page);
    const to = this.pageStop(page);
    const runs: Segment[] = [];
    for (let tensor = 0; tensor < this.tensors.length; tensor++) {
      const start = Math.max(from, this.bounds[tensor]);
      const stop = Math.min(to, this.bounds[tensor + 1]);
      if (start < stop) runs.push({ tensor, start, stop });
    }
    return runs;
  }

  /** u8 1 | u16 T | T x (u32 length, i8 q) | u32 page length | u32 group pages | u64 norm bound, big-endian. */
  static decode(bytes: Uint8Array): Shape {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 3 || view.getUint8(0) !== 1) throw new Refusal("InvalidShape", "the task's shape is of an unknown format");
    const count = view.getUint16(1);
    const tail = 3 + 5 * count;
    if (bytes.length !== tail + 16 || !count) throw new Refusal("InvalidShape", "the task's shape has another length");
    const tensors = Array.from({ length: count }, (_, i) => ({
      length: view.getUint32(3 + 5 * i),
      exponent: view.getInt8(7 + 5 * i),
    }));
    return new Shape(tensors, view.getUint32(tail), view.getUint32(tail + 4), view.getBigUint64(tail + 8));
  }
}
