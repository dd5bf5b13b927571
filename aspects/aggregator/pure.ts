// The Aspect's arithmetic without its host calls, for tests: built as tests/aspects/pure.wasm, never deployed.

export { keccak256 } from "./keccak";
export { addBytes, addTwoBits, applySums, clearSums } from "./merge";
export { ceilRoot, effectiveWeight, squaresOfBytes, squaresOfTwoBits } from "./update";
export { decodeShape, groupCount, pageCount, weightCount } from "./shape";
