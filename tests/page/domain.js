"use strict";
var domain = (() => {
  var __defProp = Object.defineProperty;
  var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
  var __getOwnPropNames = Object.getOwnPropertyNames;
  var __hasOwnProp = Object.prototype.hasOwnProperty;
  var __export = (target, all2) => {
    for (var name in all2)
      __defProp(target, name, { get: all2[name], enumerable: true });
  };
  var __copyProps = (to, from, except, desc) => {
    if (from && typeof from === "object" || typeof from === "function") {
      for (let key of __getOwnPropNames(from))
        if (!__hasOwnProp.call(to, key) && key !== except)
          __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
    }
    return to;
  };
  var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

  // src/domain/tested.ts
  var tested_exports = {};
  __export(tested_exports, {
    ENCODINGS: () => ENCODINGS,
    Shape: () => Shape,
    accuracy: () => accuracy,
    backward: () => backward,
    bytesOf: () => bytesOf,
    calldata: () => calldata,
    checkSignIn: () => check,
    delta: () => delta,
    dequantise: () => dequantise,
    digest: () => digest,
    drawable: () => drawable,
    encode: () => encode2,
    forward: () => forward,
    frexp: () => frexp,
    groups: () => groups,
    header: () => header,
    hexOf: () => hexOf,
    keccak: () => keccak,
    modelDigest: () => modelDigest,
    norm: () => norm,
    ofPicture: () => ofPicture,
    ofStrokes: () => ofStrokes,
    predict: () => predict,
    quantise: () => quantise,
    readModel: () => readModel,
    refusalOf: () => refusalOf,
    roundHalfAway: () => roundHalfAway,
    train: () => train,
    weightsOf: () => weightsOf
  });

  // src/domain/bytes.ts
  var Refusal = class extends Error {
    /** reason: a name that programs compare; message: a sentence for people. */
    constructor(reason, message, facts = {}) {
      super(message);
      this.reason = reason;
      this.facts = facts;
    }
    reason;
    facts;
  };
  function hexOf(bytes) {
    let text = "0x";
    for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
    return text;
  }
  function bytesOf(hex) {
    const digits2 = hex.startsWith("0x") ? hex.slice(2) : hex;
    const bytes = new Uint8Array(digits2.length >> 1);
    for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(digits2.substr(2 * i, 2), 16);
    return bytes;
  }
  function ofBase64(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }
  function concat(parts) {
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  // src/chain/abi.ts
  var FUNCTIONS = {
    "submit": ["0x437cfc3f", ["uint", "bytes32", "bytes", "bytes[]"]],
    "claim": ["0xaab8ab0c", ["uint"]],
    "drop": ["0x3b27ef06", ["uint"]],
    "lock": ["0x658eb814", ["uint", "uint"]],
    "entrypoint": ["0x995a75e8", ["address", "bytes"]]
  };
  var ERRORS = {
    "0x7937c9df": ["AlreadySubmitted", [["task", "uint"], ["round", "uint"], ["account", "address"]]],
    "0x27f628dc": ["AspectAlreadySet", [["aspect", "address"]]],
    "0x3152b713": ["AspectNotSet", []],
    "0x73758b9a": ["BadTerms", [["field", "string"]]],
    "0xd351203f": ["BelowMinimumStake", [["counting", "uint"], ["minimum", "uint"]]],
    "0x90ef07c9": ["BeyondCap", [["asked", "uint"], ["left", "uint"]]],
    "0xb8eb701c": ["BeyondEmission", [["asked", "uint"], ["left", "uint"]]],
    "0x2520601d": ["CheckpointUnorderedInsertion", []],
    "0xf645eedf": ["ECDSAInvalidSignature", []],
    "0xfce698f7": ["ECDSAInvalidSignatureLength", [["length", "uint"]]],
    "0xd78bce0c": ["ECDSAInvalidSignatureS", [["s", "bytes32"]]],
    "0xfb8f41b2": ["ERC20InsufficientAllowance", [["spender", "address"], ["allowance", "uint"], ["needed", "uint"]]],
    "0xe450d38c": ["ERC20InsufficientBalance", [["sender", "address"], ["balance", "uint"], ["needed", "uint"]]],
    "0xe602df05": ["ERC20InvalidApprover", [["approver", "address"]]],
    "0xec442f05": ["ERC20InvalidReceiver", [["receiver", "address"]]],
    "0x96c6fd1e": ["ERC20InvalidSender", [["sender", "address"]]],
    "0x94280d62": ["ERC20InvalidSpender", [["spender", "address"]]],
    "0x62791302": ["ERC2612ExpiredSignature", [["deadline", "uint"]]],
    "0x4b800e46": ["ERC2612InvalidSigner", [["signer", "address"], ["owner", "address"]]],
    "0xecd3f81e": ["ERC5805FutureLookup", [["timepoint", "uint"], ["clock", "uint"]]],
    "0x912fb229": ["ExamplesNotOpened", [["round", "uint"]]],
    "0x753e9a96": ["ExamplesOpen", [["round", "uint"]]],
    "0x0d66b357": ["InsufficientStake", [["locked", "uint"], ["asked", "uint"]]],
    "0x752d88c0": ["InvalidAccountNonce", [["account", "address"], ["currentNonce", "uint"]]],
    "0xb3512b0c": ["InvalidShortString", []],
    "0x35cc2832": ["NoExamples", [["task", "uint"]]],
    "0x705137d3": ["NoUpdates", [["round", "uint"]]],
    "0xdf726563": ["NoVerdict", []],
    "0xc66f47bf": ["NotCreator", [["caller", "address"]]],
    "0x92498ee3": ["NotDirect", [["caller", "address"], ["origin", "address"]]],
    "0xf1666483": ["NotThePool", [["caller", "address"]]],
    "0xd6bb0154": ["NotTheVault", [["caller", "address"]]],
    "0x69c04895": ["NotYetDroppable", [["droppableAt", "uint"]]],
    "0x1e4fbdf7": ["OwnableInvalidOwner", [["owner", "address"]]],
    "0x118cdaa7": ["OwnableUnauthorizedAccount", [["account", "address"]]],
    "0x2fc0b2b0": ["PhaseOver", [["since", "uint"]]],
    "0x5f62f84a": ["RoundFull", [["round", "uint"], ["maxUpdates", "uint"]]],
    "0x3692e23b": ["RoundNotOver", [["present", "uint"], ["eligible", "uint"], ["settleableAt", "uint"]]],
    "0x3b85cfbd": ["RoundSettling", [["round", "uint"], ["mergedGroups", "uint"]]],
    "0x5ac2e2e4": ["RunningHashMismatch", [["expected", "bytes32"], ["actual", "bytes32"]]],
    "0x6dfcc650": ["SafeCastOverflowedUintDowncast", [["bits", "uint"], ["value", "uint"]]],
    "0xbdea8d06": ["StakeLimit", [["units", "uint"], ["limit", "uint"]]],
    "0x1e7edd9c": ["StakeStillLocked", [["withdrawableAt", "uint"], ["round", "uint"]]],
    "0x305a27a9": ["StringTooLong", [["str", "string"]]],
    "0xfb99a2ab": ["TaskAlreadyLoaded", [["task", "uint"]]],
    "0x86f78c15": ["TaskClosed", [["task", "uint"]]],
    "0xa3f25255": ["TaskIsClosing", [["task", "uint"]]],
    "0x64b4f4b8": ["TaskNotReady", [["task", "uint"]]],
    "0x379094a3": ["UnknownTask", [["task", "uint"]]],
    "0x4683af0e": ["VotesExpiredSignature", [["expiry", "uint"]]],
    "0x2ed4bc2c": ["WrongDigest", [["claimed", "bytes32"], ["actual", "bytes32"]]],
    "0xe34a839b": ["WrongExamples", [["batch", "uint"]]],
    "0xfbd62827": ["WrongGroup", [["given", "uint"], ["next", "uint"]]],
    "0x863d3096": ["WrongRound", [["given", "uint"], ["current", "uint"]]],
    "0xe5e8ad2b": ["WrongTaskId", [["given", "uint"], ["next", "uint"]]],
    "0x2a590254": ["WrongVerdict", [["weight", "uint"], ["effective", "uint"], ["most", "uint"]]],
    "0xd92e233d": ["ZeroAddress", []],
    "0x1f2a2005": ["ZeroAmount", []],
    "0xc46babb1": ["ZeroUnits", []]
  };

  // src/chain/coder.ts
  var word = (value) => value.toString(16).padStart(64, "0");
  function encode(types, values) {
    const tails = [];
    let offset = 32 * types.length;
    const heads = types.map((type, i) => {
      const value = values[i];
      if (type === "uint") return word(value);
      if (type === "address") return value.slice(2).toLowerCase().padStart(64, "0");
      if (type === "bytes32") return value.slice(2);
      const tail = type === "bytes[]" ? word(BigInt(value.length)) + encode(value.map(() => "bytes"), value) : run(value);
      const head = word(BigInt(offset));
      offset += tail.length / 2;
      tails.push(tail);
      return head;
    });
    return heads.join("") + tails.join("");
  }
  function run(hex) {
    const digits2 = hex.slice(2);
    return word(BigInt(digits2.length / 2)) + digits2.padEnd(Math.ceil(digits2.length / 64) * 64, "0");
  }
  function decode(type, data, place) {
    const head = data.slice(64 * place, 64 * place + 64);
    if (type === "uint") return BigInt(`0x${head || "0"}`);
    if (type === "address") return `0x${head.slice(24)}`;
    if (type === "bytes32") return `0x${head}`;
    const at = 2 * Number(BigInt(`0x${head}`));
    const length = Number(BigInt(`0x${data.slice(at, at + 64)}`));
    const bytes = data.slice(at + 64, at + 64 + 2 * length);
    return type === "string" ? new TextDecoder().decode(bytesOf(bytes)) : hexOf(bytesOf(bytes));
  }

  // src/chain/rpc.ts
  var RpcError = class extends Error {
    constructor(code, message, data) {
      super(message);
      this.code = code;
      this.data = data;
    }
    code;
    data;
  };

  // src/chain/contracts.ts
  function calldata(name, ...values) {
    const [selector, types] = FUNCTIONS[name];
    return `${selector}${encode(types, values)}`;
  }
  var REMEDY = {
    AlreadySubmitted: "One update an account and round: wait for the next version.",
    BelowMinimumStake: "Too little of your stake counts in this round. Lock more, or wait for the round in which it counts.",
    ERC20InsufficientBalance: "There is too little $LL in this account.",
    EmptyUpdate: "The update moves nothing: draw something new and train again.",
    InsufficientFunds: "There is too little coin in this account to pay for gas.",
    NoStake: "Lock $LL for this task first.",
    NotYetDroppable: "The round cannot be ended yet.",
    RoundFull: "The round is full: wait for the next version.",
    RoundNotOver: "The round is not over yet.",
    RoundSettling: "The round is being settled: wait for the next version.",
    StakeStillLocked: "The stake is still held.",
    StaleBase: "The model moved on while you trained: train again on the new version.",
    TaskIsClosing: "The task's creator has closed it.",
    TaskNotReady: "The task's first weights are still being loaded."
  };
  function refusalOf(error) {
    if (error instanceof Refusal) return error;
    const given = error;
    if (given?.code === 4001) return new Refusal("Declined", "You declined it in your wallet. Nothing was sent.");
    const message = String(given?.message ?? error);
    const nested = given?.data?.data ?? given?.data?.originalError?.data;
    const data = typeof given?.data === "string" ? given.data : typeof nested === "string" ? nested : "";
    const known = ERRORS[data.slice(0, 10)];
    if (known) {
      const facts = {};
      known[1].forEach(([name, type], i) => facts[name] = String(decode(type, data.slice(10), i)));
      const shown = Object.entries(facts).map(([name, value]) => `${name} ${value.length > 20 ? `${value.slice(0, 6)}…${value.slice(-4)}` : value}`).join(", ");
      return new Refusal(known[0], REMEDY[known[0]] ?? `The contract refused: ${known[0]}${shown ? ` (${shown})` : ""}.`, facts);
    }
    const text = data.startsWith("0x08c379a0") ? String(decode("string", data.slice(10), 0)) : message.split("execution reverted: ")[1];
    const named = text?.match(/^([A-Z]\w+): (.+)$/s);
    if (named) return new Refusal(named[1], REMEDY[named[1]] ?? `${named[2][0].toUpperCase()}${named[2].slice(1)}.`);
    if (/insufficient (funds|balance)/.test(message)) return new Refusal("InsufficientFunds", REMEDY["InsufficientFunds"]);
    if (error instanceof RpcError) return new Refusal("NodeRefused", text ?? message);
    return new Refusal("Failed", message.slice(0, 300));
  }

  // src/bitmap.ts
  var FINE = 4;
  var INK = 312 / 1024;
  var MARGIN = 0.075;
  function ofStrokes(strokes, side, [low, high]) {
    const points = strokes.flat();
    if (!points.length) return null;
    const size = side * FINE;
    const [left, right] = [Math.min(...points.map((p) => p.x)), Math.max(...points.map((p) => p.x))];
    const [top, bottom] = [Math.min(...points.map((p) => p.y)), Math.max(...points.map((p) => p.y))];
    const inner = size * (1 - 2 * MARGIN);
    const scale = inner / Math.max(bottom - top, (right - left) / 0.95, 0.02);
    const place = (p) => ({
      x: size / 2 + (p.x - (left + right) / 2) * scale,
      y: size / 2 + (p.y - (top + bottom) / 2) * scale
    });
    const distance = new Float32Array(size * size).fill(Infinity);
    for (const stroke of strokes) {
      const placed = stroke.map(place);
      placed.forEach((b, i) => near(distance, size, placed[Math.max(0, i - 1)], b));
    }
    return counted(distance, size, side, low, high);
  }
  function ofPicture(luminance, columns, side, [low, high]) {
    const rows = luminance.length / columns;
    const border = [];
    for (let c = 0; c < columns; c++) border.push(luminance[c], luminance[(rows - 1) * columns + c]);
    for (let r = 0; r < rows; r++) border.push(luminance[r * columns], luminance[r * columns + columns - 1]);
    const paper = border.sort((a, b) => a - b)[border.length >> 1];
    const ink = luminance.map((value) => Math.abs(value - paper));
    const most = ink.reduce((a, b) => Math.max(a, b), 0);
    if (most < 0.1) return null;
    let [left, right, top, bottom] = [columns, -1, rows, -1];
    ink.forEach((value, i) => {
      if (value < most / 2) return;
      const [r, c] = [Math.floor(i / columns), i % columns];
      [left, right, top, bottom] = [Math.min(left, c), Math.max(right, c), Math.min(top, r), Math.max(bottom, r)];
    });
    const size = side * FINE;
    const scale = Math.max(bottom - top + 1, right - left + 1) / size;
    const blank = new Float32Array(size * size);
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const r = (top + bottom + 1) / 2 + (y + 0.5 - size / 2) * scale;
        const c = (left + right + 1) / 2 + (x + 0.5 - size / 2) * scale;
        const inside = r >= 0 && c >= 0 && r < rows && c < columns;
        blank[y * size + x] = inside ? 1 - ink[Math.floor(r) * columns + Math.floor(c)] / most : 1;
      }
    }
    return counted(blank, size, side, low, high);
  }
  function counted(distance, size, side, low, high) {
    const limit = distance.slice().sort()[Math.round(INK * size * size) - 1];
    const values = new Float32Array(side * side).fill(low);
    const step = (high - low) / FINE ** 2;
    distance.forEach((away, i) => {
      if (away > limit) return;
      values[Math.floor(Math.floor(i / size) / FINE) * side + Math.floor(i % size / FINE)] += step;
    });
    return values;
  }
  function near(distance, size, a, b) {
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const square = dx * dx + dy * dy;
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const [px, py] = [x + 0.5 - a.x, y + 0.5 - a.y];
        const t = square ? Math.min(1, Math.max(0, (px * dx + py * dy) / square)) : 0;
        const away = (px - t * dx) ** 2 + (py - t * dy) ** 2;
        if (away < distance[y * size + x]) distance[y * size + x] = away;
      }
    }
  }

  // node_modules/@noble/hashes/_u64.js
  var U32_MASK64 = /* @__PURE__ */ (() => BigInt(2 ** 32 - 1))();
  var _32n = /* @__PURE__ */ BigInt(32);
  function fromBig(n, le = false) {
    if (le)
      return { h: Number(n & U32_MASK64), l: Number(n >> _32n & U32_MASK64) };
    return { h: Number(n >> _32n & U32_MASK64) | 0, l: Number(n & U32_MASK64) | 0 };
  }
  function split(lst, le = false) {
    const len = lst.length;
    let Ah = new Uint32Array(len);
    let Al = new Uint32Array(len);
    for (let i = 0; i < len; i++) {
      const { h, l } = fromBig(lst[i], le);
      [Ah[i], Al[i]] = [h, l];
    }
    return [Ah, Al];
  }

  // node_modules/@noble/hashes/utils.js
  function isBytes(a) {
    return a instanceof Uint8Array || ArrayBuffer.isView(a) && a.constructor.name === "Uint8Array" && "BYTES_PER_ELEMENT" in a && a.BYTES_PER_ELEMENT === 1;
  }
  var atitle = (title) => title ? `"${title}" ` : "";
  function anumber(n, title = "") {
    if (typeof n !== "number")
      throw new TypeError(atitle(title) + "expected number, got " + typeof n);
    if (!Number.isSafeInteger(n) || n < 0)
      throw new RangeError(atitle(title) + "expected integer >= 0, got " + n);
    return n;
  }
  function abool(value, title = "") {
    if (typeof value !== "boolean")
      throw new TypeError(atitle(title) + "expected boolean, got type=" + typeof value);
    return value;
  }
  function abytes(value, length, title = "") {
    if (isBytes(value) && (length === void 0 || value.length === length))
      return value;
    if (length !== void 0)
      anumber(length, "length");
    const bytes = isBytes(value);
    const ofLen = length !== void 0 ? ` of length ${length}` : "";
    const got = bytes ? `length=${value.length}` : `type=${typeof value}`;
    const message = atitle(title) + "expected Uint8Array" + ofLen + ", got " + got;
    if (!bytes)
      throw new TypeError(message);
    throw new RangeError(message);
  }
  var aobject = (value, label) => {
    if (value === null || typeof value !== "object" || Array.isArray(value))
      throw new TypeError((label === "object" ? "" : `"${label}" `) + "expected object, got type=" + typeof value);
  };
  var aopts = (value, label) => {
    aobject(value, label);
    const proto = Object.getPrototypeOf(value);
    if (proto !== Object.prototype && proto !== null)
      throw new TypeError(`"${label}" expected plain object`);
    if (Object.hasOwn(value, "__proto__"))
      throw new TypeError(`"${label}.__proto__" is not allowed`);
  };
  function aexists(instance, checkFinished = true) {
    if (instance.destroyed)
      throw new Error("hash was destroyed");
    if (checkFinished && instance.finished)
      throw new Error("digest() was already called");
  }
  function aoutput(out, instance) {
    abytes(out, void 0, "output");
    const min = instance.outputLen;
    if (!(out.length >= min)) {
      throw new RangeError('"output" expected length >= ' + min);
    }
  }
  function u32(arr) {
    return new Uint32Array(arr.buffer, arr.byteOffset, Math.floor(arr.byteLength / 4));
  }
  function clean(...arrays) {
    for (let i = 0; i < arrays.length; i++) {
      arrays[i].fill(0);
    }
  }
  var isLE = /* @__PURE__ */ (() => new Uint8Array(new Uint32Array([287454020]).buffer)[0] === 68)();
  function byteSwap(word2) {
    return word2 << 24 & 4278190080 | word2 << 8 & 16711680 | word2 >>> 8 & 65280 | word2 >>> 24 & 255;
  }
  function byteSwap32(arr) {
    for (let i = 0; i < arr.length; i++) {
      arr[i] = byteSwap(arr[i]);
    }
    return arr;
  }
  var swap32IfBE = isLE ? (u) => u : byteSwap32;
  function checkOpts(defaults, opts, title = "opts") {
    aopts(defaults, "defaults");
    if (opts !== void 0)
      aopts(opts, title);
    const merged = Object.assign(/* @__PURE__ */ Object.create(null), defaults, opts);
    return merged;
  }
  function createHasher(hashCons, info = {}) {
    if (typeof hashCons !== "function")
      throw new TypeError('"hashCons" expected function, got type=' + typeof hashCons);
    info = checkOpts({}, info, "info");
    const hashC = (msg, opts) => hashCons(opts).update(msg).digest();
    const tmp = hashCons(void 0);
    hashC.outputLen = tmp.outputLen;
    hashC.blockLen = tmp.blockLen;
    hashC.canXOF = tmp.canXOF;
    hashC.create = (opts) => hashCons(opts);
    Object.assign(hashC, info);
    return Object.freeze(hashC);
  }

  // node_modules/@noble/hashes/sha3.js
  var _0n = BigInt(0);
  var _1n = BigInt(1);
  var _2n = BigInt(2);
  var _7n = BigInt(7);
  var _256n = BigInt(256);
  var _0x71n = BigInt(113);
  var SHA3_PI = [];
  var SHA3_ROTL = [];
  var _SHA3_IOTA = [];
  for (let round = 0, R = _1n, x = 1, y = 0; round < 24; round++) {
    [x, y] = [y, (2 * x + 3 * y) % 5];
    SHA3_PI.push(2 * (5 * y + x));
    SHA3_ROTL.push((round + 1) * (round + 2) / 2 % 64);
    let t = _0n;
    for (let j = 0; j < 7; j++) {
      R = (R << _1n ^ (R >> _7n) * _0x71n) % _256n;
      if (R & _2n)
        t ^= _1n << (_1n << BigInt(j)) - _1n;
    }
    _SHA3_IOTA.push(t);
  }
  var IOTAS = split(_SHA3_IOTA, true);
  var SHA3_IOTA_H = IOTAS[0];
  var SHA3_IOTA_L = IOTAS[1];
  var rotlSH = (h, l, s) => h << s | l >>> 32 - s;
  var rotlSL = (h, l, s) => l << s | h >>> 32 - s;
  var rotlBH = (h, l, s) => l << s - 32 | h >>> 64 - s;
  var rotlBL = (h, l, s) => h << s - 32 | l >>> 64 - s;
  var rotlH = (h, l, s) => s > 32 ? rotlBH(h, l, s) : rotlSH(h, l, s);
  var rotlL = (h, l, s) => s > 32 ? rotlBL(h, l, s) : rotlSL(h, l, s);
  var B = new Uint32Array(5 * 2);
  function keccakP(s, rounds = 24) {
    if (!(s instanceof Uint32Array))
      throw new TypeError('"s" expected Uint32Array(50), got type=' + typeof s);
    if (s.length !== 50)
      throw new RangeError('"s" expected Uint32Array(50), got length=' + s.length);
    anumber(rounds, "rounds");
    if (rounds < 1 || rounds > 24)
      throw new Error('"rounds" expected integer 1..24');
    for (let round = 24 - rounds; round < 24; round++) {
      for (let x = 0; x < 10; x++)
        B[x] = s[x] ^ s[x + 10] ^ s[x + 20] ^ s[x + 30] ^ s[x + 40];
      for (let x = 0; x < 10; x += 2) {
        const idx1 = (x + 8) % 10;
        const idx0 = (x + 2) % 10;
        const B0 = B[idx0];
        const B1 = B[idx0 + 1];
        const Th = rotlH(B0, B1, 1) ^ B[idx1];
        const Tl = rotlL(B0, B1, 1) ^ B[idx1 + 1];
        for (let y = 0; y < 50; y += 10) {
          s[x + y] ^= Th;
          s[x + y + 1] ^= Tl;
        }
      }
      let curH = s[2];
      let curL = s[3];
      for (let t = 0; t < 24; t++) {
        const shift = SHA3_ROTL[t];
        const Th = rotlH(curH, curL, shift);
        const Tl = rotlL(curH, curL, shift);
        const PI = SHA3_PI[t];
        curH = s[PI];
        curL = s[PI + 1];
        s[PI] = Th;
        s[PI + 1] = Tl;
      }
      for (let y = 0; y < 50; y += 10) {
        const b0 = s[y], b1 = s[y + 1], b2 = s[y + 2], b3 = s[y + 3];
        s[y] ^= ~s[y + 2] & s[y + 4];
        s[y + 1] ^= ~s[y + 3] & s[y + 5];
        s[y + 2] ^= ~s[y + 4] & s[y + 6];
        s[y + 3] ^= ~s[y + 5] & s[y + 7];
        s[y + 4] ^= ~s[y + 6] & s[y + 8];
        s[y + 5] ^= ~s[y + 7] & s[y + 9];
        s[y + 6] ^= ~s[y + 8] & b0;
        s[y + 7] ^= ~s[y + 9] & b1;
        s[y + 8] ^= ~b0 & b2;
        s[y + 9] ^= ~b1 & b3;
      }
      s[0] ^= SHA3_IOTA_H[round];
      s[1] ^= SHA3_IOTA_L[round];
    }
    clean(B);
  }
  var Keccak = class _Keccak {
    state;
    pos = 0;
    posOut = 0;
    finished = false;
    state32;
    destroyed = false;
    blockLen;
    suffix;
    outputLen;
    canXOF;
    enableXOF = false;
    rounds;
    // NOTE: we accept arguments in bytes instead of bits here.
    constructor(blockLen, suffix, outputLen, enableXOF = false, rounds = 24) {
      anumber(blockLen, "blockLen");
      anumber(suffix, "suffix");
      anumber(rounds, "rounds");
      abool(enableXOF, "enableXOF");
      this.blockLen = blockLen;
      this.suffix = suffix;
      this.outputLen = outputLen;
      this.enableXOF = enableXOF;
      this.canXOF = enableXOF;
      this.rounds = rounds;
      anumber(outputLen, "outputLen");
      if (!(0 < blockLen && blockLen < 200))
        throw new Error('"blockLen" must be 1..199');
      this.state = new Uint8Array(200);
      this.state32 = u32(this.state);
    }
    clone() {
      return this._cloneInto();
    }
    keccak() {
      swap32IfBE(this.state32);
      keccakP(this.state32, this.rounds);
      swap32IfBE(this.state32);
      this.posOut = 0;
      this.pos = 0;
    }
    update(data) {
      aexists(this);
      abytes(data);
      const { blockLen, state, state32 } = this;
      const len = data.length;
      const canUseU32 = blockLen % 4 === 0 && data.byteOffset % 4 === 0;
      const blockLen32 = blockLen / 4;
      const data32 = canUseU32 && len >= blockLen ? u32(data) : void 0;
      for (let pos = 0; pos < len; ) {
        if (data32 !== void 0 && this.pos === 0 && pos % 4 === 0 && len - pos >= blockLen) {
          for (let i = 0, o = pos / 4; i < blockLen32; i++)
            state32[i] ^= data32[o + i];
          pos += blockLen;
          this.pos = blockLen;
          this.keccak();
          continue;
        }
        const take = Math.min(blockLen - this.pos, len - pos);
        for (let i = 0; i < take; i++)
          state[this.pos++] ^= data[pos++];
        if (this.pos === blockLen)
          this.keccak();
      }
      return this;
    }
    finish() {
      if (this.finished)
        return;
      this.finished = true;
      const { state, suffix, pos, blockLen } = this;
      state[pos] ^= suffix;
      if ((suffix & 128) !== 0 && pos === blockLen - 1)
        this.keccak();
      state[blockLen - 1] ^= 128;
      this.keccak();
    }
    writeInto(out) {
      aexists(this, false);
      abytes(out);
      this.finish();
      const bufferOut = this.state;
      const { blockLen } = this;
      for (let pos = 0, len = out.length; pos < len; ) {
        if (this.posOut >= blockLen)
          this.keccak();
        const take = Math.min(blockLen - this.posOut, len - pos);
        out.set(bufferOut.subarray(this.posOut, this.posOut + take), pos);
        this.posOut += take;
        pos += take;
      }
      return out;
    }
    xofInto(out) {
      if (!this.enableXOF)
        throw new Error("XOF is not enabled");
      return this.writeInto(out);
    }
    xof(bytes) {
      anumber(bytes);
      return this.xofInto(new Uint8Array(bytes));
    }
    digestInto(out) {
      aoutput(out, this);
      if (this.finished)
        throw new Error("digest() was already called");
      this.writeInto(out.length === this.outputLen ? out : out.subarray(0, this.outputLen));
      this.destroy();
    }
    digest() {
      const out = new Uint8Array(this.outputLen);
      this.digestInto(out);
      return out;
    }
    destroy() {
      this.destroyed = true;
      clean(this.state);
    }
    _cloneInto(to) {
      const { blockLen, suffix, outputLen, rounds, enableXOF } = this;
      to ||= new _Keccak(blockLen, suffix, outputLen, enableXOF, rounds);
      to.blockLen = blockLen;
      to.state32.set(this.state32);
      to.pos = this.pos;
      to.posOut = this.posOut;
      to.finished = this.finished;
      to.rounds = rounds;
      to.suffix = suffix;
      to.outputLen = outputLen;
      to.enableXOF = enableXOF;
      to.canXOF = this.canXOF;
      to.destroyed = this.destroyed;
      return to;
    }
  };
  var genKeccak = (suffix, blockLen, outputLen, info = {}) => createHasher(() => new Keccak(blockLen, suffix, outputLen), info);
  var keccak_256 = /* @__PURE__ */ genKeccak(1, 136, 32);

  // src/domain/keccak.ts
  var keccak = keccak_256;

  // src/domain/digest.ts
  function modelDigest(bytes, shape) {
    const pages = Array.from(
      { length: shape.pageCount },
      (_, page) => keccak(bytes.subarray(2 * shape.pageStart(page), 2 * shape.pageStop(page)))
    );
    return keccak(concat(pages));
  }
  function weightsOf(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Int16Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true));
  }

  // src/domain/fixedpoint.ts
  function roundHalfAway(value) {
    const whole = Math.trunc(value);
    return (Math.abs(value - whole) >= 0.5 ? whole + Math.sign(value) : whole) + 0;
  }
  var eight = new DataView(new ArrayBuffer(8));
  function frexp(value) {
    eight.setFloat64(0, value);
    const high = eight.getUint32(0);
    const exponent = (high >>> 20 & 2047) - 1022;
    eight.setUint32(0, high & 2148532223 | 1022 << 20);
    return [eight.getFloat64(0), exponent];
  }
  function dequantise(weights, shape) {
    const values = new Float32Array(weights.length);
    shape.tensors.forEach((tensor, t) => {
      const step = 2 ** -tensor.exponent;
      for (let i = shape.bounds[t]; i < shape.bounds[t + 1]; i++) values[i] = weights[i] * step;
    });
    return values;
  }

  // src/domain/encodings.ts
  var MIN_SHIFT = -8;
  var TWO_BITS = {
    code: 2,
    name: "two-bits",
    maxShift: 13,
    submitGas: 0.1,
    pageBytes: (length) => Math.ceil(length / 4),
    pack(values) {
      const bytes = new Uint8Array(Math.ceil(values.length / 4));
      for (let i = 0; i < values.length; i++) bytes[i >> 2] |= values[i] + 3 >> 1 << 2 * (i & 3);
      return bytes;
    },
    shift(parts) {
      let sum = 0;
      let count = 0;
      for (const part of parts) {
        for (const step of part) sum += step * step;
        count += part.length;
      }
      const meanSquare = sum / count;
      return meanSquare ? Math.floor((frexp(meanSquare)[1] - 2) / 2) : MIN_SHIFT;
    },
    digit: (scaled) => (Math.abs(scaled) >= 2 ? 3 : 1) * (scaled < 0 ? -1 : 1)
  };
  var INT8 = {
    code: 8,
    name: "int8",
    maxShift: 8,
    submitGas: 0.55,
    pageBytes: (length) => length,
    pack: (values) => new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.length)),
    shift(parts) {
      let largest = 0;
      for (const part of parts) for (const step of part) largest = Math.max(largest, Math.abs(step));
      if (!largest) return MIN_SHIFT;
      const [fraction, exponent] = frexp(largest);
      return exponent - (fraction <= 127 / 128 ? 7 : 6);
    },
    digit: (scaled) => Math.min(127, Math.max(-128, roundHalfAway(scaled)))
  };
  var ENCODINGS = [TWO_BITS, INT8];

  // src/domain/layers.ts
  function outputSize(layer) {
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
  function forward(layers, weights, input, batch) {
    const values = [input];
    for (const layer of layers) {
      const out = new Float32Array(batch * outputSize(layer));
      STEPS[layer.kind].forward(layer, weights, values.at(-1), out, batch);
      values.push(out);
    }
    return values;
  }
  function backward(layers, weights, values, outer, gradient, batch) {
    for (let i = layers.length - 1; i >= 0; i--) {
      const inner = new Float32Array(i ? values[i].length : 0);
      STEPS[layers[i].kind].backward(layers[i], weights, values[i], outer, inner, gradient, batch);
      outer = inner;
    }
  }
  var linear = {
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
    }
  };
  var relu = {
    forward(_, __, x, y) {
      for (let i = 0; i < x.length; i++) y[i] = x[i] > 0 ? x[i] : 0;
    },
    backward(_, __, x, dy, dx) {
      for (let i = 0; i < dx.length; i++) dx[i] = x[i] > 0 ? dy[i] : 0;
    }
  };
  var conv = {
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
    }
  };
  function eachTap(channels, rows, columns, kernel, visit) {
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
  var pool = {
    forward({ channels, rows, columns }, _, x, y, batch) {
      eachSquare(channels * batch, rows, columns, (to, at) => {
        y[to] = Math.max(x[at], x[at + 1], x[at + columns], x[at + columns + 1]);
      });
    },
    backward({ channels, rows, columns }, _, x, dy, dx, __, batch) {
      eachSquare(channels * batch, rows, columns, (to, at) => {
        let best2 = at;
        for (const other of [at + 1, at + columns, at + columns + 1]) if (x[other] > x[best2]) best2 = other;
        dx[best2] += dy[to];
      });
    }
  };
  function eachSquare(planes, rows, columns, visit) {
    const [high, wide] = [rows >> 1, columns >> 1];
    for (let p = 0; p < planes; p++) {
      for (let r = 0; r < high; r++) {
        for (let c = 0; c < wide; c++) visit((p * high + r) * wide + c, (p * rows + 2 * r) * columns + 2 * c);
      }
    }
  }
  var STEPS = {
    linear,
    relu,
    conv,
    pool
  };

  // src/domain/model.ts
  var MAX_GRAPH = 4 << 20;
  async function readModel(text) {
    let fields;
    try {
      fields = JSON.parse(text);
    } catch {
      throw new Refusal("InvalidModel", "the task's model is not JSON");
    }
    try {
      if (fields["format"] === 2) return ofGraph(fields, await graphOf(fields));
    } catch (error) {
      if (error instanceof Refusal) throw error;
      throw new Refusal("InvalidModel", "the task's model cannot be read");
    }
    throw new Refusal("InvalidModel", "the task's model is of a format that this page does not know");
  }
  async function graphOf(fields) {
    const packed = ofBase64(String(fields["graph"]));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const parts = [];
    let size = 0;
    const reader = stream.getReader();
    for (; ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > MAX_GRAPH) throw new Refusal("InvalidModel", "the task's graph is too large for this page");
      parts.push(value);
    }
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    if (hexOf(keccak(bytes)).slice(2) !== fields["digest"]) throw new Refusal("InvalidModel", "the task's graph is not the one that its digest names");
    return JSON.parse(new TextDecoder().decode(bytes));
  }
  function ofGraph(fields, graph) {
    const [inputName, datatype, dimensions, range] = graph["inputs"][0];
    const outputs = graph["outputs"][0];
    const common = {
      name: String(fields["name"]),
      labels: texts(fields["labels"]),
      loss: String(fields["loss"]),
      inputName: String(inputName),
      outputName: String(outputs[0]),
      dimensions: numbers(dimensions),
      inputCount: numbers(dimensions).reduce((a, b) => a * b, 1),
      datatype: String(datatype),
      range: range ? [+range[0], +range[1]] : null
    };
    const found = common.loss === "cross-entropy" && graph["inputs"].length === 1 && !graph["frozen"].length ? chainOf(graph, common.dimensions) : null;
    if (found) return { ...common, ...found };
    const operators = [...new Set(graph["nodes"].map((node) => String(node[0])))];
    return { ...common, scale: 1, layers: null, summary: `graph of ${operators.slice(0, 4).join(", ")}${operators.length > 4 ? " …" : ""}` };
  }
  function chainOf(graph, dimensions) {
    const sizes = new Map(graph["parameters"].map(([name, dims2]) => [name, dims2]));
    const offsets = /* @__PURE__ */ new Map();
    let total = 0;
    for (const [name, dims2] of graph["parameters"]) {
      offsets.set(name, total);
      total += dims2.reduce((a, b) => a * b, 1);
    }
    const constants = new Map(graph["constants"].map((c) => [c[0], c[3]]));
    const layers = [];
    const [widths, channels] = [[], []];
    let at = graph["inputs"][0][0];
    let dims = dimensions;
    let scale = 1;
    const trained = [];
    for (const [operator, inputs, output, attributes] of graph["nodes"]) {
      if (inputs[0] !== at) return null;
      const weight = sizes.get(inputs[1]);
      if (operator === "Mul" && !layers.length && scale === 1 && constants.get(inputs[1])?.length === 1) {
        scale = constants.get(inputs[1])[0];
      } else if (operator === "Div" && !layers.length && scale === 1 && constants.get(inputs[1])?.length === 1) {
        scale = Math.fround(1 / constants.get(inputs[1])[0]);
      } else if (operator === "Gemm" && dims.length === 1 && weight?.length === 2 && weight[1] === dims[0] && transposed(attributes)) {
        if (sizes.get(inputs[2])?.[0] !== weight[0]) return null;
        layers.push({ kind: "linear", into: weight[1], out: weight[0], weight: offsets.get(inputs[1]), bias: offsets.get(inputs[2]) });
        trained.push(inputs[1], inputs[2]);
        dims = [weight[0]];
        widths.push(weight[0]);
      } else if (operator === "Relu") {
        layers.push({ kind: "relu", size: dims.reduce((a, b) => a * b, 1) });
      } else if (operator === "Conv" && dims.length === 3 && weight?.length === 4 && weight[1] === dims[0] && padded(attributes, weight)) {
        if (sizes.get(inputs[2])?.[0] !== weight[0]) return null;
        const [rows, columns] = [dims[1], dims[2]];
        layers.push({ kind: "conv", from: weight[1], to: weight[0], rows, columns, kernel: weight[2], weight: offsets.get(inputs[1]), bias: offsets.get(inputs[2]) });
        trained.push(inputs[1], inputs[2]);
        dims = [weight[0], rows, columns];
        channels.push(weight[0]);
      } else if (operator === "MaxPool" && dims.length === 3 && halving(attributes)) {
        layers.push({ kind: "pool", channels: dims[0], rows: dims[1], columns: dims[2] });
        dims = [dims[0], dims[1] >> 1, dims[2] >> 1];
      } else if (operator === "Flatten" && (attributes["axis"] ?? 1) === 1) {
        dims = [dims.reduce((a, b) => a * b, 1)];
      } else return null;
      at = output;
    }
    const labels = graph["outputs"][0];
    if (at !== labels[0] || dims.length !== 1 || new Set(trained).size !== sizes.size || trained.length !== sizes.size) return null;
    const summary = channels.length ? `CNN ${dimensions.join("×")}, ${channels.join("-")} channels` : `MLP ${[dimensions.reduce((a, b) => a * b, 1), ...widths].join("-")}`;
    return { scale, layers, summary };
  }
  var all = (value, wanted, count) => Array.isArray(value) && value.length === count && value.every((one) => one === wanted);
  var only = (attributes, names) => Object.keys(attributes).every((name) => names.includes(name));
  var transposed = (a) => a["transB"] === 1 && only(a, ["transB"]);
  var padded = (a, w) => w[2] === w[3] && w[2] % 2 === 1 && all(a["pads"] ?? [0, 0, 0, 0], w[2] >> 1, 4) && (a["strides"] === void 0 || all(a["strides"], 1, 2)) && (a["kernel_shape"] === void 0 || all(a["kernel_shape"], w[2], 2)) && only(a, ["pads", "strides", "kernel_shape"]);
  var halving = (a) => all(a["kernel_shape"], 2, 2) && all(a["strides"], 2, 2) && only(a, ["kernel_shape", "strides"]);
  function numbers(value) {
    if (!Array.isArray(value) || !value.length || !value.every((n) => Number.isInteger(n) && n > 0 && n <= 2 ** 20)) throw new Error("numbers");
    return value;
  }
  function texts(value) {
    if (!Array.isArray(value) || value.length > 4096) throw new Error("texts");
    return value.map(String);
  }
  function drawable(model) {
    const { dimensions, inputCount, datatype } = model;
    const side = Math.sqrt(inputCount);
    if (datatype !== "FP32" || !Number.isInteger(side) || side < 6 || side > 32) return null;
    if (dimensions.length === 1 || dimensions.at(-1) === side) return side;
    return null;
  }

  // src/domain/update.ts
  function headerBytes(shape) {
    return 18 + shape.tensors.length + Math.ceil(shape.pageCount / 8);
  }
  function header(update, shape) {
    const bytes = new Uint8Array(headerBytes(shape));
    const view = new DataView(bytes.buffer);
    view.setUint8(0, 1);
    view.setUint8(1, update.encoding.code);
    view.setBigUint64(2, update.task);
    view.setBigUint64(10, update.baseVersion);
    update.shifts.forEach((shift, t) => view.setInt8(18 + t, shift));
    const bitmap = 18 + shape.tensors.length;
    for (const [page] of update.pages) bytes[bitmap + (page >> 3)] |= 1 << (page & 7);
    return bytes;
  }
  function groups(update, shape) {
    const parts = Array.from({ length: shape.groupCount }, () => []);
    for (const [page, values] of update.pages) parts[Math.floor(page / shape.groupPages)].push(update.encoding.pack(values));
    return parts.map(concat);
  }
  function encode2(update, shape) {
    return concat([header(update, shape), ...groups(update, shape)]);
  }
  function digest(update, shape) {
    return keccak(concat([header(update, shape), ...groups(update, shape).map((group) => keccak(group))]));
  }
  function delta(update, shape) {
    const steps = new Float64Array(shape.weightCount);
    for (const [page, values] of update.pages) {
      const from = shape.pageStart(page);
      for (const { tensor, start, stop } of shape.segments(page)) {
        const size = 2 ** update.shifts[tensor];
        for (let i = start; i < stop; i++) steps[i] = values[i - from] * size;
      }
    }
    return steps;
  }
  function norm(update, shape) {
    let sum = 0;
    for (const [page, values] of update.pages) {
      const from = shape.pageStart(page);
      for (const { tensor, start, stop } of shape.segments(page)) {
        const size = 2 ** (update.shifts[tensor] - MIN_SHIFT);
        for (let i = start; i < stop; i++) sum += (values[i - from] * size) ** 2;
      }
    }
    return Math.sqrt(sum);
  }

  // src/domain/quantise.ts
  var GRID = 2 ** 32;
  var MAX_STEPS = 2 ** 20;
  function quantise(delta2, shape, task, baseVersion, encoding) {
    const steps = new Float64Array(shape.weightCount);
    shape.tensors.forEach((tensor, t) => {
      const size = 2 ** tensor.exponent;
      for (let i = shape.bounds[t]; i < shape.bounds[t + 1]; i++) {
        const moved = delta2[i] * size;
        if (!(Math.abs(moved) <= MAX_STEPS)) throw new Refusal("Diverged", "the training has diverged: train again");
        steps[i] = roundHalfAway(moved * GRID) / GRID;
      }
    });
    let sent = [];
    for (let page = 0; page < shape.pageCount; page++) {
      if (steps.subarray(shape.pageStart(page), shape.pageStop(page)).some((step) => step !== 0)) sent.push(page);
    }
    let update;
    for (; ; ) {
      const shifts = shiftsOf(steps, shape, sent, encoding);
      const pages = sent.map((page) => [page, digits(steps, shape, page, shifts, encoding)]);
      const kept = pages.filter(([, values]) => values.some((d) => d !== 0)).map(([page]) => page);
      update = { task, baseVersion, encoding, shifts, pages };
      if (kept.length === sent.length) break;
      sent = kept;
    }
    const said = delta(update, shape);
    const residual = new Float64Array(shape.weightCount);
    shape.tensors.forEach((tensor, t) => {
      const unit = 2 ** -tensor.exponent;
      for (let i = shape.bounds[t]; i < shape.bounds[t + 1]; i++) residual[i] = (steps[i] - said[i]) * unit;
    });
    return { update, residual };
  }
  function shiftsOf(steps, shape, sent, encoding) {
    const parts = shape.tensors.map(() => []);
    for (const page of sent) {
      for (const { tensor, start, stop } of shape.segments(page)) parts[tensor].push(steps.subarray(start, stop));
    }
    return parts.map(
      (part) => part.length ? Math.min(Math.max(encoding.shift(part), MIN_SHIFT), encoding.maxShift) : 0
    );
  }
  function digits(steps, shape, page, shifts, encoding) {
    const from = shape.pageStart(page);
    const values = new Int8Array(shape.pageStop(page) - from);
    for (const { tensor, start, stop } of shape.segments(page)) {
      const size = 2 ** -shifts[tensor];
      for (let i = start; i < stop; i++) values[i - from] = encoding.digit(steps[i] * size);
    }
    return values;
  }

  // src/domain/shape.ts
  var Shape = class _Shape {
    constructor(tensors, pageLength, groupPages, normBound) {
      this.tensors = tensors;
      this.pageLength = pageLength;
      this.groupPages = groupPages;
      this.normBound = normBound;
      this.bounds = [0];
      for (const tensor of tensors) this.bounds.push(this.bounds.at(-1) + tensor.length);
      this.weightCount = this.bounds.at(-1);
      this.pageCount = Math.ceil(this.weightCount / pageLength);
      this.groupCount = Math.ceil(this.pageCount / groupPages);
    }
    tensors;
    pageLength;
    groupPages;
    normBound;
    weightCount;
    pageCount;
    groupCount;
    /** Where the tensors begin in the flat vector, and N at the end. */
    bounds;
    pageStart(page) {
      return page * this.pageLength;
    }
    pageStop(page) {
      return Math.min((page + 1) * this.pageLength, this.weightCount);
    }
    segments(page) {
      const from = this.pageStart(page);
      const to = this.pageStop(page);
      const runs = [];
      for (let tensor = 0; tensor < this.tensors.length; tensor++) {
        const start = Math.max(from, this.bounds[tensor]);
        const stop = Math.min(to, this.bounds[tensor + 1]);
        if (start < stop) runs.push({ tensor, start, stop });
      }
      return runs;
    }
    /** u8 1 | u16 T | T x (u32 length, i8 q) | u32 page length | u32 group pages | u64 norm bound, big-endian. */
    static decode(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      if (bytes.length < 3 || view.getUint8(0) !== 1) throw new Refusal("InvalidShape", "the task's shape is of an unknown format");
      const count = view.getUint16(1);
      const tail = 3 + 5 * count;
      if (bytes.length !== tail + 16 || !count) throw new Refusal("InvalidShape", "the task's shape has another length");
      const tensors = Array.from({ length: count }, (_, i) => ({
        length: view.getUint32(3 + 5 * i),
        exponent: view.getInt8(7 + 5 * i)
      }));
      return new _Shape(tensors, view.getUint32(tail), view.getUint32(tail + 4), view.getBigUint64(tail + 8));
    }
  };

  // src/domain/training.ts
  var STEPS2 = 100;
  var BATCH = 64;
  var RATE = 0.01;
  var [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8];
  function train(model, base, samples, seed, progress) {
    const layers = model.layers;
    const [inputs, labels, n] = [model.inputCount, model.labels.length, samples.y.length];
    const random = mulberry32(seed);
    const counts = new Float64Array(labels);
    for (const label of samples.y) counts[label]++;
    const offset = counts.map((count) => Math.log(count / n));
    const weights = base.slice();
    const mean = new Float64Array(base.length);
    const square = new Float64Array(base.length);
    const batch = Math.min(BATCH, n);
    const x = new Float32Array(batch * inputs);
    const rows = Uint32Array.from({ length: n }, (_, i) => i);
    let used = n;
    let total = 0;
    let since = 0;
    for (let step = 1; step <= STEPS2; step++) {
      if (used + batch > n) {
        shuffle(rows, random);
        used = 0;
      }
      const taken = rows.subarray(used, used + batch);
      used += batch;
      taken.forEach((row, b) => {
        for (let i = 0; i < inputs; i++) x[b * inputs + i] = samples.x[row * inputs + i] * model.scale;
      });
      const values = forward(layers, weights, x, batch);
      const logits = values.at(-1);
      const outer = new Float32Array(logits.length);
      let loss = 0;
      for (let b = 0; b < batch; b++) {
        const shares = softmax(logits.subarray(b * labels, (b + 1) * labels), offset);
        const label = samples.y[taken[b]];
        loss -= Math.log(Math.max(shares[label], 1e-30));
        for (let l = 0; l < labels; l++) outer[b * labels + l] = (shares[l] - (l === label ? 1 : 0)) / batch;
      }
      const gradient = new Float32Array(base.length);
      backward(layers, weights, values, outer, gradient, batch);
      const [fix1, fix2] = [1 - BETA1 ** step, Math.sqrt(1 - BETA2 ** step)];
      for (let i = 0; i < weights.length; i++) {
        const g = gradient[i];
        mean[i] += (g - mean[i]) * (1 - BETA1);
        square[i] = square[i] * BETA2 + g * g * (1 - BETA2);
        weights[i] -= RATE / fix1 * mean[i] / (Math.sqrt(square[i]) / fix2 + EPSILON);
      }
      total += loss / batch;
      since++;
      if (step % 5 === 0 || step === STEPS2) {
        if (!Number.isFinite(total)) throw new Refusal("Diverged", "the training has diverged: are the samples in the task's range?");
        progress(step, total / since);
        total = since = 0;
      }
    }
    return Float64Array.from(weights, (weight, i) => weight - base[i]);
  }
  function predict(model, weights, x) {
    const n = x.length / model.inputCount;
    const logits = forward(model.layers, weights, x.map((value) => value * model.scale), n).at(-1);
    const labels = logits.length / Math.max(n, 1);
    return Array.from({ length: n }, (_, b) => softmax(logits.subarray(b * labels, (b + 1) * labels)));
  }
  function accuracy(model, weights, samples) {
    const right = predict(model, weights, samples.x).filter((shares, i) => best(shares) === samples.y[i]);
    return right.length / samples.y.length;
  }
  function best(values) {
    let found = 0;
    for (let i = 1; i < values.length; i++) if (values[i] > values[found]) found = i;
    return found;
  }
  function softmax(logits, offset) {
    const shifted = Float32Array.from(logits, (logit, i) => logit + (offset ? offset[i] : 0));
    const most = shifted.reduce((a, b) => Math.max(a, b), -Infinity);
    let sum = 0;
    for (let i = 0; i < shifted.length; i++) sum += shifted[i] = Math.exp(shifted[i] - most);
    return shifted.map((value) => value / sum);
  }
  function shuffle(rows, random) {
    for (let i = rows.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [rows[i], rows[j]] = [rows[j], rows[i]];
    }
  }
  function mulberry32(seed) {
    return () => {
      seed = seed + 1831565813 | 0;
      let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
      t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
      return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
    };
  }

  // src/services/signIn.ts
  var TEXT = /^(\S{1,255}) wants you to sign in with your Ethereum account:\n(0x[0-9A-Fa-f]{40})\n\n([^\n]{1,500})\n\nURI: (\S{1,500})\nVersion: 1\nChain ID: ([1-9]\d{0,19})\nNonce: ([0-9a-f]{64})\nIssued At: (\S+Z)\nExpiration Time: (\S+Z)$/;
  function check(text, expected) {
    const [, domain, address, statement, uri, chainId, nonce, issued, expires] = TEXT.exec(text) ?? [];
    const wrong = (what) => new Refusal("UntrustedChallenge", `The server asks for a signature that this page does not give: ${what}. Nothing was signed.`);
    if (!domain) throw wrong("its text is not a sign-in");
    if (domain !== new URL(expected.origin).host || !uri.startsWith(`${expected.origin}/`)) throw wrong("its text names another page");
    if (address.toLowerCase() !== expected.account.toLowerCase()) throw wrong("its text is for another account");
    if (chainId !== expected.chainId) throw wrong("its text is for another chain");
    if (statement !== `Ask the model of LinkLearner task ${expected.task}. This signature costs nothing and moves nothing.`) throw wrong("its text states something else");
    if (!nonce.startsWith(expected.nonce)) throw wrong("its text may be an old one");
    const life = Date.parse(expires) - Date.parse(issued);
    if (!(life > 0 && life <= 3e5)) throw wrong("its text lives too long");
    if (!(Math.abs(Date.parse(issued) - expected.now) <= 12e4)) throw wrong("one of the two clocks is wrong");
  }
  return __toCommonJS(tested_exports);
})();
