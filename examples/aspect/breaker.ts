// A circuit breaker for a vault: at most `limit` wei may leave it within `window` blocks. The vault itself knows nothing of this.
//
// Written with the names of @artela/aspect-libs 0.0.36; where that library is installed, import from it instead of "./artela".

import {
  allocate,
  entryPoint,
  execute,
  IAspectOperation,
  InitInput,
  IPreContractCallJP,
  OperationInput,
  PreContractCallInput,
  sys,
  uint8ArrayToHex,
} from "./artela";

/** withdraw(uint256) */
const WITHDRAW: u32 = 0x2e1a7d4d;

class Breaker implements IPreContractCallJP, IAspectOperation {
  /** Runs once, in the transaction that deploys the Aspect. A node refuses Aspects without it. */
  init(input: InitInput): void {
    sys.require(this.window() > 0, "breaker: the property `window` must be above 0");
  }

  /** Who may upgrade this Aspect. */
  isOwner(sender: Uint8Array): bool {
    return uint8ArrayToHex(sender) == uint8ArrayToHex(sys.aspect.property.get<Uint8Array>("owner"));
  }

  /** Before every call of a contract that this Aspect is bound to, also from other contracts. */
  preContractCall(input: PreContractCallInput): void {
    const data = input.call!.data;
    if (data.length < 36 || bigEndian(data, 0, 4) != WITHDRAW) return;
    // amounts above 2^64 wei are above any limit, too
    for (let i = 4; i < 28; i++) sys.require(data[i] == 0, "breaker: amount above the limit");
    const amount = bigEndian(data, 28, 8);
    const gone = this.gone(input.call!.to, input.block!.number);
    const limit = this.limit();
    if (amount > limit || gone > limit - amount) {
      sys.revert("breaker: " + amount.toString() + " wei now and " + gone.toString() + " before are above the limit of " + limit.toString());
    }
    const record = new Uint8Array(16);
    putBigEndian(record, 0, input.block!.number / this.window());
    putBigEndian(record, 8, gone + amount);
    // one state for all contracts that anybody binds this Aspect to: so the contract is part of the key
    sys.aspect.mutableState.get<Uint8Array>(uint8ArrayToHex(input.call!.to)).set<Uint8Array>(record);
  }

  /** `entrypoint` of the system contract: how many wei may still leave the vault in this window. Anybody may ask. */
  operation(input: OperationInput): Uint8Array {
    sys.require(input.callData.length == 20, "breaker: ask with the address of a vault");
    const answer = new Uint8Array(32);
    putBigEndian(answer, 24, this.limit() - this.gone(input.callData, input.block!.number));
    return answer;
  }

  /** What left the vault in the window of this block. */
  private gone(vault: Uint8Array, block: u64): u64 {
    const record = sys.aspect.mutableState.get<Uint8Array>(uint8ArrayToHex(vault)).unwrap();
    return record.length == 16 && bigEndian(record, 0, 8) == block / this.window() ? bigEndian(record, 8, 8) : 0;
  }

  private limit(): u64 {
    return bigEndian(sys.aspect.property.get<Uint8Array>("limit"), 0, 8);
  }

  private window(): u64 {
    return bigEndian(sys.aspect.property.get<Uint8Array>("window"), 0, 8);
  }
}

/** The number in `size` bytes from `at`; what lies beyond the end counts as nothing. */
function bigEndian(bytes: Uint8Array, at: i32, size: i32): u64 {
  let value: u64 = 0;
  for (let i = at; i < min(at + size, bytes.length); i++) value = (value << 8) | bytes[i];
  return value;
}

function putBigEndian(bytes: Uint8Array, at: i32, value: u64): void {
  for (let i = 7; i >= 0; i--) {
    bytes[at + i] = <u8>value;
    value >>= 8;
  }
}

// both, or a node panics when the Aspect is upgraded
const breaker = new Breaker();
entryPoint.setAspect(breaker);
entryPoint.setOperationAspect(breaker);

export { execute, allocate };
