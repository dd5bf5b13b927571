"""A node's answers as values. Whatever does not fit is Malformed, so that nothing of it travels on: a missing field, another type, a number
out of its range, a log that was not asked for.

The fields may be as JSON-RPC writes them (`"0x2a"`) or as web3.py has read them already (42, HexBytes).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

COUNT_BITS: Final = 63
"""Of block numbers, positions, gas, nonces and times: what SQLite keeps as a number."""
WORD_BITS: Final = 256
TIME_BITS: Final = 32
"""Of a block's time: what the contracts keep."""

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*+")


class Malformed(ValueError):
    """Not what a JSON-RPC node answers. Whoever asks makes it Unavailable or DataLoss; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Log:
    """An event as the chain keeps it. index: of the log in its block.

    block_hash: 32 bytes, empty in a log that comes from a store of ours: number and index say which log it is.
    """

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    index: int
    transaction_hash: bytes
    block_hash: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Header:
    """Of a block. time_s: Unix seconds."""

    number: int
    block_hash: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that is in a block. contract: 20 bytes if it created one (for an Aspect: its id)."""

    transaction_hash: bytes
    block_number: int
    succeeded: bool
    gas_used: int
    contract: bytes | None
    logs: tuple[Log, ...]


def quantity(value: object, what: str, bits: int = COUNT_BITS) -> int:
    """A number from 0 to 2**bits - 1."""
    number = int(value, 16) if isinstance(value, str) and _QUANTITY.fullmatch(value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << bits:
        raise Malformed(f"the node's {what} is {value!r:.60}, not a hexadecimal number below 2**{bits}")
    return number


def data(value: object, what: str, size: int | None = None) -> bytes:
    """Bytes; of this size, where it is fixed."""
    if isinstance(value, str) and _DATA.fullmatch(value):
        value = bytes.fromhex(value[2:])
    if not isinstance(value, bytes) or size not in (None, len(value)):
        raise Malformed(
            f"the node's {what} is {value!r:.60}, not {'' if size is None else f'{size} '}hexadecimal bytes"
        )
    return bytes(value)


def fields(value: object, what: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        raise Malformed(f"the node's {what} is {value!r:.60}, not an object")
    return value


def items(value: object, what: str) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list | tuple):
        raise Malformed(f"the node's {what} is {value!r:.60}, not an array")
    return list(value)


def address(value: object, what: str) -> bytes:
    return data(value, what, 20)


def optional_address(value: object, what: str) -> bytes | None:
    """None where there is none: of a transaction that creates a contract, of a receipt of one that does not."""
    return None if value is None else address(value, what)


def log(entry: object) -> Log:
    found = fields(entry, "log")
    topics = tuple(data(topic, "topic", 32) for topic in items(found.get("topics"), "topics"))
    if len(topics) > 4:
        raise Malformed(f"the node's log has {len(topics)} topics, an event has 4 at most")
    return Log(
        address=address(found.get("address"), "log's address"),
        topics=topics,
        data=data(found.get("data"), "log's data"),
        block_number=quantity(found.get("blockNumber"), "log's block number"),
        index=quantity(found.get("logIndex"), "log's index"),
        transaction_hash=data(found.get("transactionHash"), "log's transaction", 32),
        block_hash=data(found.get("blockHash"), "log's block", 32),
    )


def logs(entries: object, of: Collection[bytes], first: int, last: int) -> list[Log]:
    """The answer to eth_getLogs for some contracts and blocks first…last, in the order of the chain.

    Nothing else may be among them, no log twice, and no two blocks with one number.
    """
    found = sorted(map(log, items(entries, "logs")), key=lambda one: (one.block_number, one.index))
    for one in found:
        if one.address not in of or not first <= one.block_number <= last:
            asked = " and ".join(f"0x{contract.hex()}" for contract in of)
            raise Malformed(
                f"the node was asked for logs of {asked} in blocks {first} to {last} and gives one of 0x{one.address.hex()} "
                f"in block {one.block_number}"
            )
    for one, other in pairwise(found):
        if one.block_number != other.block_number:
            continue
        if one.index == other.index:
            raise Malformed(f"the node gives two logs at position {one.index} of block {one.block_number}")
        if one.block_hash != other.block_hash:
            raise Malformed(f"the node gives logs of two blocks with the number {one.block_number}")
    return found


def header(answer: object, number: int, block_hash: bytes) -> Header:
    """The answer to eth_getBlockByNumber for `number`, where a log has named the block's hash."""
    found = fields(answer, "block")
    block = Header(
        number=quantity(found.get("number"), "block's number"),
        block_hash=data(found.get("hash"), "block's hash", 32),
        time_s=quantity(found.get("timestamp"), "block's time", TIME_BITS),
    )
    if (block.number, block.block_hash) != (number, block_hash):
        raise Malformed(
            f"the node gives block {block.number} 0x{block.block_hash.hex()} where its logs are of block {number} 0x{block_hash.hex()}"
        )
    return block


def receipt(answer: object, of: bytes) -> Receipt:
    """The answer to eth_getTransactionReceipt for the transaction with the hash `of`."""
    found = fields(answer, "receipt")
    if data(found.get("transactionHash"), "receipt's transaction", 32) != of:
        raise Malformed(f"the node was asked for the receipt of 0x{of.hex()} and gives another one")
    return Receipt(
        transaction_hash=of,
        block_number=quantity(found.get("blockNumber"), "receipt's block number"),
        succeeded=quantity(found.get("status"), "receipt's status", 1) == 1,
        gas_used=quantity(found.get("gasUsed"), "receipt's gas"),
        contract=optional_address(found.get("contractAddress"), "receipt's contract"),
        logs=tuple(map(log, items(found.get("logs"), "receipt's logs"))),
    )
