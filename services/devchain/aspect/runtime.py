"""Runs Aspects: judges their code, meters it, and makes one fresh instance for every call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from services.devchain.aspect.environment import HostEnvironment


class CodeRefused(Exception):
    """The node does not take this code. The message is the node's own text, offsets included."""


class FailureKind(Enum):
    """How an Aspect call can fail; the chain decides from this who gets which gas back."""

    REVERTED = auto()
    """`sys.revert(reason)`: `reason` holds the ABI-encoded `Error(string)`."""
    FAILED = auto()
    """A trap, a module that cannot be instantiated, a result of the wrong type; `message` is the node's text."""
    OUT_OF_GAS = auto()
    PANIC = auto()
    """The node itself crashes: no receipt, the nonce is used; as a question `0x`."""


@dataclass(frozen=True, slots=True)
class AspectFailure:
    kind: FailureKind
    message: str
    """As the node words it, up to the wasm backtrace."""
    reason: bytes = b""


@dataclass(frozen=True, slots=True)
class AspectOutcome:
    """What one Aspect call came to."""

    result: bytes | bool | None
    """bytes at join points, `operation` and verifyTx (None if the Aspect returned nothing); bool for isOwner; None on failure."""
    gas_left: int
    """EVM gas that the node's runner hands back for this outcome: all of it on REVERTED, 0 on OUT_OF_GAS, else what is left."""
    failure: AspectFailure | None = None


class AspectRuntime:
    """One per chain; two of them share nothing. Not thread-safe: the chain runs one call at a time.

    Static calls may lead back into the runtime? They cannot: static calls fire no join points.
    """

    def validate(self, code: bytes) -> None:
        """Judge code as the node does at deploy and upgrade. Raises CodeRefused with the node's text."""
        raise NotImplementedError

    def call(self, code_hash: bytes, code: bytes, argument: bytes, gas: int, env: HostEnvironment) -> AspectOutcome:
        """Run the method named by `env.join_point` on a fresh instance.

        code_hash: any unique key of `code` (keccak-256), under which the compiled module is kept.
        argument: the protobuf input made by `aspect.inputs` (or, for isOwner, the 20 bytes of the sender).
        gas: EVM gas. Never raises for what the Aspect does; everything ends in an outcome.
        """
        raise NotImplementedError
