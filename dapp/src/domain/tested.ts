// What the golden vectors are checked on, in a browser: tests/page/domain.js.

export { calldata, refusalOf } from "../chain/contracts";
export { ofPicture, ofStrokes } from "../bitmap";
export { bytesOf, hexOf } from "./bytes";
export { modelDigest, weightsOf } from "./digest";
export { ENCODINGS } from "./encodings";
export { dequantise, frexp, roundHalfAway } from "./fixedpoint";
export { keccak } from "./keccak";
export { backward, forward } from "./layers";
export { drawable, readModel } from "./model";
export { quantise } from "./quantise";
export { Shape } from "./shape";
export { accuracy, predict, train } from "./training";
export { delta, digest, encode, groups, header, norm } from "./update";
export { check as checkSignIn } from "../services/signIn";
