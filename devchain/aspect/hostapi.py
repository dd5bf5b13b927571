"""The host functions: what each takes and gives, what it costs, at which join points it works.

A function receives the running call and its decoded arguments (strings as their bytes) and returns its result or raises

* `Invalid`: the node's function returned an error; the Aspect traps and cannot know why;
* `NodePanic`: the node crashes.

The order of reading, charging and calling is not theirs: `runtime.Call.host_call` keeps it for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from devchain.aspect import crypto
from devchain.aspect.context import context_value
from devchain.aspect.crypto import Invalid
from devchain.aspect.environment import HostEnvironment, JoinPoint, NodePanic
from devchain.aspect.memory import Value, ValueType
from devchain.aspect.protobuf import MalformedMessage, blob, last_bytes, last_int, minimal, parse, varint
from devchain.watch import Watch

_IN_TRANSACTION = frozenset(
    (
        JoinPoint.PRE_TX_EXECUTE,
        JoinPoint.PRE_CONTRACT_CALL,
        JoinPoint.POST_CONTRACT_CALL,
        JoinPoint.POST_TX_EXECUTE,
    )
)
_STATE_WRITE = _STATIC_CALL = _IN_TRANSACTION | {JoinPoint.OPERATION, JoinPoint.INIT}
_TRANSIENT = _IN_TRANSACTION | {JoinPoint.OPERATION}
_REVERTED = "execution reverted"


class RunningCall(Protocol):
    """What a host function may touch of the call it is part of."""

    env: HostEnvironment
    evm_gas: int
    """The remaining gas as EVM gas; what a function takes from it is taken from the counter when it returns."""
    revert_reason: bytes
    watch: Watch

    def remaining_gas(self) -> int:
        """WASM gas."""
        ...


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One import that a module may ask for."""

    module: str
    name: str
    params: tuple[ValueType, ...]
    result: ValueType | None
    fixed: int
    """WASM gas for a call whose arguments are not all empty."""
    per_byte: int
    """WASM gas for each byte of the arguments' bodies."""
    run: Callable[..., Value | None]


def _available(call: RunningCall, where: frozenset[JoinPoint]) -> HostEnvironment:
    if call.env.join_point not in where:
        raise Invalid("not at this join point")
    return call.env


def _address(raw: bytes) -> bytes:
    """As go-ethereum's BytesToAddress: the last 20 bytes, padded on the left."""
    return raw[-20:].rjust(20, b"\0")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


# --- util, context, state


def _revert(call: RunningCall, reason: bytes) -> None:
    call.revert_reason = reason


def _log(call: RunningCall, line: bytes) -> None:
    call.env.log(_text(line))


def _gas(call: RunningCall) -> int:
    return call.remaining_gas()


def _context(call: RunningCall, key: bytes) -> bytes:
    value = context_value(call.env, _text(key))
    if value is None:
        raise Invalid("key is not available at this join point")
    return value


def _state_get(call: RunningCall, key: bytes) -> bytes:
    return call.env.state_get(key)


def _state_set(call: RunningCall, key: bytes, value: bytes) -> None:
    _available(call, _STATE_WRITE).state_set(key, value)


def _property_get(call: RunningCall, key: bytes) -> bytes:
    return call.env.property_get(key)


def _transient_get(call: RunningCall, scope: bytes, key: bytes) -> bytes:
    env = _available(call, _TRANSIENT)
    return env.transient_get(_address(scope) if scope else env.aspect_id, key)


def _transient_set(call: RunningCall, key: bytes, value: bytes) -> None:
    _available(call, _TRANSIENT).transient_set(key, value)


# --- the EVM's state


def _balance(call: RunningCall, address: bytes) -> bytes:
    return minimal(call.env.balance(_address(address)))


def _storage(call: RunningCall, address: bytes, key: bytes) -> bytes:
    return call.env.storage(_address(address), key[-32:].rjust(32, b"\0"))


def _code_hash(call: RunningCall, address: bytes) -> bytes:
    return call.env.code_hash(_address(address))


def _code_size(call: RunningCall, address: bytes) -> int:
    return call.env.code_size(_address(address))


def _nonce(call: RunningCall, address: bytes) -> int:
    return call.env.nonce(_address(address))


def _has_suicided(call: RunningCall, address: bytes) -> bool:
    return call.env.has_suicided(_address(address))


def _static_call(call: RunningCall, request: bytes) -> bytes:
    """StaticCallRequest {from, to, data, gas} -> StaticCallResult {ret, vm_error, gas_left: the Aspect's own}."""
    try:
        fields = parse(request)
    except MalformedMessage:
        raise Invalid("unmarshal") from None
    env = _available(call, _STATIC_CALL)
    gas = last_int(fields, 4)
    if gas is None:
        raise NodePanic("nil pointer dereference")
    if gas == 0 or gas > call.evm_gas:
        gas = call.evm_gas
    sender, to, data = (last_bytes(fields, number) or b"" for number in (1, 2, 3))
    result = env.static_call(_address(sender), _address(to), data, gas)
    call.evm_gas -= result.gas_used
    if result.error not in (None, _REVERTED):
        raise Invalid(result.error)
    # the node's EVM returns no slice at all, rather than an empty one, where there was nothing to run
    ret = blob(1, result.ret) if result.ret else b""
    return ret + blob(2, (result.error or "").encode()) + varint(3, call.evm_gas)


def _jit_call(call: RunningCall, request: bytes) -> bytes:
    """Account-abstraction wallets are not part of this chain: refused wherever the node would not refuse it anyway."""
    raise Invalid("not supported")


def _query_state_change(call: RunningCall, query: bytes) -> bytes:
    """StateChangeQuery {account, state_var_name, indices}: empty for contracts that no tracing compiler has built."""
    try:
        parse(query)
    except MalformedMessage:
        raise Invalid("unmarshal") from None
    _available(call, _IN_TRANSACTION)
    return b""


def _query_call_tree(call: RunningCall, query: bytes) -> bytes:
    """The node's function has an empty body."""
    return b""


def _watched(function: Callable[..., bytes]) -> Callable[..., bytes]:
    """One that can take long for its gas."""
    return lambda call, *arguments: function(*arguments, call.watch)


def _pure(function: Callable[..., bytes]) -> Callable[..., bytes]:
    return lambda call, *arguments: function(*arguments)


_S, _B = ValueType.STRING, ValueType.BYTES
_U64, _I64, _BOOL = ValueType.UINT64, ValueType.INT64, ValueType.BOOL


def _functions() -> tuple[HostFunction, ...]:
    out: list[HostFunction] = []

    def module(name: str, namespace: str) -> Callable[..., None]:
        def add(
            method: str,
            params: tuple[ValueType, ...],
            result: ValueType | None,
            gas: tuple[int, int],
            run: Callable[..., Value | None],
        ) -> None:
            out.append(HostFunction(name, f"__{namespace}__.{method}", params, result, *gas, run))

        return add

    add = module("util-api", "UtilApi")
    add("revert", (_S,), None, (1000, 37_500), _revert)
    add("sLog", (_S,), None, (10_000, 37_500), _log)
    add("gas", (), _I64, (2000, 0), _gas)
    module("runtime-api", "RuntimeContextApi")("get", (_S,), _B, (10_000, 0), _context)
    add = module("aspect-state-api", "AspectStateApi")
    add("get", (_S,), _B, (0, 25_000), _state_get)
    add("set", (_S, _B), None, (0, 156_250), _state_set)
    module("aspect-property-api", "AspectPropertyApi")("get", (_S,), _B, (12_500, 0), _property_get)
    add = module("aspect-transient-storage-api", "AspectTransientStorageApi")
    add("get", (_B, _S), _B, (0, 3125), _transient_get)
    add("set", (_S, _B), None, (0, 3125), _transient_set)
    add = module("statedb-api", "StateDbApi")
    add("getBalance", (_B,), _B, (20_000, 0), _balance)
    add("getState", (_B, _B), _B, (50_000, 0), _storage)
    add("getCodeHash", (_B,), _B, (400_000, 0), _code_hash)
    add("getCodeSize", (_B,), _U64, (400_000, 0), _code_size)
    add("getNonce", (_B,), _U64, (400_000, 0), _nonce)
    add("hasSuicided", (_B,), _BOOL, (400_000, 0), _has_suicided)
    add = module("evm-call-api", "EvmCallApi")
    add("staticCall", (_B,), _B, (30_000, 37_500), _static_call)
    add("jitCall", (_B,), _B, (30_000, 75_000), _jit_call)
    add = module("trace-api", "TraceApi")
    add("queryStateChange", (_B,), _B, (10_000_000, 0), _query_state_change)
    add("queryCallTree", (_B,), _B, (10_000_000, 0), _query_call_tree)
    add = module("crypto-api", "CryptoApi")
    add("sha256", (_B,), _B, (60_000, 75_000), _pure(crypto.sha256))
    add("ripemd160", (_B,), _B, (600_000, 750_000), _pure(crypto.ripemd160))
    add("keccak", (_B,), _B, (30_000, 37_500), _pure(crypto.keccak256))
    add("ecRecover", (_B,), _B, (30_000, 0), _pure(crypto.ec_recover))
    add("bigModExp", (_B, _B, _B), _B, (150_000, 3_000_000), _pure(crypto.big_mod_exp))
    add("bn256Add", (_B,), _B, (15_000, 0), _pure(crypto.bn256_add))
    add("bn256ScalarMul", (_B,), _B, (60_000, 0), _pure(crypto.bn256_scalar_mul))
    add("bn256Pairing", (_B,), _B, (450_000, 3_800_000), _watched(crypto.bn256_pairing))
    add("blake2F", (_B,), _B, (30_000, 150_000), _watched(crypto.blake2_f))
    return tuple(out)


HOST_FUNCTIONS: Final = _functions()
