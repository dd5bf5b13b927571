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


def parse_quantity(value: Any, position: int) -> int:
    """A hex quantity; a plain JSON number is taken too, as wallets send it."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str):
        raise invalid(position, "json: cannot unmarshal non-string into Go value of type hexutil.Big")
    if not value.startswith(("0x", "0X")):
        raise invalid(position, "hex string without 0x prefix" if value else "empty hex string")
    try:
        return int(value[2:], 16)
    except ValueError:
        raise invalid(position, 'hex string "0x"' if value == "0x" else "invalid hex string") from None


def parse_index(value: Any, position: int) -> int:
    """A storage slot or a position: quantity or 32-byte word, with or without leading zeros."""
    return parse_quantity(value, position)


def parse_bool(value: Any, position: int) -> bool:
    if not isinstance(value, bool):
        raise invalid(position, "json: cannot unmarshal into Go value of type bool")
    return value


def argument(params: list[Any], position: int) -> Any:
    """A required parameter. Raises RpcError."""
    if len(params) <= position:
        raise RpcError(INVALID_PARAMS, f"missing value for required argument {position}")
    return params[position]
