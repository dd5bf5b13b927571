"""What the rules say that an Aspect call costs, computed beside the chain's own metering and compared with it to the unit."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from bench.gas.interpreter import MeasuredInstance, ParsedModule, Trap, decode
from devchain.aspect.environment import HostEnvironment, JoinPoint
from devchain.aspect.runtime import WASM_GAS_PER_EVM_GAS, AspectOutcome, AspectRuntime
from devchain.watch import Watch

_STRING, _BYTES = 10, 11

# WASM gas: a fixed part, and one for each byte of the arguments.
_RULES = {
    ("runtime-api", "__RuntimeContextApi__.get"): (10_000, 0),
    ("aspect-state-api", "__AspectStateApi__.get"): (0, 25_000),
    ("aspect-state-api", "__AspectStateApi__.set"): (0, 156_250),
    ("aspect-property-api", "__AspectPropertyApi__.get"): (12_500, 0),
    ("aspect-transient-storage-api", "__AspectTransientStorageApi__.set"): (0, 3_125),
    ("statedb-api", "__StateDbApi__.getState"): (50_000, 0),
    ("util-api", "__UtilApi__.revert"): (1_000, 37_500),
}


@dataclass
class Prediction:
    """One call: WASM gas by cause, and EVM gas in all."""

    join_point: JoinPoint
    wasm: int = 0
    """Instructions and metered blocks, `allocate` for arguments and results included."""
    state_writes: int = 0
    host: int = 0
    """Every other host call."""
    instructions: int = 0
    measured: int = 0
    """EVM gas that the chain charged."""

    @property
    def predicted(self) -> int:
        """EVM gas: the chain rounds what is left down, so what is charged is rounded up."""
        return -(-(self.wasm + self.state_writes + self.host) // WASM_GAS_PER_EVM_GAS)


class _Stopped(Exception):
    pass


def predict(module: ParsedModule, argument: bytes, env: HostEnvironment) -> Prediction:
    """Run the call on the interpreter, without changing anything: writes are counted and forgotten."""
    found = Prediction(env.join_point)
    written: dict[bytes, bytes] = {}

    def read(instance: MeasuredInstance, at: int) -> bytes:
        length = int.from_bytes(instance.memory[at + 2 : at + 6], "little")
        return bytes(instance.memory[at + 6 : at + 6 + length])

    def write(instance: MeasuredInstance, kind: int, data: bytes) -> int:
        at = instance.call("allocate", len(data) + 6)
        assert at is not None
        instance.memory[at : at + 6] = kind.to_bytes(2, "little") + len(data).to_bytes(4, "little")
        instance.memory[at + 6 : at + 6 + len(data)] = data
        return at

    def run(name: str, *values: bytes) -> bytes | None:
        match name.rpartition(".")[0], name.rpartition(".")[2], values:
            case "__RuntimeContextApi__", "get", (b"tx.from",):
                transaction = env.transaction()
                assert transaction is not None
                return b"\x0a\x14" + transaction.sender
            case "__AspectStateApi__", "get", (key,):
                return written.get(key, env.state_get(key))
            case "__AspectStateApi__", "set", (key, value):
                written[key] = value
                return None
            case "__AspectPropertyApi__", "get", (key,):
                return env.property_get(key)
            case "__AspectTransientStorageApi__", "set", _:
                return None
            case "__StateDbApi__", "getState", (address, slot):
                return env.storage(address, slot)
        raise _Stopped(name)

    def host(key: tuple[str, str]) -> object:
        fixed, per_byte = _RULES[key]

        def function(instance: MeasuredInstance, pointers: list[int]) -> int | None:
            values = [read(instance, at) for at in pointers]
            size = sum(map(len, values))
            charge = fixed + per_byte * size if size else 0
            if key[1] == "__AspectStateApi__.set":
                found.state_writes += charge
            else:
                found.host += charge
            result = run(key[1], *values)
            return None if result is None else write(instance, _BYTES, result)

        return function

    instance = MeasuredInstance(module, {key: host(key) for key in _RULES})  # type: ignore[misc]
    instance.call("__aspect_start__")
    name = write(instance, _STRING, env.join_point.value.encode())
    with suppress(Trap, _Stopped):  # a refused call is charged nothing that this could be compared with
        instance.call("execute", name, write(instance, _BYTES, argument))
    found.wasm = instance.gas
    found.instructions = instance.instructions
    return found


@dataclass
class Watched:
    """Wraps a chain's Aspect runtime: every join point is predicted first, then run; `calls` holds both figures."""

    runtime: AspectRuntime
    calls: list[Prediction] = field(default_factory=list)
    _modules: dict[bytes, ParsedModule] = field(default_factory=dict)

    def validate(self, code: bytes) -> None:
        self.runtime.validate(code)

    def call(
        self, code_hash: bytes, code: bytes, argument: bytes, gas: int, env: HostEnvironment, **options: Watch
    ) -> AspectOutcome:
        prediction = None
        if env.join_point is JoinPoint.PRE_CONTRACT_CALL:
            if code_hash not in self._modules:
                self._modules[code_hash] = decode(code)
            prediction = predict(self._modules[code_hash], argument, env)
        outcome = self.runtime.call(code_hash, code, argument, gas, env, **options)
        if prediction is not None and outcome.failure is None:
            prediction.measured = gas - outcome.gas_left
            self.calls.append(prediction)
        return outcome
