"""What the chain says to an Aspect, and what the Aspect may ask of it: the border between the two.

The chain makes one `HostEnvironment` per Aspect call. It hands over facts only; which of them an Aspect may read at which join
point, how they are encoded and what a question costs is decided in this package (`context`, `hostapi`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class JoinPoint(Enum):
    """Where in a transaction an Aspect is called. The value is the method name that its `execute` receives."""

    VERIFY_TX = "verifyTx"
    PRE_TX_EXECUTE = "preTxExecute"
    PRE_CONTRACT_CALL = "preContractCall"
    POST_CONTRACT_CALL = "postContractCall"
    POST_TX_EXECUTE = "postTxExecute"
    OPERATION = "operation"
    INIT = "init"
    IS_OWNER = "isOwner"

    @property
    def bit(self) -> int:
        """Its bit in the join-point mask of `deploy` and `upgrade`; 0 for the three that no mask can switch."""
        return _BITS.get(self, 0)


_BITS = {
    JoinPoint.VERIFY_TX: 1,
    JoinPoint.PRE_TX_EXECUTE: 2,
    JoinPoint.PRE_CONTRACT_CALL: 4,
    JoinPoint.POST_CONTRACT_CALL: 8,
    JoinPoint.POST_TX_EXECUTE: 16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """The block that the call runs in."""

    number: int
    timestamp: int
    """Seconds since 1970."""
    parent_hash: bytes
    """32 bytes."""
    miner: bytes
    """20 bytes: the consensus address, not what opcode COINBASE gives."""
    max_gas: int | None
    """The consensus parameter `block.max_gas`; None in a question (`eth_call`), where the node knows none."""
    max_bytes: int | None
    """The consensus parameter `block.max_bytes`, None as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFacts:
    """The transaction, or what the node makes of an `eth_call`: then unsigned, v = r = s = 0, prices 0."""

    type: int
    chain_id: int
    """That the node hides it where v is 0 is this package's business."""
    nonce: int
    gas: int
    gas_price: int
    gas_tip_cap: int
    gas_fee_cap: int
    to: bytes | None
    value: int
    data: bytes
    sender: bytes
    """20 bytes."""
    index: int
    hash: bytes
    raw: bytes
    """The canonical encoding, signature included."""
    unsigned_hash: bytes
    """What is signed: keccak-256, of typed transactions with the type byte."""
    unsigned_raw: bytes
    """The RLP list of the fields that are signed (legacy: with chain id, 0, 0); of typed transactions without the type byte."""
    v: int
    r: int
    s: int
    """The true r and s; that the node shows them swapped is this package's business."""
    access_list: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """The top-level message (also while a nested call is being looked at; so does the node), and the index of the current call."""

    sender: bytes
    to: bytes | None
    """None where the top-level message creates a contract."""
    value: int
    data: bytes
    gas: int
    index: int
    """Sequence number of the current call in the transaction, from 0."""
    result_ret: bytes = b""
    """What the current call returned, as far as the node knows it in postContractCall: empty."""
    result_gas_used: int = 0
    """In postContractCall the node shows the gas limit of the message."""
    result_error: str | None = None
    """The error of the current call; None on success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFacts:
    """The receipt as it stands in postTxExecute."""

    status: int
    gas_used: int
    cumulative_gas_used: int
    logs: tuple[LogFacts, ...]
    bloom: bytes
    """256 bytes."""


@dataclass(frozen=True, slots=True)
class StaticCallResult:
    """What a static call from an Aspect came to."""

    ret: bytes
    error: str | None
    """None on success, "execution reverted" on a revert, else the EVM's own error text (then the Aspect traps)."""
    gas_used: int


class NodePanic(Exception):
    """The node itself would crash here: as a transaction no receipt but a used nonce, as a question the answer `0x`.

    The environment may raise it from any method (a write inside a static call); `AspectRuntime.call` turns it into an outcome
    of kind PANIC, so nothing of it escapes.
    """


class HostEnvironment(Protocol):
    """One Aspect call's view of the chain. Addresses are 20 bytes (the runtime pads or crops), keys and values any bytes.

    A method that raises anything but `NodePanic` ends the call with that very exception: a bug of the chain is not hidden.
    """

    @property
    def join_point(self) -> JoinPoint: ...
    @property
    def aspect_id(self) -> bytes: ...
    @property
    def aspect_version(self) -> int: ...
    @property
    def is_call(self) -> bool:
        """Whether this is a question (`eth_call`, `eth_estimateGas`) and nothing will be kept."""
        ...

    def chain_id(self) -> int:
        """The chain id of the chain's configuration (11820 on an Artela node)."""
        ...

    def block(self) -> BlockFacts: ...
    def transaction(self) -> TransactionFacts | None:
        """None where there is no transaction around the call."""
        ...

    def message(self) -> MessageFacts | None:
        """Asked in preContractCall, postContractCall and operation only."""
        ...

    def receipt(self) -> ReceiptFacts | None:
        """Asked in postTxExecute only."""
        ...

    def state_get(self, key: bytes) -> bytes:
        """The Aspect's own state, empty if there is none."""
        ...

    def state_set(self, key: bytes, value: bytes) -> None:
        """An empty value deletes."""
        ...

    def property_get(self, key: bytes) -> bytes: ...

    def transient_get(self, scope: bytes, key: bytes) -> bytes:
        """`scope`: 20 bytes, an Aspect or a contract."""
        ...

    def transient_set(self, key: bytes, value: bytes) -> None:
        """In the Aspect's own scope."""
        ...

    def balance(self, address: bytes) -> int: ...
    def storage(self, address: bytes, key: bytes) -> bytes:
        """32 bytes at a 32-byte key."""
        ...

    def code_hash(self, address: bytes) -> bytes:
        """keccak-256 of the code; 32 zero bytes if there is no account."""
        ...

    def code_size(self, address: bytes) -> int: ...
    def nonce(self, address: bytes) -> int: ...
    def has_suicided(self, address: bytes) -> bool: ...
    def static_call(self, sender: bytes, to: bytes, data: bytes, gas: int) -> StaticCallResult:
        """Runs in the current EVM state, sees uncommitted writes, fires no join points. `gas` is EVM gas, already capped."""
        ...

    def log(self, message: str) -> None:
        """A line of the Aspect's `sys.log`, for the operator."""
        ...
