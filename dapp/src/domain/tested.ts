// What the golden vectors are checked on, in a browser: tests/page/domain.js.

export { calldata, refusalOf } from "../chain/contracts";
export { submitLimit } from "../chain/gas";
export { bytesOf, hexOf } from "./bytes";
export { modelDigest } from "./digest";
export { ENCODINGS } from "./encodings";
export { keccak } from "./keccak";
export { backward, forward } from "./layers";
export { readModel } from "./model";
export { quantise } from "./quantise";
export { Shape } from "./shape";
export { digest, encode, norm } from "./update";
export { check as checkSignIn } from "../services/signIn";
