"""A contract's interface from its ABI: calldata, results, event logs and reverts, both ways. On eth_abi alone, no node needed.

Addresses come out as 20 bytes, structs as dicts by field name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from linklearner.domain.errors import InvalidInput

ERROR_STRING = bytes.fromhex("08c379a0")
PANIC = bytes.fromhex("4e487b71")

_PANICS = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "no such enum value",
    0x22: "corrupt storage bytes",
    0x31: "pop from an empty array",
    0x32: "index out of bounds",
    0x41: "out of memory",
    0x51: "call of an empty function pointer",
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A call, an event or a custom error: its name and its arguments by name."""

    name: str
    values: dict[str, Any]


class Interface:
    """One contract's functions, events and errors. abi: the compiler's JSON, parsed."""

    def __init__(self, abi: Iterable[Mapping[str, Any]]) -> None:
        entries = [entry for entry in abi if entry["type"] in ("function", "event", "error", "constructor")]
        self._functions = {entry["name"]: entry for entry in entries if entry["type"] == "function"}
        self._by_selector = {_hash(entry)[:4]: entry for entry in self._functions.values()}
        self._events = {_hash(entry): entry for entry in entries if entry["type"] == "event"}
        self._errors = {_hash(entry)[:4]: entry for entry in entries if entry["type"] == "error"}
        self._constructor: Sequence[Mapping[str, Any]] = next(
            (entry["inputs"] for entry in entries if entry["type"] == "constructor"), []
        )

    def encode_constructor(self, *arguments: Any) -> bytes:
        """What follows the creation code."""
        return encode([_type(given) for given in self._constructor], arguments)

    def encode_call(self, name: str, *arguments: Any) -> bytes:
        """Calldata of function `name`; structs are tuples in the order of their fields."""
        function = self._functions[name]
        return _hash(function)[:4] + encode([_type(given) for given in function["inputs"]], arguments)

    def decode_call(self, data: bytes) -> Decoded:
        """Raises InvalidInput for calldata that is of none of the functions."""
        function = self._by_selector.get(data[:4])
        if function is None:
            raise InvalidInput(f"no function has the selector 0x{data[:4].hex()}")
        return Decoded(function["name"], _decode(function["inputs"], data[4:], function["name"]))

    def decode_result(self, name: str, data: bytes) -> dict[str, Any]:
        """A function's results by name; nameless ones by position ("0", "1", …). Raises InvalidInput for other bytes."""
        return _decode(self._functions[name]["outputs"], data, name)

    def topic(self, event: str) -> bytes:
        """The first topic of an event's logs."""
        return next(topic for topic, entry in self._events.items() if entry["name"] == event)

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> Decoded | None:
        """None for a log of none of the events. Raises InvalidInput for one that claims to be and is not."""
        event = self._events.get(topics[0]) if topics else None
        if event is None:
            return None
        indexed = [given for given in event["inputs"] if given["indexed"]]
        if len(topics) != 1 + len(indexed):
            raise InvalidInput(f"a log of {event['name']} has {1 + len(indexed)} topics, not {len(topics)}")
        values = _decode(indexed, b"".join(topics[1:]), event["name"])
        values |= _decode([given for given in event["inputs"] if not given["indexed"]], data, event["name"])
        return Decoded(event["name"], {given["name"]: values[given["name"]] for given in event["inputs"]})

    def decode_error(self, data: bytes) -> Decoded | None:
        """A custom error of this contract; None if the data is none."""
        error = self._errors.get(data[:4])
        if error is None:
            return None
        try:
            return Decoded(error["name"], _decode(error["inputs"], data[4:], error["name"]))
        except InvalidInput:
            return None


def error_string(data: bytes) -> str | None:
    """The text of `revert("…")` (also what an Aspect says), or what a Solidity panic means; None for other bytes."""
    try:
        if data[:4] == ERROR_STRING:
            return str(decode(["string"], data[4:])[0])
        if data[:4] == PANIC:
            code = decode(["uint256"], data[4:])[0]
            return f"Panic: {_PANICS.get(code, hex(code))}"
    except (DecodingError, UnicodeDecodeError):
        return None
    return None


def _type(given: Mapping[str, Any]) -> str:
    kind: str = given["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(map(_type, given["components"])) + ")" + kind.removeprefix("tuple")


def _hash(entry: Mapping[str, Any]) -> bytes:
    signature = entry["name"] + "(" + ",".join(map(_type, entry["inputs"])) + ")"
    return bytes(keccak(signature.encode()))


def _decode(given: Sequence[Mapping[str, Any]], data: bytes, name: str) -> dict[str, Any]:
    try:
        values = decode([_type(part) for part in given], data)
    except (DecodingError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{len(data)} bytes are no arguments or results of {name}: {error}") from None
    return _named(given, values)


def _named(given: Sequence[Mapping[str, Any]], values: Sequence[Any]) -> dict[str, Any]:
    return {
        part.get("name") or str(position): _value(part, part["type"], value)
        for position, (part, value) in enumerate(zip(given, values, strict=True))
    }


def _value(part: Mapping[str, Any], kind: str, value: Any) -> Any:
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return tuple(_value(part, inner, item) for item in value)
    if kind == "tuple":
        return _named(part["components"], value)
    if kind == "address":
        return bytes.fromhex(value.removeprefix("0x"))
    return value
