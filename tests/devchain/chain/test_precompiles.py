"""BLAKE2b's rounds and alt_bn128 against the libraries that they stand in for, and the EIPs' own vectors."""

from __future__ import annotations

import random
from typing import Any

import pytest
from eth._utils.blake2.compression import blake2b_compress
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc import optimized_bn128 as reference

from devchain.precompiles import bn254
from devchain.precompiles.blake2 import ROUNDS_AT_ONCE, compress
from devchain.watch import TimeUp

words = st.integers(0, 2**64 - 1)
REFERENCE: Any = reference
G1 = (1, 2)


def affine(point: Any) -> Any:
    if REFERENCE.is_inf(point):
        return None
    x, y = REFERENCE.normalize(point)
    return (int(x), int(y)) if isinstance(x, REFERENCE.FQ) else (tuple(map(int, x.coeffs)), tuple(map(int, y.coeffs)))


G2 = affine(REFERENCE.G2)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 40),
    st.tuples(*[words] * 8),
    st.tuples(*[words] * 16),
    st.tuples(words, words),
    st.booleans(),
)
def test_blake2_f_is_py_evms(rounds: int, h: Any, m: Any, t: Any, final: bool) -> None:
    assert compress(rounds, h, m, t, final) == blake2b_compress(rounds, h, m, t, final)


@pytest.mark.parametrize(
    ("rounds", "digest"),
    [
        (0, "08c9bcf367e6096a3ba7ca8485ae67bb2bf894fe72f36e3cf1361d5f3af54fa5"
            "d282e6ad7f520e511f6c3e2b8c68059b9442be0454267ce079217e1319cde05b"),
        (12, "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
            "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"),
        (1, "b63a380cb2897d521994a85234ee2c181b5f844d2c624c002677e9703449d2fb"
            "a551b3a8333bcdf5f2f7e08993d53923de3d64fcc68c034e717b9293fed7a421"),
    ],
)  # fmt: skip
def test_the_vectors_of_eip_152(rounds: int, digest: str) -> None:
    state = bytes.fromhex(
        "48c9bdf267e6096a3ba7ca8485ae67bb2bf894fe72f36e3cf1361d5f3af54fa5"
        "d182e6ad7f520e511f6c3e2b8c68059b6bbd41fbabd9831f79217e1319cde05b"
    )
    h = tuple(int.from_bytes(state[i : i + 8], "little") for i in range(0, 64, 8))
    message = (int.from_bytes(b"abc", "little"), *[0] * 15)
    assert compress(rounds, h, message, (3, 0), True).hex() == digest


def test_more_rounds_than_run_at_once_are_the_same_as_all_at_once() -> None:
    assert ROUNDS_AT_ONCE % 10 == 0, "the permutations go round by ten"
    h, m = tuple(range(8)), tuple(range(16))
    rounds = 2 * ROUNDS_AT_ONCE + 7
    looks: list[None] = []
    assert len(compress(rounds, h, m, (1, 2), True, lambda: looks.append(None))) == 64
    assert len(looks) == 3


def test_a_watch_ends_the_rounds() -> None:
    def look() -> None:
        raise TimeUp

    with pytest.raises(TimeUp):
        compress(2**32 - 1, (0,) * 8, (0,) * 16, (0, 0), True, look)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
def test_points_add_and_multiply_as_py_ecc_does(k: int, n: int) -> None:
    a, b = bn254.multiply(G1, k), bn254.multiply(G1, n)
    assert a == affine(REFERENCE.multiply(REFERENCE.G1, k % bn254.R))
    assert bn254.add(a, b) == bn254.multiply(G1, k + n)
    assert bn254.add(a, a) == bn254.multiply(G1, 2 * k)


@pytest.mark.parametrize("k", [0, 1, 2, 3, bn254.R - 2, bn254.R - 1, bn254.R, bn254.R + 1, 2 * bn254.R, 2**256 - 1])
def test_scalars_at_the_edges_of_the_order(k: int) -> None:
    assert bn254.multiply(G1, k) == affine(REFERENCE.multiply(REFERENCE.G1, k % bn254.R))
    assert bn254.multiply(None, k) is None
    opposite = (1, bn254.P - 2)
    assert bn254.add(G1, opposite) is None
    assert bn254.add(G1, None) == bn254.add(None, G1) == G1


def test_products_of_pairings_are_one_where_the_exponents_cancel_and_only_there() -> None:
    chance = random.Random(7)
    for _ in range(4):
        k, n = chance.randrange(1, bn254.R), chance.randrange(1, bn254.R)
        a, b = bn254.multiply(G1, k), affine(REFERENCE.multiply(REFERENCE.G2, n))
        assert bn254.g2(*b) == b
        inverse = bn254.multiply(G1, -k * n % bn254.R)
        assert bn254.product_is_one([(a, b), (inverse, G2)])
        assert bn254.product_is_one([(None, b), (a, None), (a, b), (inverse, G2)])
        assert not bn254.product_is_one([(a, b)])
        assert not bn254.product_is_one([(a, b), (bn254.add(inverse, G1), G2)])
    assert bn254.product_is_one([])
    assert bn254.product_is_one([(G1, None), (None, G2)])


def test_a_pairing_is_py_eccs_to_the_last_coefficient() -> None:
    a, b = bn254.multiply(G1, 12345), affine(REFERENCE.multiply(REFERENCE.G2, 67890))
    assert a is not None
    mine = bn254._final_exponentiation(bn254._miller([(a, b)], lambda: None))
    theirs = REFERENCE.pairing(REFERENCE.multiply(REFERENCE.G2, 67890), REFERENCE.multiply(REFERENCE.G1, 12345))
    # py_ecc writes Fp12 as polynomials in w with w^12 = 18 w^6 - 82, that is w^6 = 9 + u
    flat = [0] * 12
    for i, (real, imaginary) in enumerate(mine):
        flat[i] = (real - 9 * imaginary) % bn254.P
        flat[i + 6] = imaginary
    assert flat == [int(c) for c in theirs.coeffs]


def square_root(value: tuple[int, int]) -> tuple[int, int] | None:
    """In Fp2, by the norm; P is 3 modulo 4."""
    a, b = value
    norm = (a * a + b * b) % bn254.P
    root = pow(norm, (bn254.P + 1) // 4, bn254.P)
    for sign in (root, -root):
        half = (a + sign) * pow(2, -1, bn254.P) % bn254.P
        x = pow(half, (bn254.P + 1) // 4, bn254.P)
        if x and x * x % bn254.P == half:
            y = b * pow(2 * x, -1, bn254.P) % bn254.P
            if bn254._square2((x, y)) == value:
                return x, y
    return None


def test_points_of_the_twist_outside_the_group_are_refused_as_py_ecc_refuses_them() -> None:
    found = 0
    for n in range(1, 12):
        x = (n, 1)
        cube = bn254._mul2(bn254._square2(x), x)
        y = square_root(((cube[0] + bn254._B2[0]) % bn254.P, (cube[1] + bn254._B2[1]) % bn254.P))
        if y is None:
            continue
        found += 1
        point = (REFERENCE.FQ2(x), REFERENCE.FQ2(y), REFERENCE.FQ2.one())
        assert REFERENCE.is_on_curve(point, REFERENCE.b2)
        assert REFERENCE.multiply(point, bn254.R)[-1] != REFERENCE.FQ2.zero()
        with pytest.raises(bn254.NotOnCurve):
            bn254.g2(x, y)
    assert found


@pytest.mark.parametrize("point", [(1, 1), (bn254.P, 0), (0, bn254.P), (1, 2 + bn254.P), (2**256 - 1, 2)])
def test_what_is_no_point_is_refused(point: tuple[int, int]) -> None:
    with pytest.raises(bn254.NotOnCurve):
        bn254.g1(*point)
    with pytest.raises(bn254.NotOnCurve):
        bn254.g2((point[0], 0), (point[1], 1))
