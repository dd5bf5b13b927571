// The Aspect's arithmetic without its host calls, for tests: built as tests/aspects/pure.wasm, never deployed.

export { keccak256 } from "./keccak";
export { addPage, applySums, clearSums } from "./merge";
export { decodeShape, groupCount, pageCount, tensorAt, weightCount } from "./shape";
export { areShifts, ceilRoot, effectiveWeight, hasPage, headerBytes, isHeader, measurePage, squaredNorm } from "./update";
