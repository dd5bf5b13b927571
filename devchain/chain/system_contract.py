"""The system contract 0x…A27E14: deploy, upgrade, bind and ask about Aspects, and call their `operation`.

It is no EVM code: a transaction to it short-circuits. Each method below follows the node's handler step by step, because the
steps are what the gas is made of. Where a handler fails, it says which gas comes back; mostly none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from eth_hash.auto import keccak

from devchain.aspect import inputs
from devchain.aspect.environment import JoinPoint, NodePanic
from devchain.aspect.runtime import AspectOutcome, CodeRefused, FailureKind
from devchain.chain import goabi
from devchain.chain.aspect_store import (
    AccountRecord,
    AspectRecord,
    Binding,
    Meter,
    StoreCrash,
    StoreRefused,
    VersionMeta,
)
from devchain.chain.code_container import BadContainer, unpack
from devchain.chain.evm import contract_address
from devchain.chain.join_points import TransactionAspects

SYSTEM_CONTRACT: Final = bytes.fromhex("0000000000000000000000000000000000a27e14")
_TX_LEVEL: Final = 2 | 4 | 8 | 16
_VERIFIER: Final = 1
_IS_OWNER: Final = bytes.fromhex("2f54bf6e")
_NOBODY: Final = bytes(20)
_PROPERTIES: Final[goabi.Type] = [("string", "bytes")]
Properties = list[tuple[memoryview, memoryview]]


def _selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


def _method(name: str, signature: str, *types: goabi.Type) -> tuple[bytes, tuple[str, tuple[goabi.Type, ...]]]:
    return _selector(name + signature), (name, types)


_METHODS: Final[dict[bytes, tuple[str, tuple[goabi.Type, ...]]]] = dict(
    (
        _method("deploy", "(bytes,bytes,(string,bytes)[],address,bytes,uint256)",
                "bytes", "bytes", _PROPERTIES, "address", "bytes", "uint256"),
        _method("upgrade", "(address,bytes,(string,bytes)[],uint256)", "address", "bytes", _PROPERTIES, "uint256"),
        _method("bind", "(address,uint256,address,int8)", "address", "uint256", "address", "int8"),
        _method("unbind", "(address,address)", "address", "address"),
        _method("changeVersion", "(address,address,uint64)", "address", "address", "uint64"),
        _method("versionOf", "(address)", "address"),
        _method("aspectsOf", "(address)", "address"),
        _method("boundAddressesOf", "(address)", "address"),
        _method("entrypoint", "(address,bytes)", "address", "bytes"),
    )
)  # fmt: skip
_DEPLOY: Final = _selector("deploy(bytes,bytes,(string,bytes)[],address,bytes,uint256)")


def method_name(data: bytes) -> str | None:
    """The method that calldata asks for."""
    found = _METHODS.get(data[:4])
    return None if found is None else found[0]


def is_deploy(to: bytes | None, data: bytes) -> bool:
    """Whether a message deploys an Aspect; its receipt then carries the Aspect's address, even if it failed."""
    return to == SYSTEM_CONTRACT and data[:4] == _DEPLOY


@dataclass(frozen=True, slots=True)
class SystemCallResult:
    output: bytes
    gas_left: int
    error: str | None = None


class _Refused(Exception):
    """A handler failed; `gas` is what comes back."""

    def __init__(self, message: str, gas: int = 0) -> None:
        super().__init__(message)
        self.gas = gas


class SystemContract:
    """The system contract as one message sees it."""

    def __init__(self, aspects: TransactionAspects, *, sender: bytes, nonce: int) -> None:
        self._aspects = aspects
        self._world = aspects.world
        self._sender = sender
        self._nonce = nonce
        self._handlers: dict[str, Callable[..., SystemCallResult]] = {
            "deploy": self._deploy,
            "upgrade": self._upgrade,
            "bind": self._bind,
            "unbind": self._unbind,
            "changeVersion": self._change_version,
            "versionOf": self._version_of,
            "aspectsOf": self._aspects_of,
            "boundAddressesOf": self._bound_addresses_of,
            "entrypoint": self._entrypoint,
        }

    def call(self, data: bytes, gas: int) -> SystemCallResult:
        """Dispatch a call. Raises NodePanic where the node's own code would crash."""
        if len(data) < 4:
            raise NodePanic("system contract: call data shorter than a selector")
        found = _METHODS.get(data[:4])
        if found is None:
            return SystemCallResult(b"", 0, f"method with id {data[:4].hex()} not found: invalid request")
        name, types = found
        try:
            arguments = goabi.decode(types, data[4:])
            result = self._handlers[name](gas, *arguments)
        except (goabi.AbiError, StoreRefused, BadContainer, CodeRefused) as error:
            return SystemCallResult(b"", 0, str(error))
        except StoreCrash as error:
            raise NodePanic(f"system contract: {error}") from error
        except _Refused as refused:
            return SystemCallResult(b"", refused.gas, str(refused))
        return result

    # -- Aspects

    def _deploy(
        self,
        gas: int,
        code: bytes,
        init_data: bytes,
        properties: Properties,
        account: bytes,
        proof: bytes,
        join_points: int,
    ) -> SystemCallResult:
        if not code:
            raise _Refused("code is empty")
        if account != self._sender:
            raise _Refused("account verification fail")
        aspect_id = contract_address(self._sender, self._nonce)
        code = self._validated(code)
        meter = Meter(gas)
        record = AspectRecord(self._world, aspect_id, meter)
        if record.latest > 0:
            raise _Refused("aspect already deployed")
        record.create()
        version = record.bump_version()
        record.set_code(version, code)
        record.set_version_meta(version, VersionMeta(join_points % 2**64, keccak(code)))
        record.set_meta(account, proof)
        record.set_properties(version, properties)
        argument = self._input(aspect_id, init_data)
        outcome = self._aspects.run(aspect_id, version, JoinPoint.INIT, argument, meter.gas, code=code)
        return self._from_outcome(outcome)

    def _upgrade(
        self, gas: int, aspect_id: bytes, code: bytes, properties: Properties, join_points: int
    ) -> SystemCallResult:
        if aspect_id == _NOBODY:
            raise _Refused("aspectId not specified")
        if not code:
            raise _Refused("code is empty")
        code = self._validated(code)
        meter = Meter(gas)
        record = AspectRecord(self._world, aspect_id, meter)
        if record.latest == 0:
            raise _Refused("aspect not deployed")
        current = record.code(record.latest)
        outcome = self._aspects.run(aspect_id, record.latest, JoinPoint.IS_OWNER, self._sender, meter.gas, code=current)
        failure = outcome.failure
        if failure is not None and failure.kind in (FailureKind.PANIC, FailureKind.UNRUNNABLE):
            raise NodePanic(failure.message)
        if failure is not None or outcome.result is not True:
            raise _Refused("aspect ownership validation failed")
        meter.gas = outcome.gas_left
        version = record.bump_version()
        record.set_code(version, code)
        record.set_version_meta(version, VersionMeta(join_points % 2**64, keccak(code)))
        record.set_properties(version, properties)
        return SystemCallResult(b"", meter.gas)

    def _input(self, aspect_id: bytes, call_data: bytes) -> bytes:
        """What an operation sees, and, in the same layout, an Aspect that begins."""
        return inputs.operation_input(
            tx_hash=self._aspects.transaction.hash,
            aspect_id=aspect_id,
            sender=self._sender,
            block_number=self._aspects.block.number,
            call_data=call_data,
        )

    def _entrypoint(self, gas: int, aspect_id: bytes, arguments: bytes) -> SystemCallResult:
        if aspect_id == _NOBODY:
            raise _Refused("aspect id not specified")
        # the reads must be affordable, but the operation then starts with the gas from before them
        record = AspectRecord(self._world, aspect_id, Meter(gas))
        if record.latest == 0:
            raise _Refused("aspect not deployed")
        code = record.code(record.latest)
        argument = self._input(aspect_id, arguments)
        outcome = self._aspects.run(
            aspect_id, record.latest, JoinPoint.OPERATION, argument, gas, code=code, message=self._aspects.top_message()
        )
        result = self._from_outcome(outcome)
        if result.error is not None:
            return result
        return SystemCallResult(goabi.encode_bytes(result.output), result.gas_left)

    def _from_outcome(self, outcome: AspectOutcome) -> SystemCallResult:
        failure = outcome.failure
        if failure is None:
            output = outcome.result if isinstance(outcome.result, bytes) else b""
            return SystemCallResult(output, outcome.gas_left)
        if failure.kind is FailureKind.PANIC:
            raise NodePanic(failure.message)
        if failure.kind is FailureKind.UNRUNNABLE:
            return SystemCallResult(b"", 0, failure.message)
        return SystemCallResult(failure.reason, outcome.gas_left, failure.message)

    def _validated(self, code: bytes) -> bytes:
        module = unpack(code)
        self._aspects.runtime.validate(module)
        return module

    # -- bindings

    def _bind(self, gas: int, aspect_id: bytes, version: int, account: bytes, priority: int) -> SystemCallResult:
        self._both_given(aspect_id, account)
        owner, is_contract, left = self._owns(account, gas)
        if not owner:
            raise _Refused(
                "contract ownership validation failed" if is_contract else "unauthorized EoA account aspect binding"
            )
        meter = Meter(left)
        record = AspectRecord(self._world, aspect_id, meter)
        if record.latest == 0:
            raise _Refused("aspect not deployed")
        version %= 2**64
        if version == 0:
            version = record.latest
        elif version > record.latest:
            raise _Refused("aspect version not deployed")
        join_points = record.version_meta(version).join_points
        self._check_bindable(join_points, is_contract)
        record.add_binding(Binding(account, version, priority, join_points))
        accounts = AccountRecord(self._world, account, meter)
        accounts.begin()
        accounts.add(Binding(aspect_id, version, priority, join_points), is_contract=is_contract)
        return SystemCallResult(b"", meter.gas)

    def _unbind(self, gas: int, aspect_id: bytes, account: bytes) -> SystemCallResult:
        self._both_given(aspect_id, account)
        owner, is_contract, left = self._owns(account, gas)
        if not owner:
            message = (
                "contract ownership validation failed" if is_contract else "unauthorized EoA account aspect binding"
            )
            raise _Refused(message, left)
        meter = Meter(left)
        accounts = AccountRecord(self._world, account, meter)
        bound = next((b for b in accounts.bindings() if b.address == aspect_id), None)
        if bound is None or bound.version == 0:
            return SystemCallResult(b"", meter.gas)
        record = AspectRecord(self._world, aspect_id, meter)
        record.remove_binding(account)
        record.version_meta(bound.version)
        accounts.remove(aspect_id)
        return SystemCallResult(b"", meter.gas)

    def _change_version(self, gas: int, aspect_id: bytes, account: bytes, version: int) -> SystemCallResult:
        self._both_given(aspect_id, account)
        owner, is_contract, left = self._owns(account, gas)
        if not owner:
            raise _Refused("unauthorized operation", left)
        meter = Meter(left)
        accounts = AccountRecord(self._world, account, meter)
        bound = next((b for b in accounts.bindings() if b.address == aspect_id), None)
        if bound is None:
            raise _Refused("aspect not bound")
        record = AspectRecord(self._world, aspect_id, meter)
        record.version_meta(bound.version)
        if record.latest == 0:
            raise _Refused("aspect not deployed")
        if version > record.latest:
            raise _Refused("given version of aspect does not exist")
        if version == 0:
            version = record.latest
        join_points = record.version_meta(version).join_points
        self._check_bindable(join_points, is_contract)
        accounts.remove(aspect_id)
        # only the account's list is changed; the Aspect's own list keeps the old version, as on the node
        accounts.add(Binding(aspect_id, version, bound.priority, join_points), is_contract=is_contract)
        return SystemCallResult(b"", meter.gas)

    def _both_given(self, aspect_id: bytes, account: bytes) -> None:
        if aspect_id == _NOBODY:
            raise _Refused("aspectId not specified")
        if account == _NOBODY:
            raise _Refused("binding account not specified")

    def _check_bindable(self, join_points: int, is_contract: bool) -> None:
        if not join_points & (_TX_LEVEL | _VERIFIER):
            raise _Refused("aspect is either for tx or verifier")
        if not is_contract and not join_points & _VERIFIER:
            raise _Refused("only verifier aspect can be bound with eoa")

    def _owns(self, account: bytes, gas: int) -> tuple[bool, bool, int]:
        """(whether the sender owns the account, whether that is a contract, gas left)."""
        if not self._world.get_code(account):
            owner = account == self._sender
            return owner, False, gas if owner else 0
        question = _IS_OWNER + bytes(12) + self._sender
        ret, left, error = self._aspects.call_without_aspects(
            sender=SYSTEM_CONTRACT, to=account, data=question, gas=gas
        )
        if error is None:
            return len(ret) >= 32 and int.from_bytes(ret[:32], "big") == 1, True, left
        # meant to ask for `owner()` next, the node packs the same question again, with all the gas again
        ret, left, error = self._aspects.call_without_aspects(
            sender=SYSTEM_CONTRACT, to=account, data=question, gas=gas
        )
        return error is None and len(ret) >= 32 and ret[12:32] == self._sender, True, left

    # -- questions

    def _version_of(self, gas: int, aspect_id: bytes) -> SystemCallResult:
        if aspect_id == _NOBODY:
            raise _Refused("aspectId not specified")
        meter = Meter(gas)
        record = AspectRecord(self._world, aspect_id, meter)
        return SystemCallResult(goabi.word(record.latest), meter.gas)

    def _aspects_of(self, gas: int, account: bytes) -> SystemCallResult:
        if account == _NOBODY:
            raise _Refused("binding account not specified")
        meter = Meter(gas)
        bindings = AccountRecord(self._world, account, meter).bindings()
        rows = [bytes(12) + b.address + goabi.word(b.version) + goabi.word(b.priority) for b in bindings]
        return SystemCallResult(_array(rows), meter.gas)

    def _bound_addresses_of(self, gas: int, aspect_id: bytes) -> SystemCallResult:
        if aspect_id == _NOBODY:
            raise _Refused("aspect id not specified")
        record = AspectRecord(self._world, aspect_id, Meter(gas))
        if record.latest == 0:
            raise _Refused("aspect not deployed")
        rows = [bytes(12) + b.address for b in record.bound_accounts()]
        return SystemCallResult(_array(rows), gas)


def _array(rows: list[Any]) -> bytes:
    return goabi.word(32) + goabi.word(len(rows)) + b"".join(rows)
