// The Aspect's arithmetic without its host calls, for tests: built as tests/aspects/pure.wasm, never deployed.

export { keccak256 } from "./keccak";
export { applySums, ceilRoot, effectiveWeight } from "./rules/mean";
export { decodeShape, groupCount, pageCount, tensorAt, weightCount } from "./shape";
export { addPage, clearSums } from "./sums";
export { areShifts, hasPage, headerBytes, isHeader, measurePage, squaredNorm } from "./update";
