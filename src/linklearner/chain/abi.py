"""A contract's interface from its ABI: calldata, results, event logs and reverts, both ways. No node needed.

Addresses come out as 20 bytes, structs as dicts by field name.

Encoding is eth_abi's. Decoding is not: what stands on a chain was accepted by solc's decoder, and a reader that takes less than that can be
stopped for good by one transaction (eth_abi refuses padding that is not zero, a last word that is cut off, text that is not UTF-8). So
`_Bytes` follows solc's rules for calldata: offsets lead anywhere, gaps and bytes at the end mean nothing, padding is
not looked at, words beyond the end are zero. Only numbers and addresses must be in range. What solc decodes use by use
is decoded at once here, so that offsets which all lead to the same megabyte could make gigabytes of it: more than
`MOST_READ` times the bytes that are there are not read.

Our Aspect takes canonical calldata only, i.e. what encoding gives: `decode_call(…, canonical=True)` is the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_hash.auto import keccak

from linklearner.domain.errors import InvalidInput

ERROR_STRING = bytes.fromhex("08c379a0")
PANIC = bytes.fromhex("4e487b71")
MOST_READ: Final = 4
"""How often each byte may be read on average. A canonical encoding is read once; the rest is room for offsets that share a tail."""
MAX_LENGTH: Final = 2**64 - 1
"""The largest length and outermost offset that solc follows."""

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

    def selector(self, name: str) -> bytes:
        """The four bytes that calldata of function `name` begins with."""
        return _hash(self._functions[name])[:4]

    def encode_constructor(self, *arguments: Any) -> bytes:
        """What follows the creation code."""
        return encode([_type(given) for given in self._constructor], arguments)

    def encode_call(self, name: str, *arguments: Any) -> bytes:
        """Calldata of function `name`; structs are tuples in the order of their fields."""
        function = self._functions[name]
        return _hash(function)[:4] + encode([_type(given) for given in function["inputs"]], arguments)

    def decode_call(self, data: bytes, *, canonical: bool = False) -> Decoded:
        """Raises InvalidInput for calldata that none of the functions takes.

        canonical: also for calldata that encoding the same values again does not give. Of a call that is on the chain already, only its
        meaning is of interest; leave it out.
        """
        function = self._by_selector.get(data[:4])
        if function is None:
            raise InvalidInput(f"no function has the selector 0x{data[:4].hex()}")
        decoded = Decoded(function["name"], _decode(function["inputs"], data, function["name"], start=4))
        if canonical and data[4:] != _encode(function["inputs"], list(decoded.values.values())):
            raise InvalidInput(f"{len(data)} bytes are a call of {decoded.name} that is not encoded canonically")
        return decoded

    def decode_result(self, name: str, data: bytes) -> dict[str, Any]:
        """A function's results by name; nameless ones by position ("0", "1", …). Raises InvalidInput for other bytes."""
        return _decode(self._functions[name]["outputs"], data, name)

    def topic(self, event: str) -> bytes:
        """The first topic of an event's logs."""
        return next(topic for topic, entry in self._events.items() if entry["name"] == event)

    def has_topic(self, topics: Sequence[bytes]) -> bool:
        """Whether a log with these topics claims to be one of the events."""
        return bool(topics) and topics[0] in self._events

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> Decoded | None:
        """None for a log of none of the events. Raises InvalidInput for one that claims to be and is not."""
        event = self._events.get(topics[0]) if topics else None
        if event is None:
            return None
        indexed = [given for given in event["inputs"] if given["indexed"]]
        if len(topics) != 1 + len(indexed):
            raise InvalidInput(f"a log of {event['name']} has {1 + len(indexed)} topics, not {len(topics)}")
        if any(len(topic) != 32 for topic in topics):
            raise InvalidInput(f"a topic of {event['name']} has another length than 32 bytes")
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
            return str(_decode([{"type": "string"}], data, "Error", start=4)["0"])
        if data[:4] == PANIC:
            code = _decode([{"type": "uint256"}], data, "Panic", start=4)["0"]
            return f"Panic: {_PANICS.get(code, hex(code))}"
    except InvalidInput:
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


def _encode(given: Sequence[Mapping[str, Any]], values: Sequence[Any]) -> bytes:
    """The canonical encoding of decoded values."""
    return encode([_type(part) for part in given], [_plain(value) for value in values])


def _plain(value: Any) -> Any:
    """Structs as tuples, as eth_abi takes them."""
    if isinstance(value, dict):
        return tuple(_plain(item) for item in value.values())
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value


def _decode(given: Sequence[Mapping[str, Any]], data: bytes, name: str, *, start: int = 0) -> dict[str, Any]:
    """The values of the encoding that begins at `start`. Raises InvalidInput where solc's decoder would revert."""
    try:
        return _Bytes(data).arguments(given, start)
    except _Undecodable as error:
        raise InvalidInput(f"{len(data)} bytes are no arguments or results of {name}: {error}") from None


class _Undecodable(Exception):
    """solc's decoder would revert, or the work would be out of proportion."""


class _Bytes:
    """Bytes to decode, with a bound on how much is read.

    Positions count from the first byte, the selector's if there is one: inside of arrays and structs solc computes them
    modulo 2**256, so an offset may lead backwards, even to before the data, where all is zero as behind it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MOST_READ * len(data)

    def arguments(self, given: Sequence[Mapping[str, Any]], start: int) -> dict[str, Any]:
        """The outermost level: offsets are unsigned and lengths are those of what they lead to."""
        if start + sum(map(_head_size, given)) > len(self._data):
            raise _Undecodable("they are too short")
        values = []
        at = start
        for part in given:
            if _is_dynamic(part):
                values.append(self._tail(part, start + self._bounded(self._word(at), "an offset"), nested=False))
            else:
                values.append(self._static(part, at))
            at += _head_size(part)
        return _named(given, values)

    def _member(self, part: Mapping[str, Any], at: int, base: int) -> Any:
        """A field of a struct or an element of an array, whose head is at `at`; offsets count from `base`."""
        if not _is_dynamic(part):
            return self._static(part, at)
        offset = _signed(self._word(at))
        needed = 32 if _is_sized(part) else sum(map(_head_size, _members(part)))
        if offset >= _signed(len(self._data) - base - (needed - 1)):
            raise _Undecodable("an offset leads beyond the end")
        return self._tail(part, _signed(base + offset), nested=True)

    def _tail(self, part: Mapping[str, Any], at: int, *, nested: bool) -> Any:
        """What an offset leads to."""
        if not _is_sized(part):
            members = _members(part)
            if not nested and at + sum(map(_head_size, members)) > len(self._data):
                raise _Undecodable("a struct reaches beyond the end")
            return _grouped(part, self._members(members, at))
        if not nested and at + 32 > len(self._data):
            raise _Undecodable("an offset leads beyond the end")
        length = self._bounded(self._word(at), "a length")
        at = _signed(at + 32)
        kind = part["type"]
        stride = _head_size(_element(part)) if kind.endswith("]") else 1
        if at + length * stride > len(self._data):
            raise _Undecodable("a length reaches beyond the end")
        if kind.endswith("]"):
            return tuple(self._members([_element(part)] * length, at)) if length else ()
        self._charge(length)
        found = self._data[at : at + length] if length else b""
        # solc never looks into text; what is not UTF-8 must not stop a reader
        return found.decode(errors="replace") if kind == "string" else found

    def _members(self, members: Sequence[Mapping[str, Any]], base: int) -> list[Any]:
        values = []
        at = base
        for part in members:
            values.append(self._member(part, at, base))
            at += _head_size(part)
        return values

    def _static(self, part: Mapping[str, Any], at: int) -> Any:
        if _is_composite(part):
            return _grouped(part, self._members(_members(part), at))
        return _value(part["type"], self._word(at))

    def _word(self, at: int) -> int:
        self._charge(32)
        if at < 0:
            return 0
        return int.from_bytes(self._data[at : at + 32].ljust(32, b"\0"), "big")

    def _bounded(self, value: int, what: str) -> int:
        if value > MAX_LENGTH:
            raise _Undecodable(f"{what} is above 2**64")
        return value

    def _charge(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _Undecodable(f"offsets overlap so that it is more than {MOST_READ} times as large as it looks")


def _signed(value: int) -> int:
    """A 256-bit word as two's complement."""
    value &= 2**256 - 1
    return value - 2**256 if value >> 255 else value


def _value(kind: str, word: int) -> Any:
    """A word as the value type `kind`. Raises _Undecodable out of its range, as solc reverts."""
    if kind.startswith("uint"):
        if word >> int(kind[4:]):
            raise _Undecodable(f"a number is no {kind}")
        return word
    if kind.startswith("int"):
        number = _signed(word)
        if not -1 << int(kind[3:]) - 1 <= number < 1 << int(kind[3:]) - 1:
            raise _Undecodable(f"a number is no {kind}")
        return number
    if kind == "address":
        if word >> 160:
            raise _Undecodable("an address has more than 20 bytes")
        return word.to_bytes(20, "big")
    if kind == "bool":
        if word > 1:
            raise _Undecodable("a truth value is neither 0 nor 1")
        return bool(word)
    size = int(kind.removeprefix("bytes"))
    found = word.to_bytes(32, "big")
    if any(found[size:]):
        raise _Undecodable(f"more than {size} bytes are set of a {kind}")
    return found[:size]


def _is_composite(part: Mapping[str, Any]) -> bool:
    """A struct or an array of fixed length."""
    kind: str = part["type"]
    return kind == "tuple" or (kind.endswith("]") and not kind.endswith("[]"))


def _is_sized(part: Mapping[str, Any]) -> bool:
    """Whether its length stands before it: bytes, text and arrays of any length."""
    kind: str = part["type"]
    return kind in ("bytes", "string") or kind.endswith("[]")


def _is_dynamic(part: Mapping[str, Any]) -> bool:
    """Whether it stands in the tail, with an offset in the head."""
    return _is_sized(part) or (_is_composite(part) and any(map(_is_dynamic, _members(part))))


def _members(part: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The fields of a struct, the elements of an array of fixed length."""
    kind: str = part["type"]
    if kind == "tuple":
        fields: Sequence[Mapping[str, Any]] = part["components"]
        return fields
    return [_element(part)] * int(kind[kind.rindex("[") + 1 : -1])


def _element(part: Mapping[str, Any]) -> Mapping[str, Any]:
    kind: str = part["type"]
    return {**part, "type": kind[: kind.rindex("[")]}


def _head_size(part: Mapping[str, Any]) -> int:
    """Bytes in the head of what encloses it."""
    if not _is_composite(part) or _is_dynamic(part):
        return 32
    return sum(map(_head_size, _members(part)))


def _grouped(part: Mapping[str, Any], values: Sequence[Any]) -> Any:
    """The values of a struct by name, those of an array in a tuple."""
    return _named(part["components"], values) if part["type"] == "tuple" else tuple(values)


def _named(given: Sequence[Mapping[str, Any]], values: Sequence[Any]) -> dict[str, Any]:
    return {
        part.get("name") or str(position): value
        for position, (part, value) in enumerate(zip(given, values, strict=True))
    }
