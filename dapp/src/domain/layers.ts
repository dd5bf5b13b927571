// The networks that this page can train: linear layers, ReLU, convolutions of one size, 2 x 2 max pooling. Forward, and backward by hand.
//
// All values are (batch, size) rows of Float32Array, images as (channels, rows, columns) in a row; all weights are one flat vector.

export type Layer =
  | { kind: "linear"; into: number; out: number; weight: number; bias: number }
  | { kind: "relu"; size: number }
  | { kind: "conv"; from: number; to: number; rows: number; columns: number; kernel: number; weight: number; bias: number }
  | { kind: "pool"; channels: number; rows: number; columns: number };

export function outputSize(layer: Layer): number {
  switch (layer.kind) {
    case "linear":
      return layer.out;
    case "relu":
      return layer.size;
    case "conv":
      return layer.to * layer.rows * layer.columns;
    case "pool":
      return layer.channels * (layer.rows >> 1) * (layer.columns >> 1);
  }
}

/** (batch, outputs): the last of the activations, one array a layer, the (scaled) input first. */
export function forward(layers: readonly Layer[], weights: Float32Array, input: Float32Array, batch: number): Float32Array[] {
  const values = [input];
  for (const layer of layers) {
    const out = new Float32Array(batch * outputSize(layer));
    STEPS[layer.kind].forward(layer as never, weights, values.at(-1)!, out, batch);
    values.push(out);
  }
  return values;
}

/** Adds the loss's gradient to `gradient`, (N,). outer: of the last activation, (batch, outputs). */
export function backward(
  layers: readonly Layer[],
  weights: Float32Array,
  values: readonly Float32Array[],
  outer: Float32Array,
  gradient: Float32Array,
  batch: number,
): void {
  for (let i = layers.length - 1; i >= 0; i--) {
    const inner = new Float32Array(i ? values[i].length : 0); // nobody needs the input's
    STEPS[layers[i].kind].backward(layers[i] as never, weights, values[i], outer, inner, gradient, batch);
    outer = inner;
  }
}

interface Step<L> {
  forward(layer: L, w: Float32Array, x: Float32Array, y: Float32Array, batch: number): void;
  backward(layer: L, w: Float32Array, x: Float32Array, dy: Float32Array, dx: Float32Array, dw: Float32Array, batch: number): void;
}

const linear: Step<Extract<Layer, { kind: "linear" }>> = {
  forward({ into, out, weight, bias }, w, x, y, batch) {
    for (let b = 0; b < batch; b++) {
      const row = b * into;
      for (let o = 0; o < out; o++) {
        let sum = w[bias + o];
        const at = weight + o * into;
        for (let i = 0; i < into; i++) sum += w[at + i] * x[row + i];
        y[b * out + o] = sum;
      }
    }
  },
  backward({ into, out, weight, bias }, w, x, dy, dx, dw, batch) {
    const wanted = dx.length > 0;
    for (let b = 0; b < batch; b++) {
      const row = b * into;
      for (let o = 0; o < out; o++) {
        const g = dy[b * out + o];
        if (g === 0) continue;
        dw[bias + o] += g;
        const at = weight + o * into;
        for (let i = 0; i < into; i++) dw[at + i] += g * x[row + i];
        if (wanted) for (let i = 0; i < into; i++) dx[row + i] += g * w[at + i];
      }
    }
  },
};

const relu: Step<Extract<Layer, { kind: "relu" }>> = {
  forward(_, __, x, y) {
    for (let i = 0; i < x.length; i++) y[i] = x[i] > 0 ? x[i] : 0;
  },
  backward(_, __, x, dy, dx) {
    for (let i = 0; i < dx.length; i++) dx[i] = x[i] > 0 ? dy[i] : 0;
  },
};

const conv: Step<Extract<Layer, { kind: "conv" }>> = {
  forward({ from, to, rows, columns, kernel, weight, bias }, w, x, y, batch) {
    const plane = rows * columns;
    for (let b = 0; b < batch; b++) {
      for (let o = 0; o < to; o++) {
        const target = (b * to + o) * plane;
        y.fill(w[bias + o], target, target + plane);
        eachTap(from, rows, columns, kernel, (c, k, target0, source0, height, width) => {
          const value = w[weight + (o * from + c) * kernel * kernel + k];
          let t = target + target0;
          let s = (b * from + c) * plane + source0;
          for (let r = 0; r < height; r++, t += columns, s += columns) for (let i = 0; i < width; i++) y[t + i] += value * x[s + i];
        });
      }
    }
  },
  backward({ from, to, rows, columns, kernel, weight, bias }, w, x, dy, dx, dw, batch) {
    const plane = rows * columns;
    const wanted = dx.length > 0;
    for (let b = 0; b < batch; b++) {
      for (let o = 0; o < to; o++) {
        const target = (b * to + o) * plane;
        let sum = 0;
        for (let i = 0; i < plane; i++) sum += dy[target + i];
        dw[bias + o] += sum;
        eachTap(from, rows, columns, kernel, (c, k, target0, source0, height, width) => {
          const at = weight + (o * from + c) * kernel * kernel + k;
          const value = w[at];
          let t = target + target0;
          let s = (b * from + c) * plane + source0;
          let total = 0;
          for (let r = 0; r < height; r++, t += columns, s += columns) {
            for (let i = 0; i < width; i++) total += dy[t + i] * x[s + i];
            if (wanted) for (let i = 0; i < width; i++) dx[s + i] += value * dy[t + i];
          }
          dw[at] += total;
        });
      }
    }
  },
};

/** Each element of a kernel with what of the image it meets: where that begins in target and source, and how large it is. */
function eachTap(
  channels: number,
  rows: number,
  columns: number,
  kernel: number,
  visit: (channel: number, tap: number, target: number, source: number, height: number, width: number) => void,
): void {
  const margin = kernel >> 1;
  for (let c = 0; c < channels; c++) {
    for (let ky = 0; ky < kernel; ky++) {
      const dy = ky - margin;
      for (let kx = 0; kx < kernel; kx++) {
        const dx = kx - margin;
        const height = rows - Math.abs(dy);
        const width = columns - Math.abs(dx);
        if (height <= 0 || width <= 0) continue;
        const target = Math.max(0, -dy) * columns + Math.max(0, -dx);
        const source = Math.max(0, dy) * columns + Math.max(0, dx);
        visit(c, ky * kernel + kx, target, source, height, width);
      }
    }
  }
}

const pool: Step<Extract<Layer, { kind: "pool" }>> = {
  forward({ channels, rows, columns }, _, x, y, batch) {
    eachSquare(channels * batch, rows, columns, (to, at) => {
      y[to] = Math.max(x[at], x[at + 1], x[at + columns], x[at + columns + 1]);
    });
  },
  backward({ channels, rows, columns }, _, x, dy, dx, __, batch) {
    eachSquare(channels * batch, rows, columns, (to, at) => {
      let best = at; // the first of equals, as torch takes it
      for (const other of [at + 1, at + columns, at + columns + 1]) if (x[other] > x[best]) best = other;
      dx[best] += dy[to];
    });
  },
};

function eachSquare(planes: number, rows: number, columns: number, visit: (to: number, at: number) => void): void {
  const [high, wide] = [rows >> 1, columns >> 1];
  for (let p = 0; p < planes; p++) {
    for (let r = 0; r < high; r++) {
      for (let c = 0; c < wide; c++) visit((p * high + r) * wide + c, (p * rows + 2 * r) * columns + 2 * c);
    }
  }
}

const STEPS: { [K in Layer["kind"]]: Step<never> } = {
  linear: linear as Step<never>,
  relu: relu as Step<never>,
  conv: conv as Step<never>,
  pool: pool as Step<never>,
};
