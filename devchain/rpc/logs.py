"""Logs on the wire, and what a client may ask of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from devchain.chain.chain import EmbeddedChain
from devchain.chain.evm import EventLog
from devchain.chain.store import LogEntry
from devchain.rpc import bounds, codec
from devchain.rpc.codec import RpcError, data, quantity

_CHOICES: Final = 1000
_KEYS: Final = frozenset({"fromBlock", "toBlock", "address", "topics", "blockHash"})
_ENTRY_BYTES: Final = 800
"""JSON of a log beside its data, four topics included."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What `eth_getLogs`, filters and subscriptions ask for. Empty tuples match anything."""

    first: Any
    """Tag or number of the first block, as given."""
    last: Any
    block_hash: bytes | None
    addresses: tuple[bytes, ...]
    topics: tuple[tuple[bytes, ...], ...]

    def range(self, chain: EmbeddedChain) -> tuple[int, int]:
        """First and last block as asked for: empty where last < first, and perhaps beyond the head.

        Raises RpcError for an unknown block hash.
        """
        if self.block_hash is not None:
            header = chain.store.header_by_hash(self.block_hash)
            if header is None:
                raise RpcError(codec.SERVER_ERROR, "unknown block")
            return header.number, header.number
        head = chain.head.number
        return _number(self.first, head), _number(self.last, head)

    @property
    def criteria(self) -> int:
        """Addresses and topics together."""
        return len(self.addresses) + sum(map(len, self.topics))

    def begun(self, chain: EmbeddedChain) -> LogFilter:
        """With tags at its beginning fixed to the block that they mean now; an open end stays open."""
        if self.block_hash is not None:
            return self
        return replace(self, first=quantity(_number(self.first, chain.head.number)))

    def matches(self, log: EventLog) -> bool:
        if self.addresses and log.address not in self.addresses:
            return False
        if len(self.topics) > len(log.topics):
            return False
        return all(not choices or topic in choices for choices, topic in zip(self.topics, log.topics, strict=False))


def _number(tag: Any, head: int) -> int:
    if tag is None or tag in codec.NEWEST:
        return head
    return 0 if tag == "earliest" else codec.parse_block_number(tag, 0)


def parse_log_filter(asked: Any, *, strict: bool = False) -> LogFilter:
    """strict: keys that do not exist are ignored, as by the node. Raises RpcError."""
    if not isinstance(asked, dict):
        raise codec.invalid(0, "json: cannot unmarshal into Go value of type filters.FilterCriteria")
    unknown = sorted(asked.keys() - _KEYS)
    if unknown and not strict:
        # the node takes and ignores them; a filter with a misspelt key would find everything
        raise codec.invalid(0, f"a log filter has no {unknown[0]!r:.60}; it has {', '.join(sorted(_KEYS))}")
    address = asked.get("address")
    addresses = address if isinstance(address, list) else [] if address is None else [address]
    topics = []
    given = asked.get("topics") or []
    if not isinstance(given, list):
        raise codec.invalid(0, "topics: an array")
    for topic in given:
        choices = topic if isinstance(topic, list) else [] if topic is None else [topic]
        # a null among the choices makes the position free
        topics.append(() if None in choices else tuple(codec.parse_hash(choice, 0) for choice in choices))
    if len(topics) > 4:
        raise codec.invalid(0, "at most four topics")
    if len(addresses) > _CHOICES or any(len(choices) > _CHOICES for choices in topics):
        raise codec.invalid(0, f"at most {_CHOICES} addresses, and as many choices of a topic")
    block_hash = asked.get("blockHash")
    if block_hash is not None and ("fromBlock" in asked or "toBlock" in asked):
        raise codec.invalid(0, "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")
    return LogFilter(
        asked.get("fromBlock"),
        asked.get("toBlock"),
        None if block_hash is None else codec.parse_hash(block_hash, 0),
        tuple(codec.parse_address(a, 0) for a in addresses),
        tuple(topics),
    )


def logs_json(entries: Iterable[LogEntry]) -> list[dict[str, Any]]:
    """Raises RpcError if they are more than one answer may hold."""
    answer: list[dict[str, Any]] = []
    length = 0
    for entry in entries:
        length += 2 * len(entry.log.data) + _ENTRY_BYTES
        if length > bounds.ANSWER_BYTES:
            raise RpcError(
                bounds.TOO_LARGE,
                f"query returned more than {bounds.ANSWER_BYTES} bytes of logs: ask for fewer blocks at once",
            )
        answer.append(log_json(entry))
    return answer


def log_json(entry: LogEntry) -> dict[str, Any]:
    return {
        "address": data(entry.log.address),
        "topics": [data(topic) for topic in entry.log.topics],
        "data": data(entry.log.data),
        "blockNumber": quantity(entry.block_number),
        "transactionHash": data(entry.transaction_hash),
        "transactionIndex": quantity(entry.transaction_index),
        "blockHash": data(entry.block_hash),
        "logIndex": quantity(entry.log_index),
        "removed": False,
    }
