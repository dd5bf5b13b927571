"""The precompiles of arithmetic, over `devchain.precompiles` in place of py-evm's plain Python: a block's gas would buy minutes of that."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from eth.exceptions import VMError

from devchain.precompiles import bn254
from devchain.precompiles.blake2 import compress


def _bn254_add(computation: Any) -> None:
    """EIP-196 at EIP-1108's price. Input is as if zeros followed it."""
    computation.consume_gas(150, "ECADD")
    a, b = (_g1_argument(computation, start) for start in (0, 64))
    computation.output = _g1_bytes(bn254.add(a, b))


def _bn254_multiply(computation: Any) -> None:
    computation.consume_gas(6000, "ECMUL")
    point = _g1_argument(computation, 0)
    scalar = int.from_bytes(bytes(computation.msg.data[64:96]).ljust(32, b"\0"), "big")
    computation.output = _g1_bytes(bn254.multiply(point, scalar))


def _bn254_pairing(computation: Any) -> None:
    """EIP-197 at EIP-1108's price."""
    data = bytes(computation.msg.data)
    if len(data) % 192:
        raise VMError("Invalid ECPAIRING parameters")
    computation.consume_gas(45_000 + len(data) // 192 * 34_000, "ECPAIRING")
    watch = computation.state.watch
    pairs = []
    for start in range(0, len(data), 192):
        watch()
        # the imaginary part comes first
        words = [int.from_bytes(data[at : at + 32], "big") for at in range(start + 64, start + 192, 32)]
        try:
            twisted = bn254.g2((words[1], words[0]), (words[3], words[2]))
        except bn254.NotOnCurve as error:
            raise VMError(f"Invalid ECPAIRING parameters: {error}") from None
        pairs.append((_g1_argument(computation, start), twisted))
    computation.output = int(bn254.product_is_one(pairs, watch)).to_bytes(32, "big")


def _g1_argument(computation: Any, start: int) -> bn254.G1:
    data = bytes(computation.msg.data[start : start + 64]).ljust(64, b"\0")
    try:
        return bn254.g1(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big"))
    except bn254.NotOnCurve as error:
        raise VMError(f"Invalid point: {error}") from None


def _g1_bytes(point: bn254.G1) -> bytes:
    x, y = point or (0, 0)
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _blake2_f(computation: Any) -> None:
    """EIP-152."""
    data = bytes(computation.msg.data)
    if len(data) != 213 or data[212] > 1:
        raise VMError("Blake2b input parameter validation failure")
    rounds = int.from_bytes(data[:4], "big")
    computation.consume_gas(rounds, "BLAKE2F")
    h, m, t = struct.unpack("<8Q", data[4:68]), struct.unpack("<16Q", data[68:196]), struct.unpack("<2Q", data[196:212])
    computation.output = compress(rounds, h, m, t, data[212] == 1, computation.state.watch)


ARITHMETIC: Final[dict[bytes, Callable[[Any], None]]] = {
    (6).to_bytes(20, "big"): _bn254_add,
    (7).to_bytes(20, "big"): _bn254_multiply,
    (8).to_bytes(20, "big"): _bn254_pairing,
    (9).to_bytes(20, "big"): _blake2_f,
}
