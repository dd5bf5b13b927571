"""Aspects around a transaction: who is bound, in which order they run, what a failure means, who pays.

One `TransactionAspects` lives for one transaction (or question): it is what the EVM sees as its hooks, it holds the transient
storage, numbers the calls, and keeps a record of what ran for the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from devchain.aspect import inputs
from devchain.aspect.environment import (
    BlockFacts,
    JoinPoint,
    LogFacts,
    MessageFacts,
    NodePanic,
    ReceiptFacts,
    StaticCallResult,
    TransactionFacts,
)
from devchain.aspect.inputs import MarshalError
from devchain.aspect.runtime import AspectOutcome, AspectRuntime, FailureKind
from devchain.chain.aspect_store import AccountRecord, AspectRecord, Binding, Meter, state_key
from devchain.chain.blocks import GasPart
from devchain.chain.evm import REVERTED, EventLog, Evm, Frame, HookFailure
from devchain.chain.state import EMPTY_CODE_HASH, World
from devchain.chain.tracing import Traced, Tracer
from devchain.watch import Watch, no_watch

CRASHED: Final = "aspect execution crashed"
"""What the node makes of its own panic at a join point."""


@dataclass(frozen=True, slots=True)
class AspectRun:
    """One Aspect call that happened, for the operator's log and the gas report."""

    aspect: bytes
    version: int
    join_point: JoinPoint
    index: int | None
    """Sequence number of the EVM call around which it ran."""
    gas: int
    """What it was charged (a revert charges nothing here; what burns instead burns in the EVM)."""
    error: str | None
    log_lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JoinPointResult:
    """What all Aspects of one join point came to together."""

    gas: int
    failure: HookFailure | None


@dataclass(slots=True)
class TransactionAspects:
    """The Aspects of one transaction or question."""

    world: World
    runtime: AspectRuntime
    chain_id: int
    block: BlockFacts
    transaction: TransactionFacts
    gas_limit: int
    """Of the message; a question may run with another than its facts show."""
    is_call: bool
    make_evm: Callable[[TransactionAspects], Evm]
    watch: Watch = no_watch
    tracer: Tracer | None = None
    runs: list[AspectRun] = field(default_factory=list)
    _evm: Evm | None = None
    _transient: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)
    _calls: int = 0
    _stack: list[int] = field(default_factory=list)
    _closed: bool = False

    @property
    def evm(self) -> Evm:
        if self._evm is None:
            self._evm = self.make_evm(self)
        return self._evm

    # -- what the EVM asks

    def enter(self, frame: Frame | None) -> None:
        if frame is not None:
            frame.index = self._calls
        self._calls += 1

    def before_code(self, frame: Frame) -> HookFailure | None:
        if self._closed:
            return None
        result = self._run_all(
            JoinPoint.PRE_CONTRACT_CALL,
            frame.to,
            frame.gas,
            lambda: inputs.pre_contract_call_input(**self._call_facts(frame)),
            message=self._message(frame),
        )
        frame.gas = result.gas
        return result.failure

    def _call_facts(self, frame: Frame) -> dict[str, Any]:
        """Of a call, for either join point's input."""
        return {
            "sender": frame.sender,
            "to": frame.to,
            "index": frame.index,
            "data": bytes(frame.data),
            "value": frame.value,
            "gas": frame.gas,
            "block_number": self.block.number,
        }

    def after_code(self, frame: Frame, ret: bytes, error: str | None) -> HookFailure | None:
        if self._closed:
            return None
        result = self._run_all(
            JoinPoint.POST_CONTRACT_CALL,
            frame.to,
            frame.gas,
            lambda: inputs.post_contract_call_input(**self._call_facts(frame), ret=ret or None, error=error or ""),
            message=self._message(frame, error),
        )
        frame.gas = result.gas
        return result.failure

    def context_get(self, scope: bytes, key: bytes) -> bytes:
        return self._transient.get(scope, {}).get(key, b"")

    def context_set(self, scope: bytes, key: bytes, value: bytes) -> None:
        self._transient.setdefault(scope, {})[key] = value

    # -- what the transaction asks

    def before_transaction(self, gas: int) -> JoinPointResult:
        return self._of_transaction(JoinPoint.PRE_TX_EXECUTE, gas, inputs.pre_tx_execute_input)

    def after_transaction(self, gas: int, make_receipt: Callable[[], ReceiptFacts]) -> JoinPointResult:
        """make_receipt: the receipt as it stands now; made only if an Aspect is bound."""
        # a failed transaction does not come here
        make_input = partial(inputs.post_tx_execute_input, status=1)
        return self._of_transaction(JoinPoint.POST_TX_EXECUTE, gas, make_input, make_receipt=make_receipt)

    def _of_transaction(
        self,
        join_point: JoinPoint,
        gas: int,
        make_input: Callable[..., bytes],
        make_receipt: Callable[[], ReceiptFacts] | None = None,
    ) -> JoinPointResult:
        one, to = self.transaction, self.transaction.to
        assert to is not None
        facts = {"tx_hash": one.hash, "to": to, "sender": one.sender, "block_number": self.block.number}
        return self._run_all(join_point, to, gas, lambda: make_input(**facts), make_receipt=make_receipt)

    def call_without_aspects(self, *, sender: bytes, to: bytes, data: bytes, gas: int) -> tuple[bytes, int, str | None]:
        """A CALL that the chain itself makes: (return data, gas left, error). No join point fires."""
        self._closed = True
        try:
            done = self.evm.call(sender=sender, to=to, value=0, data=data, gas=gas)
        finally:
            self._closed = False
        return done.output, done.gas_left, done.error

    def _message(self, frame: Frame, error: str | None = None) -> MessageFacts:
        transaction = self.transaction
        return MessageFacts(
            sender=transaction.sender,
            to=transaction.to,
            value=transaction.value,
            data=transaction.data,
            gas=self.gas_limit,
            index=frame.index,
            result_gas_used=self.gas_limit,
            result_error=error,
        )

    def top_message(self) -> MessageFacts:
        transaction = self.transaction
        return MessageFacts(
            sender=transaction.sender,
            to=transaction.to,
            value=transaction.value,
            data=transaction.data,
            gas=self.gas_limit,
            index=0,
        )

    # -- running

    def bound(self, account: bytes, join_point: JoinPoint) -> list[Binding]:
        """Who runs there, lowest priority first; equal ones in the order in which they were bound."""
        found = []
        for binding in AccountRecord(self.world, account, Meter(None)).bindings():
            mask = binding.join_points
            if mask == 0:
                record = AspectRecord(self.world, binding.address, Meter(None))
                mask = record.version_meta(binding.version).join_points
            if mask & join_point.bit:
                found.append(binding)
        return sorted(found, key=lambda binding: binding.priority)

    def _run_all(
        self,
        join_point: JoinPoint,
        account: bytes,
        gas: int,
        make_input: Callable[[], bytes],
        message: MessageFacts | None = None,
        make_receipt: Callable[[], ReceiptFacts] | None = None,
    ) -> JoinPointResult:
        bound = self.bound(account, join_point)
        if not bound:
            return JoinPointResult(gas, None)
        receipt = None if make_receipt is None else make_receipt()
        for binding in bound:
            try:
                argument = make_input()
            except MarshalError as error:
                return JoinPointResult(gas, HookFailure(str(error), b""))
            index = None if message is None else message.index
            outcome = self.run(
                binding.address,
                binding.version,
                join_point,
                argument,
                gas,
                message=message,
                receipt=receipt,
                index=index,
            )
            failure = outcome.failure
            if failure is not None and failure.kind in (FailureKind.PANIC, FailureKind.UNRUNNABLE):
                return JoinPointResult(gas, HookFailure(CRASHED, b""))
            gas = outcome.gas_left
            if failure is not None:
                return JoinPointResult(gas, HookFailure(failure.message, failure.reason))
        return JoinPointResult(gas, None)

    def run(
        self,
        aspect_id: bytes,
        version: int,
        join_point: JoinPoint,
        argument: bytes,
        gas: int,
        *,
        code: bytes | None = None,
        message: MessageFacts | None = None,
        receipt: ReceiptFacts | None = None,
        index: int | None = None,
    ) -> AspectOutcome:
        """Run one Aspect. The code is looked up by version unless it is given."""
        record = AspectRecord(self.world, aspect_id, Meter(None))
        if code is None:
            code = record.code(version)
        environment = _Environment(self, record, aspect_id, version, join_point, message, receipt)
        code_hash = record.version_meta(version).code_hash
        if self.tracer is not None:
            self.tracer.aspect_begins(
                Traced("ASPECT", self._caller(message), aspect_id, 0, gas, argument, None, join_point, version)
            )
        outcome = self.runtime.call(code_hash, code, argument, gas, environment, watch=self.watch)
        failure = outcome.failure
        if self.tracer is not None:
            result = outcome.result if isinstance(outcome.result, bytes) else bytes([bool(outcome.result)])
            self.tracer.aspect_ends(
                gas - outcome.gas_left,
                (b"" if outcome.result is None else result) if failure is None else failure.reason,
                None if failure is None else failure.message,
                tuple(environment.lines),
            )
        self.runs.append(
            AspectRun(
                aspect=aspect_id,
                version=version,
                join_point=join_point,
                index=index,
                gas=gas - outcome.gas_left,
                error=None if failure is None else failure.message,
                log_lines=tuple(environment.lines),
            )
        )
        return outcome

    def _caller(self, message: MessageFacts | None) -> bytes:
        """Whose call an Aspect runs around, for a trace."""
        return self.transaction.sender if message is None else message.sender

    def gas_parts(self) -> list[GasPart]:
        return [
            GasPart(part="aspect", gas=run.gas, aspect=run.aspect, join_point=run.join_point.value, index=run.index)
            for run in self.runs
        ]


class _Environment:
    """`HostEnvironment` over the world, for one Aspect call."""

    def __init__(
        self,
        aspects: TransactionAspects,
        record: AspectRecord,
        aspect_id: bytes,
        version: int,
        join_point: JoinPoint,
        message: MessageFacts | None,
        receipt: ReceiptFacts | None,
    ) -> None:
        self._aspects = aspects
        self._world = aspects.world
        self._record = record
        self._id = aspect_id
        self._version = version
        self._join_point = join_point
        self._message = message
        self._receipt = receipt
        self._properties: dict[bytes, bytes] | None = None
        self.lines: list[str] = []

    @property
    def join_point(self) -> JoinPoint:
        return self._join_point

    @property
    def aspect_id(self) -> bytes:
        return self._id

    @property
    def aspect_version(self) -> int:
        return self._version

    @property
    def is_call(self) -> bool:
        return self._aspects.is_call

    def chain_id(self) -> int:
        return self._aspects.chain_id

    def block(self) -> BlockFacts:
        return self._aspects.block

    def transaction(self) -> TransactionFacts | None:
        return self._aspects.transaction

    def message(self) -> MessageFacts | None:
        return self._message

    def receipt(self) -> ReceiptFacts | None:
        return self._receipt

    def state_get(self, key: bytes) -> bytes:
        return self._world.get_value(state_key(self._id, key))

    def state_set(self, key: bytes, value: bytes) -> None:
        self._world.set_value(state_key(self._id, key), value)

    def property_get(self, key: bytes) -> bytes:
        if self._properties is None:
            self._properties = self._record.properties(self._version)
        return self._properties.get(key, b"")

    def transient_get(self, scope: bytes, key: bytes) -> bytes:
        return self._aspects.context_get(scope, key)

    def transient_set(self, key: bytes, value: bytes) -> None:
        self._aspects.context_set(self._id, key, value)

    def balance(self, address: bytes) -> int:
        return self._world.get_balance(address)

    def storage(self, address: bytes, key: bytes) -> bytes:
        return self._world.get_storage(address, int.from_bytes(key, "big")).to_bytes(32, "big")

    def code_hash(self, address: bytes) -> bytes:
        account = self._world.get_account(address)
        return account.code_hash if account.exists else bytes(32)

    def code_size(self, address: bytes) -> int:
        account = self._world.get_account(address)
        return 0 if account.code_hash == EMPTY_CODE_HASH else len(self._world.code_of_hash(account.code_hash))

    def nonce(self, address: bytes) -> int:
        return self._world.get_nonce(address)

    def has_suicided(self, address: bytes) -> bool:
        return self._world.is_destroyed(address)

    def static_call(self, sender: bytes, to: bytes, data: bytes, gas: int) -> StaticCallResult:
        done = self._aspects.evm.static_call(sender=sender, to=to, data=data, gas=gas)
        if done.error not in (None, REVERTED):
            # any other error leaves the node's host function without a result, which it then reads
            raise NodePanic(f"static call: {done.error}")
        return StaticCallResult(done.output, done.error, gas - done.gas_left)

    def log(self, message: str) -> None:
        self.lines.append(message)


def log_facts(logs: tuple[EventLog, ...], first_index: int) -> tuple[LogFacts, ...]:
    return tuple(
        LogFacts(address=log.address, topics=log.topics, data=log.data, index=first_index + offset)
        for offset, log in enumerate(logs)
    )
