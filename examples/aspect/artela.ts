// The part of @artela/aspect-libs 0.0.36 that this example needs, under the same names, on the node's ABI alone. (The library is
// not on npm in that version; the one that is, 0.0.33, has no `init`, and every deploy of it fails.)
//
// What crosses the border lies in memory as: u16 type, i32 length, body; little-endian. Types: 9 bool, 10 string, 11 bytes.

const HEAD: i32 = 6;
const BOOL: u16 = 9;
const STRING: u16 = 10;
const BYTES: u16 = 11;

// @ts-ignore: decorator
@external("util-api", "__UtilApi__.revert")
declare function hostRevert(message: i32): void;
// @ts-ignore: decorator
@external("util-api", "__UtilApi__.sLog")
declare function hostLog(message: i32): void;
// @ts-ignore: decorator
@external("aspect-state-api", "__AspectStateApi__.get")
declare function hostStateGet(key: i32): i32;
// @ts-ignore: decorator
@external("aspect-state-api", "__AspectStateApi__.set")
declare function hostStateSet(key: i32, value: i32): void;
// @ts-ignore: decorator
@external("aspect-property-api", "__AspectPropertyApi__.get")
declare function hostPropertyGet(key: i32): i32;

/** The host puts its arguments and answers where this says. Nothing is ever freed: each call has an instance of its own. */
export function allocate(size: i32): i32 {
  return <i32>heap.alloc(size);
}

function put(type: u16, body: ArrayBuffer): i32 {
  const at = allocate(HEAD + body.byteLength);
  store<u16>(at, type);
  store<i32>(at + 2, body.byteLength);
  memory.copy(at + HEAD, changetype<usize>(body), body.byteLength);
  return at;
}

function putString(text: string): i32 {
  return put(STRING, String.UTF8.encode(text));
}

function putBytes(bytes: Uint8Array): i32 {
  return put(BYTES, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

function takeString(at: i32): string {
  return String.UTF8.decodeUnsafe(at + HEAD, load<i32>(at + 2));
}

function takeBytes(at: i32): Uint8Array {
  const bytes = new Uint8Array(load<i32>(at + 2));
  memory.copy(bytes.dataStart, at + HEAD, bytes.length);
  return bytes;
}

// -- inputs: protobuf, fields in any order, unknown ones skipped

class Fields {
  private at: i32 = 0;
  number: i32 = 0;
  value: u64 = 0;
  bytes: Uint8Array = new Uint8Array(0);

  constructor(private raw: Uint8Array) {}

  next(): bool {
    if (this.at >= this.raw.length) return false;
    const key = this.varint();
    this.number = <i32>(key >> 3);
    if ((key & 7) == 0) {
      this.value = this.varint();
    } else {
      if ((key & 7) != 2) throw new Error("protobuf: unexpected wire type");
      const size = <i32>this.varint();
      this.bytes = this.raw.subarray(this.at, this.at + size);
      this.at += size;
    }
    return true;
  }

  private varint(): u64 {
    let value: u64 = 0;
    let part: u8 = 0x80;
    for (let shift: u64 = 0; part >= 0x80; shift += 7) {
      part = this.raw[this.at++];
      value |= <u64>(part & 0x7f) << shift;
    }
    return value;
  }
}

export class BlockInput {
  number: u64 = 0;

  static decode(raw: Uint8Array): BlockInput {
    const input = new BlockInput();
    for (const fields = new Fields(raw); fields.next(); ) if (fields.number == 1) input.number = fields.value;
    return input;
  }
}

export class WithFromTxInput {
  hash: Uint8Array = new Uint8Array(0);
  to: Uint8Array = new Uint8Array(0);
  from: Uint8Array = new Uint8Array(0);

  static decode(raw: Uint8Array): WithFromTxInput {
    const input = new WithFromTxInput();
    for (const fields = new Fields(raw); fields.next(); ) {
      if (fields.number == 1) input.hash = fields.bytes;
      else if (fields.number == 2) input.to = fields.bytes;
      else if (fields.number == 3) input.from = fields.bytes;
    }
    return input;
  }
}

export class PreExecMessageInput {
  from: Uint8Array = new Uint8Array(0);
  to: Uint8Array = new Uint8Array(0);
  index: u64 = 0;
  data: Uint8Array = new Uint8Array(0);
  value: Uint8Array = new Uint8Array(0);
  gas: u64 = 0;

  static decode(raw: Uint8Array): PreExecMessageInput {
    const input = new PreExecMessageInput();
    for (const fields = new Fields(raw); fields.next(); ) {
      if (fields.number == 1) input.from = fields.bytes;
      else if (fields.number == 2) input.to = fields.bytes;
      else if (fields.number == 3) input.index = fields.value;
      else if (fields.number == 4) input.data = fields.bytes;
      else if (fields.number == 5) input.value = fields.bytes;
      else if (fields.number == 6) input.gas = fields.value;
    }
    return input;
  }
}

export class PreContractCallInput {
  call: PreExecMessageInput | null = null;
  block: BlockInput | null = null;

  static decode(raw: Uint8Array): PreContractCallInput {
    const input = new PreContractCallInput();
    for (const fields = new Fields(raw); fields.next(); ) {
      if (fields.number == 1) input.call = PreExecMessageInput.decode(fields.bytes);
      else if (fields.number == 2) input.block = BlockInput.decode(fields.bytes);
    }
    return input;
  }
}

export class OperationInput {
  tx: WithFromTxInput | null = null;
  block: BlockInput | null = null;
  callData: Uint8Array = new Uint8Array(0);

  static decode(raw: Uint8Array): OperationInput {
    const input = new OperationInput();
    for (const fields = new Fields(raw); fields.next(); ) {
      if (fields.number == 1) input.tx = WithFromTxInput.decode(fields.bytes);
      else if (fields.number == 2) input.block = BlockInput.decode(fields.bytes);
      else if (fields.number == 3) input.callData = fields.bytes;
    }
    return input;
  }
}

export class InitInput extends OperationInput {
  static decode(raw: Uint8Array): InitInput {
    return changetype<InitInput>(OperationInput.decode(raw));
  }
}

// -- what an Aspect implements

export interface IAspectBase {
  init(input: InitInput): void;
  isOwner(sender: Uint8Array): bool;
}

export interface IPreContractCallJP extends IAspectBase {
  preContractCall(input: PreContractCallInput): void;
}

export interface IAspectOperation extends IAspectBase {
  operation(input: OperationInput): Uint8Array;
}

class EntryPoint {
  aspect: IPreContractCallJP | null = null;
  operationAspect: IAspectOperation | null = null;

  setAspect(aspect: IPreContractCallJP): void {
    this.aspect = aspect;
  }

  setOperationAspect(aspect: IAspectOperation): void {
    this.operationAspect = aspect;
  }
}

export const entryPoint = new EntryPoint();

/** The node calls this with the name of a join point and its input. */
export function execute(methodAt: i32, inputAt: i32): i32 {
  const method = takeString(methodAt);
  const input = takeBytes(inputAt);
  if (method == "isOwner") {
    const answer = new Uint8Array(1);
    answer[0] = entryPoint.aspect!.isOwner(input) ? 1 : 0;
    return put(BOOL, answer.buffer);
  }
  let result = new Uint8Array(0);
  if (method == "init") entryPoint.aspect!.init(InitInput.decode(input));
  else if (method == "operation") result = entryPoint.operationAspect!.operation(OperationInput.decode(input));
  else if (method == "preContractCall") entryPoint.aspect!.preContractCall(PreContractCallInput.decode(input));
  else throw new Error("method " + method + " not found or not implemented");
  return putBytes(result);
}

// -- sys

class StateValue<T> {
  constructor(private key: string) {}

  /** Empty where nothing is stored. */
  unwrap(): T {
    // @ts-ignore: T is Uint8Array, the one type that means the same to everybody
    return takeBytes(hostStateGet(putString(this.key)));
  }

  /** 156.25 gas a byte, key included. An empty value deletes. */
  set<V>(value: V): void {
    // @ts-ignore: as above
    hostStateSet(putString(this.key), putBytes(value));
  }
}

class MutableState {
  get<T>(key: string): StateValue<T> {
    return new StateValue<T>(key);
  }
}

class Property {
  get<T>(key: string): T {
    // @ts-ignore: as above
    return takeBytes(hostPropertyGet(putString(key)));
  }
}

class AspectApi {
  mutableState: MutableState = new MutableState();
  property: Property = new Property();
}

class Sys {
  aspect: AspectApi = new AspectApi();

  /** Undo the transaction (or the call) with this reason. An empty reason counts as a crash. */
  revert(message: string): void {
    hostRevert(putString(message));
    throw new Error(message);
  }

  require(condition: bool, message: string): void {
    if (!condition) this.revert(message);
  }

  /** A line in the node's log. */
  log(message: string): void {
    hostLog(putString(message));
  }
}

export const sys = new Sys();

export function uint8ArrayToHex(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += (bytes[i] < 16 ? "0" : "") + bytes[i].toString(16);
  return text;
}
