"""JSON-RPC's idea of values: hex quantities, hex data, block tags; and its errors."""

from __future__ import annotations

import re
from typing import Any, Final

from eth_hash.auto import keccak

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL: Final = -32603
SERVER_ERROR: Final = -32000
REVERTED: Final = 3

NEWEST: Final = ("latest", "pending", "safe", "finalized")
"""Tags that all mean the newest block."""


class RpcError(Exception):
    """An answer of the kind `error`."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


def quantity(number: int) -> str:
    return hex(number)


def data(raw: bytes) -> str:
    return "0x" + raw.hex()


def checksum_address(address: bytes) -> str:
    """EIP-55."""
    text = address.hex()
    digest = keccak(text.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(text, digest, strict=False))


_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")
_DIGITS: Final = re.compile(r"[0-9a-fA-F]+")


def invalid(position: int, reason: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"invalid argument {position}: {reason}")


def parse_data(value: Any, position: int) -> bytes:
    if not isinstance(value, str):
        raise invalid(position, "json: cannot unmarshal non-string into Go value of type hexutil.Bytes")
    if not value.startswith(("0x", "0X")):
        raise invalid(position, "hex string without 0x prefix" if value else "empty hex string")
    body = value[2:]
    if len(body) % 2:
        raise invalid(position, "hex string of odd length")
    if not _HEX.fullmatch(body):
        raise invalid(position, "invalid hex string")
    return bytes.fromhex(body)


def parse_fixed(value: Any, size: int, name: str, position: int) -> bytes:
    """`size` bytes; `name` is the Go type that a node names when the length is wrong."""
    if not isinstance(value, str):
        raise invalid(position, f"json: cannot unmarshal non-string into Go value of type {name}")
    if not value.startswith(("0x", "0X")):
        raise invalid(position, "hex string without 0x prefix" if value else "empty hex string")
    body = value[2:]
    if len(body) % 2 == 0 and len(body) != 2 * size:
        raise invalid(position, f"hex string has length {len(body)}, want {2 * size} for {name}")
    return parse_data(value, position)


def parse_address(value: Any, position: int) -> bytes:
    return parse_fixed(value, 20, "common.Address", position)


def parse_hash(value: Any, position: int) -> bytes:
    return parse_fixed(value, 32, "common.Hash", position)


def parse_quantity(value: Any, position: int, bits: int = 256) -> int:
    """A hex quantity as go-ethereum takes it: prefix, no leading zeros, at most `bits` bits."""
    if not isinstance(value, str):
        raise invalid(position, "json: cannot unmarshal non-string into Go value of type hexutil.Big")
    if not value.startswith(("0x", "0X")):
        raise invalid(position, "hex string without 0x prefix" if value else "empty hex string")
    digits = value[2:]
    if not digits:
        raise invalid(position, 'hex string "0x"')
    if digits[0] == "0" and digits != "0":
        raise invalid(position, "hex number with leading zero digits")
    if not _DIGITS.fullmatch(digits):
        raise invalid(position, "invalid hex string")
    if 4 * len(digits) > bits + 3 or (number := int(digits, 16)) >> bits:
        raise invalid(position, f"hex number > {bits} bits")
    return number


def parse_number(value: Any, position: int) -> int:
    """A hex quantity or a plain JSON number, as tools send them; 64 bits."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    return parse_quantity(value, position, 64)


def parse_block_number(value: Any, position: int) -> int:
    number = parse_quantity(value, position, 64)
    if number >= 2**63:
        raise invalid(position, "block number larger than int64")
    return number


def parse_slot(value: Any, position: int) -> int:
    """A storage slot: up to 32 bytes of hex, with or without leading zeros."""
    if not isinstance(value, str):
        raise invalid(position, "json: cannot unmarshal non-string into Go value of type string")
    digits = value[2:] if value.startswith(("0x", "0X")) else value
    if len(digits) > 64 or not _DIGITS.fullmatch("0" + digits):
        raise invalid(position, "a storage slot is up to 32 bytes of hex")
    return int("0" + digits, 16)


def parse_bool(value: Any, position: int) -> bool:
    if not isinstance(value, bool):
        raise invalid(position, "json: cannot unmarshal into Go value of type bool")
    return value


def argument(params: list[Any], position: int) -> Any:
    """A required parameter. Raises RpcError."""
    if len(params) <= position:
        raise RpcError(INVALID_PARAMS, f"missing value for required argument {position}")
    return params[position]
