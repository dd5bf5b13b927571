"""The runtime context: which keys an Aspect may read where, and how each value is encoded.

Every value is a protobuf message with one field (BytesData, UintData, IntData, BoolData, StringData, lists of them). A key that
does not belong to the join point makes the Aspect trap; a value that the node cannot produce (`to` of a contract creation)
crashes the node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from devchain.aspect.environment import (
    HostEnvironment,
    JoinPoint,
    LogFacts,
    MessageFacts,
    NodePanic,
    ReceiptFacts,
    TransactionFacts,
)
from devchain.aspect.protobuf import blob, minimal, varint

EXTRA_EIPS: Final = (3855,)
"""EIPs that the node's parameters add to the instruction set."""

Loader = Callable[[HostEnvironment], bytes]


def _bytes(value: bytes) -> bytes:
    return blob(1, value)


def _uint(value: int) -> bytes:
    return varint(1, value)


def _bool(value: bool) -> bytes:
    return varint(1, int(value))


def context_value(env: HostEnvironment, key: str) -> bytes | None:
    """The encoded value of `key`, or None if the join point does not have it. Raises NodePanic."""
    if key not in _KEYS.get(env.join_point, ()):
        return None
    return _LOADERS[key](env)


def _transaction(load: Callable[[TransactionFacts], bytes]) -> Loader:
    def loader(env: HostEnvironment) -> bytes:
        transaction = env.transaction()
        if transaction is None:
            raise NodePanic("tx context error, failed to load")
        return load(transaction)

    return loader


def _message(load: Callable[[MessageFacts], bytes]) -> Loader:
    def loader(env: HostEnvironment) -> bytes:
        message = env.message()
        if message is None:
            raise NodePanic("message error, failed to load")
        return load(message)

    return loader


def _receipt(load: Callable[[ReceiptFacts], bytes]) -> Loader:
    def loader(env: HostEnvironment) -> bytes:
        receipt = env.receipt()
        if receipt is None:
            raise NodePanic("receipt error, failed to load")
        return load(receipt)

    return loader


def _recipient(to: bytes | None) -> bytes:
    if to is None:
        raise NodePanic("nil recipient of a contract creation")
    return _bytes(to)


def _access_list(transaction: TransactionFacts) -> bytes:
    return b"".join(
        blob(1, blob(1, address) + b"".join(blob(2, key) for key in keys)) for address, keys in transaction.access_list
    )


def _log(log: LogFacts) -> bytes:
    return blob(1, log.address) + b"".join(blob(2, t) for t in log.topics) + blob(3, log.data) + varint(4, log.index)


def _consensus(value: Callable[[HostEnvironment], bytes]) -> Loader:
    """Consensus parameters: a question (`eth_call`) has none, and every value is empty."""
    return lambda env: b"" if env.block().max_gas is None else value(env)


def _zero(env: HostEnvironment) -> bytes:
    """Every fork is active from block and time 0; where the node has none it says 0 too."""
    return _uint(0)


_BLOCK: Final[dict[str, Loader]] = {
    "block.header.parentHash": lambda env: _bytes(env.block().parent_hash),
    "block.header.miner": lambda env: _bytes(env.block().miner),
    "block.header.number": lambda env: _uint(env.block().number),
    "block.header.timestamp": lambda env: _uint(env.block().timestamp),
}

_FORK_BLOCKS = (
    *("homestead", "daoFork", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul"),
    *("muirGlacier", "berlin", "london", "arrowGlacier", "grayGlacier", "mergeNetSplit"),
)

_ENV: Final[dict[str, Loader]] = {
    "env.extraEIPs": lambda env: b"".join(varint(1, eip) for eip in EXTRA_EIPS),
    "env.enableCreate": lambda env: _bool(True),
    "env.enableCall": lambda env: _bool(True),
    "env.allowUnprotectedTxs": lambda env: _bool(True),
    "env.chain.chainId": lambda env: _uint(env.chain_id()),
    "env.chain.daoForkSupport": lambda env: _bool(True),
    **{f"env.chain.{fork}Block": _zero for fork in _FORK_BLOCKS},
    **{f"env.chain.{fork}Time": _zero for fork in ("shanghai", "cancun", "prague")},
    "env.consensusParams.block.maxGas": _consensus(lambda env: varint(1, env.block().max_gas or 0)),
    "env.consensusParams.block.maxBytes": _consensus(lambda env: varint(1, env.block().max_bytes or 0)),
    # CometBFT's defaults, which a genesis file rarely changes
    "env.consensusParams.evidence.maxAgeDuration": _consensus(lambda env: varint(1, 48 * 3600)),
    "env.consensusParams.evidence.maxAgeNumBlocks": _consensus(lambda env: varint(1, 100_000)),
    "env.consensusParams.evidence.maxBytes": _consensus(lambda env: varint(1, 1 << 20)),
    "env.consensusParams.validator.pubKeyTypes": _consensus(lambda env: blob(1, b"ed25519")),
    "env.consensusParams.appVersion": _consensus(_zero),
}

_TX: Final[dict[str, Loader]] = {
    "tx.type": _transaction(lambda tx: _uint(tx.type)),
    "tx.accessList": _transaction(_access_list),
    "tx.nonce": _transaction(lambda tx: _uint(tx.nonce)),
    "tx.gasPrice": _transaction(lambda tx: _bytes(minimal(tx.gas_price))),
    "tx.gas": _transaction(lambda tx: _uint(tx.gas)),
    "tx.gasTipCap": _transaction(lambda tx: _bytes(minimal(tx.gas_tip_cap))),
    "tx.gasFeeCap": _transaction(lambda tx: _bytes(minimal(tx.gas_fee_cap))),
    "tx.to": _transaction(lambda tx: _recipient(tx.to)),
    "tx.value": _transaction(lambda tx: _bytes(minimal(tx.value))),
    "tx.data": _transaction(lambda tx: _bytes(tx.data)),
    "tx.unsigned.bytes": _transaction(lambda tx: _bytes(tx.unsigned_raw)),
    "tx.unsigned.hash": _transaction(lambda tx: _bytes(tx.unsigned_hash)),
}

_TX_SIGNED: Final[dict[str, Loader]] = {
    # the chain id is shown where v is not zero, which leaves out typed transactions of even parity
    "tx.chainId": _transaction(lambda tx: _bytes(minimal(tx.chain_id) if tx.v else b"")),
    "tx.bytes": _transaction(lambda tx: _bytes(tx.raw)),
    "tx.hash": _transaction(lambda tx: _bytes(tx.hash)),
    "tx.sig.v": _transaction(lambda tx: _bytes(minimal(tx.v))),
    # the node hands them out the wrong way round
    "tx.sig.r": _transaction(lambda tx: _bytes(minimal(tx.s))),
    "tx.sig.s": _transaction(lambda tx: _bytes(minimal(tx.r))),
    "tx.from": _transaction(lambda tx: _bytes(tx.sender)),
    "tx.index": _transaction(lambda tx: _uint(tx.index)),
}

_ASPECT: Final[dict[str, Loader]] = {
    "isCall": lambda env: _bool(env.is_call),
    "aspect.id": lambda env: _bytes(env.aspect_id),
    "aspect.version": lambda env: _uint(env.aspect_version),
}

_MSG: Final[dict[str, Loader]] = {
    "msg.from": _message(lambda msg: _bytes(msg.sender)),
    "msg.to": _message(lambda msg: _recipient(msg.to)),
    "msg.value": _message(lambda msg: _bytes(minimal(msg.value))),
    "msg.gas": _message(lambda msg: _uint(msg.gas)),
    "msg.input": _message(lambda msg: _bytes(msg.data)),
}

_MSG_INDEX: Final[dict[str, Loader]] = {"msg.index": _message(lambda msg: _uint(msg.index))}

_MSG_RESULT: Final[dict[str, Loader]] = {
    "msg.result.ret": _message(lambda msg: _bytes(msg.result_ret)),
    "msg.result.gasUsed": _message(lambda msg: _uint(msg.result_gas_used)),
    "msg.result.error": _message(lambda msg: _bytes((msg.result_error or "").encode())),
}

_RECEIPT: Final[dict[str, Loader]] = {
    "receipt.status": _receipt(lambda receipt: _uint(receipt.status)),
    "receipt.logs": _receipt(lambda receipt: b"".join(blob(1, _log(log)) for log in receipt.logs)),
    "receipt.gasUsed": _receipt(lambda receipt: _uint(receipt.gas_used)),
    "receipt.cumulativeGasUsed": _receipt(lambda receipt: _uint(receipt.cumulative_gas_used)),
    "receipt.bloom": _receipt(lambda receipt: _bytes(receipt.bloom)),
}

_LOADERS: Final = {**_BLOCK, **_ENV, **_TX, **_TX_SIGNED, **_ASPECT, **_MSG, **_MSG_INDEX, **_MSG_RESULT, **_RECEIPT}

_COMMON = frozenset((*_BLOCK, *_ENV, *_TX, *_TX_SIGNED, *_ASPECT))
_KEYS: Final = {
    JoinPoint.VERIFY_TX: frozenset((*_ENV, *_TX, *_ASPECT, "block.header.number")),
    JoinPoint.INIT: _COMMON,
    JoinPoint.OPERATION: _COMMON | _MSG.keys(),
    JoinPoint.PRE_TX_EXECUTE: _COMMON,
    JoinPoint.PRE_CONTRACT_CALL: _COMMON | _MSG.keys() | _MSG_INDEX.keys(),
    JoinPoint.POST_CONTRACT_CALL: _COMMON | _MSG.keys() | _MSG_INDEX.keys() | _MSG_RESULT.keys(),
    JoinPoint.POST_TX_EXECUTE: _COMMON | _RECEIPT.keys(),
}
