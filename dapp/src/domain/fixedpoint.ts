// Rounding and weights as int16. A mirror of linklearner/domain/fixedpoint.py.

import type { Shape } from "./shape";

/** To the nearest integer, ties away from zero; exact. Never -0. */
export function roundHalfAway(value: number): number {
  const whole = Math.trunc(value);
  return (Math.abs(value - whole) >= 0.5 ? whole + Math.sign(value) : whole) + 0;
}

const eight = new DataView(new ArrayBuffer(8));

/** value = fraction * 2**exponent with 1/2 <= |fraction| < 1; value is finite, not 0 and not subnormal. */
export function frexp(value: number): [number, number] {
  eight.setFloat64(0, value);
  const high = eight.getUint32(0);
  const exponent = ((high >>> 20) & 0x7ff) - 1022;
  eight.setUint32(0, (high & 0x800fffff) | (1022 << 20));
  return [eight.getFloat64(0), exponent];
}

/** The real values w * 2**-q, exactly. weights: (N,). */
export function dequantise(weights: Int16Array, shape: Shape): Float32Array {
  const values = new Float32Array(weights.length);
  shape.tensors.forEach((tensor, t) => {
    const step = 2 ** -tensor.exponent;
    for (let i = shape.bounds[t]; i < shape.bounds[t + 1]; i++) values[i] = weights[i] * step;
  });
  return values;
}
