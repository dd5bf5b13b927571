"""The arithmetic behind the crypto host functions, on the same libraries that the EVM's precompiles use.

`Invalid` stands for an `error` that the node's function returns (the Aspect traps), `NodePanic` for a crash of the node.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

import coincurve
from Crypto.Hash import RIPEMD160
from eth_hash.auto import keccak
from py_ecc import optimized_bn128

from devchain.aspect.environment import NodePanic
from devchain.aspect.protobuf import MalformedMessage, blob, last_bytes, last_int, messages, parse

MAX_BLAKE2_ROUNDS: Final = 1 << 16
"""The node takes 2**32 - 1 for the same gas and is busy for a minute; here more rounds than this are refused."""

bn128: Any = optimized_bn128  # its types are not exported

_SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_U64 = (1 << 64) - 1
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
    return _g1(bn128.add(_curve_point(bytes(data[:64])), _curve_point(bytes(data[64:]))))


def bn256_scalar_mul(message: bytes) -> bytes:
    """Bn256ScalarMulInput {a G1, scalar} -> G1."""
    fields = _fields(message)
    point = _point(fields, 1)
    data = bytearray(96)
    _copy(data, 0, last_bytes(point, 1) or b"")
    _copy(data, 32, last_bytes(point, 2) or b"")
    _copy(data, 64, last_bytes(fields, 2) or b"")
    return _g1(bn128.multiply(_curve_point(bytes(data[:64])), int.from_bytes(data[64:], "big")))


def bn256_pairing(message: bytes) -> bytes:
    """Bn256PairingInput {repeated cs G1, repeated ts G2} -> 32 bytes, 1 if the product of the pairings is one."""
    fields = _fields(message)
    try:
        first, second = messages(fields, 1), messages(fields, 2)
    except MalformedMessage:
        raise Invalid("unmarshal") from None
    if len(first) != len(second):
        raise Invalid("params not valid")
    product = bn128.FQ12.one()
    for g1, g2 in zip(first, second, strict=True):
        data = bytearray(192)
        for i, value in enumerate((last_bytes(g1, 1), last_bytes(g1, 2), *(last_bytes(g2, n) for n in (1, 2, 3, 4)))):
            _copy(data, 32 * i, value or b"")
        left = _curve_point(bytes(data[:64]))
        right = _twist_point(bytes(data[64:]))
        product *= bn128.pairing(right, left, final_exponentiate=False)
    return int(bn128.final_exponentiate(product) == bn128.FQ12.one()).to_bytes(32, "big")


def blake2_f(message: bytes) -> bytes:
    """Blake2FInput {h 64 B, m 128 B, t 16 B, final, rounds 4 B big-endian} -> h after the rounds, 64 bytes."""
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
    if count > MAX_BLAKE2_ROUNDS:
        raise Invalid("not supported: so many rounds")
    return _blake2b(count, struct.unpack("<8Q", h), struct.unpack("<16Q", m), struct.unpack("<2Q", t), bool(final))


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


def _curve_point(data: bytes) -> Any:
    x, y = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
    if x >= bn128.field_modulus or y >= bn128.field_modulus:
        raise Invalid("coordinate not below the field's modulus")
    if x == y == 0:
        return bn128.Z1
    point = (bn128.FQ(x), bn128.FQ(y), bn128.FQ.one())
    if not bn128.is_on_curve(point, bn128.b):
        raise Invalid("not on the curve")
    return point


def _twist_point(data: bytes) -> Any:
    x_imaginary, x_real, y_imaginary, y_real = (int.from_bytes(data[i : i + 32], "big") for i in range(0, 128, 32))
    if max(x_imaginary, x_real, y_imaginary, y_real) >= bn128.field_modulus:
        raise Invalid("coordinate not below the field's modulus")
    x, y = bn128.FQ2([x_real, x_imaginary]), bn128.FQ2([y_real, y_imaginary])
    zero = bn128.FQ2.zero()
    if x == zero and y == zero:
        return bn128.Z2
    point = (x, y, bn128.FQ2.one())
    if not bn128.is_on_curve(point, bn128.b2) or bn128.multiply(point, bn128.curve_order)[-1] != zero:
        raise Invalid("not in the group")
    return point


def _g1(point: Any) -> bytes:
    x, y = (0, 0) if bn128.is_inf(point) else (int(c) for c in bn128.normalize(point))
    return blob(1, x.to_bytes(32, "big")) + blob(2, y.to_bytes(32, "big"))


_BLAKE2_IV: Final = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
_BLAKE2_SIGMA: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
# columns, then diagonals, of the 4 x 4 working state
_BLAKE2_MIXES: Final = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def _blake2b(rounds: int, h: tuple[int, ...], m: tuple[int, ...], t: tuple[int, ...], final: bool) -> bytes:
    """BLAKE2b's compression function F with any number of rounds (RFC 7693 §3.2, EIP-152)."""
    v = [*h, *_BLAKE2_IV]
    v[12] ^= t[0]
    v[13] ^= t[1]
    if final:
        v[14] ^= _U64
    for number in range(rounds):
        sigma = _BLAKE2_SIGMA[number % 10]
        for i, (a, b, c, d) in enumerate(_BLAKE2_MIXES):
            va, vb, vc = v[a], v[b], v[c]
            va = va + vb + m[sigma[2 * i]] & _U64
            vd = v[d] ^ va
            vd = (vd >> 32 | vd << 32) & _U64
            vc = vc + vd & _U64
            vb ^= vc
            vb = (vb >> 24 | vb << 40) & _U64
            va = va + vb + m[sigma[2 * i + 1]] & _U64
            vd ^= va
            vd = (vd >> 16 | vd << 48) & _U64
            vc = vc + vd & _U64
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 63 | vb << 1) & _U64, vc, vd
    return struct.pack("<8Q", *(h[i] ^ v[i] ^ v[i + 8] for i in range(8)))
