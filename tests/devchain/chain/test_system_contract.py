"""Managing Aspects: what the system contract does, refuses, charges and answers."""

from __future__ import annotations

import random
import tracemalloc
from fractions import Fraction
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from eth_abi import decode
from eth_hash.auto import keccak

from devchain.chain.evm import contract_address
from devchain.chain.questions import CallFailed
from devchain.chain.system_contract import SYSTEM_CONTRACT
from tests.devchain.probe import WASM, Rig, contract, program, system

NOBODY = bytes(20)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def versions_of(rig: Rig, aspect: bytes) -> int:
    return int.from_bytes(rig.call(SYSTEM_CONTRACT, system("versionOf", aspect)), "big")


def aspects_of(rig: Rig, account: bytes) -> list[tuple[bytes, int, int]]:
    answer = rig.call(SYSTEM_CONTRACT, system("aspectsOf", account))
    (rows,) = decode(["(address,uint64,int8)[]"], answer)
    return [(bytes.fromhex(address[2:]), version, priority) for address, version, priority in rows]


def accounts_of(rig: Rig, aspect: bytes) -> list[bytes]:
    (rows,) = decode(["address[]"], rig.call(SYSTEM_CONTRACT, system("boundAddressesOf", aspect)))
    return [bytes.fromhex(address[2:]) for address in rows]


def deploying(rig: Rig, code: bytes = WASM, *, properties: Any = (), account: bytes | None = None) -> bytes:
    return system("deploy", code, b"", list(properties), account or rig.address(rig.me), b"", 30)


def test_versions_count_up_from_one_and_an_unknown_aspect_has_none(rig: Rig) -> None:
    aspect = rig.aspect()
    assert versions_of(rig, aspect) == 1
    assert rig.manage("upgrade", aspect, WASM, [], 30).status == 1
    assert versions_of(rig, aspect) == 2
    assert versions_of(rig, b"\x01" * 20) == 0


def test_what_is_bound_is_listed_on_both_sides_in_the_order_of_binding(rig: Rig) -> None:
    first, second = rig.aspect(), rig.aspect()
    a, b = rig.create(), rig.create()
    rig.bind(first, a, priority=5)
    rig.bind(second, a, priority=-3)
    rig.bind(first, b)
    assert aspects_of(rig, a) == [(first, 1, 5), (second, 1, -3)]
    assert accounts_of(rig, first) == [a, b]
    assert rig.manage("unbind", first, a).status == 1
    assert aspects_of(rig, a) == [(second, 1, -3)]
    assert accounts_of(rig, first) == [b]


def test_the_lower_priority_runs_first_negative_ones_included(rig: Rig) -> None:
    a = rig.create()
    for priority, mark in ((3, "late"), (-2, "early"), (0, "middle")):
        aspect = rig.aspect()
        rig.at(aspect, "preContractCall", ("revert", mark))
        rig.bind(aspect, a, priority=priority)
        order = [p for _, _, p in aspects_of(rig, a)]
        with pytest.raises(CallFailed) as failed:
            rig.call(a, contract("set", 1))
        assert ("early" if -2 in order else "late").encode() in failed.value.output


def test_an_aspect_with_hundreds_of_accounts_keeps_and_loses_each_of_them(rig: Rig) -> None:
    # the node keeps bindings in slots of 120; removing from the middle moves the last one into the gap
    aspect, accounts = rig.aspect(), [rig.create() for _ in range(245)]
    for account in accounts:
        rig.bind(aspect, account)
    assert accounts_of(rig, aspect) == accounts
    order = list(accounts)
    random.Random(5).shuffle(order)
    left = list(accounts)
    for account in order[:200]:
        assert rig.manage("unbind", aspect, account).status == 1
        place = left.index(account)
        if place // 120 == (len(left) - 1) // 120:
            left.remove(account)
        else:
            left[place] = left.pop()
        assert aspects_of(rig, account) == []
    assert accounts_of(rig, aspect) == left


def test_change_version_moves_one_account_and_zero_means_the_latest(rig: Rig) -> None:
    aspect, a, b = rig.aspect(), rig.create(), rig.create()
    rig.bind(aspect, a)
    rig.bind(aspect, b)
    for _ in range(2):
        assert rig.manage("upgrade", aspect, WASM, [], 30).status == 1
    assert rig.manage("changeVersion", aspect, a, 2).status == 1
    assert rig.manage("changeVersion", aspect, b, 0).status == 1
    assert (aspects_of(rig, a), aspects_of(rig, b)) == ([(aspect, 2, 1)], [(aspect, 3, 1)])


def test_properties_are_inherited_one_by_one(rig: Rig) -> None:
    aspect, a = rig.aspect(properties=(("kept", b"1"), ("changed", b"2"))), rig.create()
    assert rig.manage("upgrade", aspect, WASM, [("changed", b"3"), ("new", b"4")], 30).status == 1
    assert [rig.ask(aspect, ("prop", key))[0] for key in ("kept", "changed", "new", "none")] == [b"1", b"3", b"4", b""]
    rig.bind(aspect, a, version=1)
    rig.at(aspect, "preContractCall", ("prop", "changed"), ("prop", "new"))
    rig.send(a, contract("set", 1))
    assert rig.seen(aspect, 0) == [b"2", b""], "a bound version keeps its own properties"


def test_properties_have_any_bytes_as_keys_and_values(rig: Rig) -> None:
    keys = ['"\\\n\x00<&>', "ключ", "\u2028", "k" * 300, ""]
    aspect = rig.aspect(properties=tuple((key, key.encode() + b"\xff\x00") for key in keys))
    for key in keys[:-1]:
        assert rig.ask(aspect, ("prop", key))[0] == key.encode() + b"\xff\x00"


@pytest.mark.parametrize(("count", "error"), [(255, None), (256, "aspect property limit exceeds")])
def test_an_aspect_has_at_most_255_properties(rig: Rig, count: int, error: str | None) -> None:
    data = deploying(rig, properties=[(f"k{n}", b"v") for n in range(count)])
    assert rig.send(SYSTEM_CONTRACT, data, gas=20_000_000).error == error


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("deploy", (b"", b"", [], "me", b"", 30), "code is empty"),
        ("deploy", (WASM, b"", [], "other", b"", 30), "account verification fail"),
        ("deploy", (b"\x00asm", b"", [], "me", b"", 30), None),
        ("upgrade", (NOBODY, WASM, [], 30), "aspectId not specified"),
        ("upgrade", ("aspect", b"", [], 30), "code is empty"),
        ("upgrade", (b"\x01" * 20, WASM, [], 30), "aspect not deployed"),
        ("bind", (NOBODY, 0, "account", 1), "aspectId not specified"),
        ("bind", ("aspect", 0, NOBODY, 1), "binding account not specified"),
        ("bind", (b"\x01" * 20, 0, "account", 1), "aspect not deployed"),
        ("bind", ("aspect", 2, "account", 1), "aspect version not deployed"),
        ("bind", ("aspect", 0, "me", 1), "only verifier aspect can be bound with eoa"),
        ("bind", ("aspect", 0, "other", 1), "unauthorized EoA account aspect binding"),
        ("unbind", ("aspect", NOBODY), "binding account not specified"),
        ("changeVersion", ("aspect", "account", 1), "aspect not bound"),
        ("versionOf", (NOBODY,), "aspectId not specified"),
        ("aspectsOf", (NOBODY,), "binding account not specified"),
        ("boundAddressesOf", (NOBODY,), "aspect id not specified"),
        ("boundAddressesOf", (b"\x01" * 20,), "aspect not deployed"),
        ("entrypoint", (NOBODY, b""), "aspect id not specified"),
        ("entrypoint", (b"\x01" * 20, b""), "aspect not deployed"),
    ],
)
def test_a_refusal_names_its_reason_and_burns_the_limit(
    rig: Rig, method: str, arguments: tuple[Any, ...], error: str | None
) -> None:
    known = {
        "aspect": rig.aspect(), "account": rig.create(), "me": rig.address(rig.me), "other": rig.address(rig.other)
    }  # fmt: skip
    given = [known.get(a, a) if isinstance(a, str) else a for a in arguments]
    receipt = rig.manage(method, *given, gas=600_000)
    assert receipt.status == 0
    assert error is None or receipt.error == error
    assert receipt.gas_used == 600_000


def test_what_is_bound_already_or_never_was(rig: Rig) -> None:
    aspect, a = rig.aspect(), rig.create()
    rig.bind(aspect, a)
    assert rig.manage("bind", aspect, 0, a, 1).error == "aspect already bound"
    assert rig.manage("changeVersion", aspect, a, 2).error == "given version of aspect does not exist"
    other = rig.aspect()
    assert rig.manage("unbind", other, a).status == 1, "unbinding what was never bound succeeds and does nothing"
    assert aspects_of(rig, a) == [(aspect, 1, 1)]


def test_only_the_owner_upgrades(rig: Rig) -> None:
    # the probe takes the address that it keeps under "owner" for its owner
    aspect = rig.aspect(init=program(("set", "owner", rig.address(rig.me))))
    assert rig.manage("upgrade", aspect, WASM, [], 30, who=rig.other).error == "aspect ownership validation failed"
    assert versions_of(rig, aspect) == 1
    assert rig.manage("upgrade", aspect, WASM, [], 30).status == 1


@pytest.mark.parametrize(("join_points", "error"), [(0, "aspect is either for tx or verifier"), (2, None), (16, None)])
def test_an_aspect_without_a_join_point_binds_nowhere(rig: Rig, join_points: int, error: str | None) -> None:
    aspect, a = rig.aspect(join_points=join_points), rig.create()
    assert rig.manage("bind", aspect, 0, a, 1).error == error


def test_the_list_of_an_aspect_that_nobody_bound_crashes_the_node(rig: Rig) -> None:
    aspect = rig.aspect()
    rig.chain.submit(rig.raw(SYSTEM_CONTRACT, system("boundAddressesOf", aspect)))
    nonce = rig.chain.world_at(rig.chain.head.number).get_nonce(rig.address(rig.me))
    assert rig.chain.mine().receipts == ()
    assert rig.chain.world_at(rig.chain.head.number).get_nonce(rig.address(rig.me)) == nonce + 1


def test_code_travels_raw_or_in_a_brotli_container(rig: Rig) -> None:
    packed = brotli.compress(WASM)
    container = b"\0\0\0\1" + keccak(packed)[:4] + packed
    raw, small = (rig.send(SYSTEM_CONTRACT, deploying(rig, code)) for code in (WASM, container))
    assert raw.status == small.status == 1
    # the same code is stored, only the calldata is smaller
    assert [p.gas for p in raw.parts if p.part == "management"] == [
        p.gas for p in small.parts if p.part == "management"
    ]
    assert small.gas_used < raw.gas_used


@pytest.mark.parametrize(
    ("container", "error"),
    [
        (b"\0\0\0\1" + b"\0\0\0\0" + b"data", "invalid checksum"),
        (b"\0\0\0\2" + keccak(b"data")[:4] + b"data", "unsupported compression algorithm: 2"),
        (b"\0\0\0\1" + keccak(b"\xff" * 9)[:4] + b"\xff" * 9, "failed to decompress data: brotli: FORMAT"),
        (b"\0\0\0\1" + keccak(brotli.compress(WASM)[:-9])[:4] + brotli.compress(WASM)[:-9],
         "failed to decompress data: unexpected EOF"),
        (b"\0\0\0\1" + keccak(brotli.compress(bytes(10**8)))[:4] + brotli.compress(bytes(10**8)),
         "failed to decompress data: too large"),
    ],
    ids=["checksum", "algorithm", "format", "cut", "bomb"],
)  # fmt: skip
def test_a_broken_container_is_refused(rig: Rig, container: bytes, error: str) -> None:
    assert rig.send(SYSTEM_CONTRACT, deploying(rig, container)).error == error


def test_properties_that_claim_the_same_megabyte_thousands_of_times_cost_no_memory(rig: Rig) -> None:
    count, size = 2000, 200_000

    def word(number: int) -> bytes:
        return number.to_bytes(32, "big")

    # one tuple for all; its key and its value are the whole tail
    heads = word(count) + word(32 * count) * count
    tuple_ = word(64) + word(64) + word(size) + bytes(size)
    data = system("deploy", WASM, b"", [], rig.address(rig.me), b"", 30)
    place = len(data)
    patched = data[: 4 + 64] + word(place - 4) + data[4 + 96 :] + heads + tuple_
    raw = rig.raw(SYSTEM_CONTRACT, patched, gas=20_000_000)
    rig.chain.submit(raw)
    tracemalloc.start()
    try:
        receipt = rig.chain.mine().receipts[0]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert receipt.error == "aspect property limit exceeds"
    assert peak < 20_000_000, "copies would be 800 MB"


def test_an_unknown_method_fails_and_too_little_calldata_crashes_the_node(rig: Rig) -> None:
    receipt = rig.send(SYSTEM_CONTRACT, b"\x12\x34\x56\x78", gas=100_000)
    assert receipt.error == "method with id 12345678 not found: invalid request"
    rig.chain.submit(rig.raw(SYSTEM_CONTRACT, b"\x12\x34"))
    assert rig.chain.mine().receipts == ()


def test_value_sent_to_the_system_contract_stays_with_the_sender(rig: Rig) -> None:
    aspect = rig.aspect()
    assert rig.send(SYSTEM_CONTRACT, system("versionOf", aspect), value=10**18).status == 1
    assert rig.balance(SYSTEM_CONTRACT) == 0


def test_a_deploy_names_its_address_even_if_it_fails(rig: Rig) -> None:
    nonce = rig.chain.pending_nonce(rig.address(rig.me))
    receipt = rig.send(SYSTEM_CONTRACT, deploying(rig, b""))
    assert receipt.status == 0
    assert receipt.contract_address == contract_address(rig.address(rig.me), nonce)


def test_init_runs_once_and_its_failure_undoes_the_deployment(rig: Rig) -> None:
    aspect = rig.aspect(init=program(("set", "from init", "yes")))
    assert rig.state(aspect, "from init") == b"yes"
    data = system("deploy", WASM, program(("revert", "no")), [], rig.address(rig.me), b"", 30)
    failed = rig.send(SYSTEM_CONTRACT, data)
    assert failed.status == 0
    assert failed.contract_address is not None and versions_of(rig, failed.contract_address) == 0


@pytest.mark.parametrize("multiplier", [Fraction(0), Fraction(1, 2), Fraction(1)])
def test_gas_by_part_sums_to_what_is_charged(multiplier: Fraction) -> None:
    rig = Rig(multiplier)
    aspect, a = rig.aspect(), rig.create()
    rig.bind(aspect, a)
    for point in ("preTxExecute", "preContractCall", "postContractCall", "postTxExecute"):
        rig.at(aspect, point, ("set", point, "x"))
    rig.send(a, contract("set", 5))
    receipt = rig.send(a, contract("set", 0), gas=900_000)
    assert sum(part.gas for part in receipt.parts) == receipt.gas_used >= int(900_000 * multiplier)
    names = [part.part if part.join_point is None else part.join_point for part in receipt.parts]
    floor = ["floor"] if multiplier else []
    joined = ["preTxExecute", "preContractCall", "postContractCall", "postTxExecute"]
    assert names == ["intrinsic", *joined, "evm", "refund", *floor]
    for block in range(1, rig.chain.head.number + 1):
        for kept in rig.chain.store.receipts(block):
            assert sum(part.gas for part in kept.parts) == kept.gas_used
