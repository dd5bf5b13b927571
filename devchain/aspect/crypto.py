"""The arithmetic behind the crypto host functions, on the same libraries that the EVM's precompiles use.

`Invalid` stands for an `error` that the node's function returns (the Aspect traps), `NodePanic` for a crash of the node.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import coincurve
from Crypto.Hash import RIPEMD160
from eth_hash.auto import keccak

from devchain.aspect.environment import NodePanic
from devchain.aspect.protobuf import MalformedMessage, blob, last_bytes, last_int, messages, parse
from devchain.precompiles import bn254
from devchain.precompiles.blake2 import compress
from devchain.watch import Watch, no_watch

_SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Fields = dict[int, list[int | bytes]]


class Invalid(Exception):
    """The node's function returns an error; the Aspect only sees that it traps."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def ripemd160(data: bytes) -> bytes:
    """Padded on the left to 32 bytes."""
    return RIPEMD160.new(data).digest().rjust(32, b"\0")


def keccak256(data: bytes) -> bytes:
    return keccak(data)


def ec_recover(message: bytes) -> bytes:
    """EcRecoverInput {hash, v, r, s} -> the signer's address in 32 bytes, or nothing for a signature that is none."""
    fields = _fields(message)
    digest, v_bytes, r_bytes, s_bytes = (last_bytes(fields, n) or b"" for n in (1, 2, 3, 4))
    if not v_bytes:
        raise NodePanic("index out of range [-1]")
    v = (v_bytes[-1] - 27) % 256
    r, s = int.from_bytes(r_bytes, "big"), int.from_bytes(s_bytes, "big")
    if any(v_bytes[:-1]) or not (0 < r < _SECP256K1_ORDER and 0 < s < _SECP256K1_ORDER and v < 2):
        return b""
    # laid out by position, not by value: short r and s stay left-aligned, as on the node
    signature = bytearray(65)
    _copy(signature, 0, r_bytes)
    _copy(signature, 32, s_bytes)
    signature[64] = v
    if len(digest) != 32:
        return b""
    try:
        key = coincurve.PublicKey.from_signature_and_message(bytes(signature), digest, hasher=None)
    except ValueError:
        return b""
    return keccak(key.format(compressed=False)[1:])[12:].rjust(32, b"\0")


def big_mod_exp(base: bytes, exponent: bytes, modulus: bytes) -> bytes:
    """base ** exponent mod modulus, as long as the modulus; 0 for modulus 0."""
    if not base and not modulus:
        raise Invalid("params not valid")
    m = int.from_bytes(modulus, "big")
    if m == 0:
        return bytes(len(modulus))
    return pow(int.from_bytes(base, "big"), int.from_bytes(exponent, "big"), m).to_bytes(len(modulus), "big")


def bn256_add(message: bytes) -> bytes:
    """Bn256AddInput {a G1, b G1} -> G1."""
    fields = _fields(message)
    data = bytearray(128)
    for i, point in enumerate((_point(fields, 1), _point(fields, 2))):
        _copy(data, 64 * i, last_bytes(point, 1) or b"")
        _copy(data, 64 * i + 32, last_bytes(point, 2) or b"")
    return _g1(bn254.add(_curve_point(bytes(data[:64])), _curve_point(bytes(data[64:]))))


def bn256_scalar_mul(message: bytes) -> bytes:
    """Bn256ScalarMulInput {a G1, scalar} -> G1."""
    fields = _fields(message)
    point = _point(fields, 1)
    data = bytearray(96)
    _copy(data, 0, last_bytes(point, 1) or b"")
    _copy(data, 32, last_bytes(point, 2) or b"")
    _copy(data, 64, last_bytes(fields, 2) or b"")
    return _g1(bn254.multiply(_curve_point(bytes(data[:64])), int.from_bytes(data[64:], "big")))


def bn256_pairing(message: bytes, watch: Watch = no_watch) -> bytes:
    """Bn256PairingInput {repeated cs G1, repeated ts G2} -> 32 bytes, 1 if the product of the pairings is one."""
    fields = _fields(message)
    try:
        first, second = messages(fields, 1), messages(fields, 2)
    except MalformedMessage:
        raise Invalid("unmarshal") from None
    if len(first) != len(second):
        raise Invalid("params not valid")
    pairs = []
    for g1, g2 in zip(first, second, strict=True):
        data = bytearray(192)
        for i, value in enumerate((last_bytes(g1, 1), last_bytes(g1, 2), *(last_bytes(g2, n) for n in (1, 2, 3, 4)))):
            _copy(data, 32 * i, value or b"")
        watch()
        pairs.append((_curve_point(bytes(data[:64])), _twist_point(bytes(data[64:]))))
    return int(bn254.product_is_one(pairs, watch)).to_bytes(32, "big")


def blake2_f(message: bytes, watch: Watch = no_watch) -> bytes:
    """Blake2FInput {h 64 B, m 128 B, t 16 B, final, rounds 4 B big-endian} -> h after the rounds, 64 bytes.

    The gas is the same for 2**32 - 1 rounds, which take a minute and a half: the watch decides.
    """
    fields = _fields(message)
    h, m, t, rounds = (last_bytes(fields, n) for n in (1, 2, 3, 5))
    final = last_int(fields, 4)
    if h is None or m is None or t is None or rounds is None or final is None:
        raise Invalid("params not valid")
    if (len(h), len(m), len(t)) != (64, 128, 16):
        raise Invalid("params not valid")
    if len(rounds) < 4:
        raise NodePanic("slice bounds out of range [:4]")
    count = int.from_bytes(rounds[:4], "big")
    words, block, counter = struct.unpack("<8Q", h), struct.unpack("<16Q", m), struct.unpack("<2Q", t)
    return compress(count, words, block, counter, bool(final), watch)


# --- pieces


def _fields(message: bytes) -> Fields:
    try:
        return parse(message)
    except MalformedMessage:
        raise Invalid("unmarshal") from None


def _point(fields: Fields, number: int) -> Fields:
    value = last_bytes(fields, number)
    if value is None:
        raise NodePanic("nil pointer dereference")
    return _fields(value)


def _copy(target: bytearray, start: int, data: bytes) -> None:
    """Go's copy: as much as fits, nothing is padded."""
    part = data[: len(target) - start]
    target[start : start + len(part)] = part


def _curve_point(data: bytes) -> bn254.G1:
    try:
        return bn254.g1(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big"))
    except bn254.NotOnCurve as error:
        raise Invalid(str(error)) from None


def _twist_point(data: bytes) -> bn254.G2:
    x_imaginary, x_real, y_imaginary, y_real = (int.from_bytes(data[i : i + 32], "big") for i in range(0, 128, 32))
    try:
        return bn254.g2((x_real, x_imaginary), (y_real, y_imaginary))
    except bn254.NotOnCurve as error:
        raise Invalid(str(error)) from None


def _g1(point: bn254.G1) -> bytes:
    x, y = point or (0, 0)
    return blob(1, x.to_bytes(32, "big")) + blob(2, y.to_bytes(32, "big"))
