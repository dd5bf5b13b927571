// The Aspect's arithmetic without its host calls, for tests: built as tests/aspects/pure.wasm, never deployed.

export { keccak256 } from "./keccak";
export { applySums, ceilRoot, effectiveWeight } from "./rules/mean";
export { decodeShape, groupCount, pageCount, tensorAt, weightCount } from "./shape";
export { addPage, clearSums } from "./sums";
export { areShifts, hasPage, headerBytes, isHeader, measurePage, squaredNorm } from "./update";
export { GAIN, LOSS, MOVES, OUTCOME, RECORD, STEPS, VERDICT_BYTES, baseLoss, halvings, judge, loss, saturated, scaleOf, wholeSteps } from "./rules/evidence/judge";
export { beginRound, credit, creditFairly, direct, gain, novel } from "./rules/evidence/credit";
export { crossEntropy, logarithm } from "./rules/evidence/loss";
export { ATOM_BYTES, ROUND_BYTES, copy, first, listFor, makeAtom, mostlyFirst, project, putOwners, useTable } from "./rules/evidence/memory";
export { BUFFER_BYTES, exampleBytes, freshLoss, layerCount, logitsOf, lossOf, readNetwork, survey, useBuffers } from "./rules/evidence/network";
