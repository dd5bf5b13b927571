"""What works in a naive emulator and differs on the node: one test for each, named after what it promises.

The order is that of the list; the ones about code and the wasm runtime itself stand with the runtime's tests.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
from eth_abi import decode

from devchain.chain.evm import contract_address
from devchain.chain.questions import CallFailed
from devchain.chain.system_contract import SYSTEM_CONTRACT
from devchain.chain.transactions import TransactionRefused
from tests.devchain.probe import ALL_JOIN_POINTS, WASM, Rig, contract, program, system

JOIN_POINTS = ("preTxExecute", "preContractCall", "postContractCall", "postTxExecute")


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def bound(rig: Rig) -> tuple[Rig, bytes, bytes, bytes]:
    """(rig, Aspect, contract A that it is bound to, contract B that it is not)."""
    a, b = rig.create(), rig.create()
    aspect = rig.aspect()
    rig.bind(aspect, a)
    return rig, aspect, a, b


Bound = tuple[Rig, bytes, bytes, bytes]


def test_an_inner_revert_keeps_aspect_state_and_a_failed_transaction_drops_it(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("set", "k", b"kept"))
    assert rig.send(b, contract("catchInner", a, contract("set", 21))).status == 1
    assert rig.x(a) == 0
    assert rig.state(aspect, "k") == b"kept"
    rig.at(aspect, "preContractCall", ("set", "k", b"lost"))
    assert rig.send(b, contract("callThenRevert", a, contract("set", 22))).status == 0
    assert rig.state(aspect, "k") == b"kept"


def test_transient_storage_survives_an_inner_revert_but_not_the_transaction(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("tget", b"", "t"), ("tset", "t", b"left"))
    rig.at(aspect, "postTxExecute")
    inner = contract("catchInner", a, contract("set", 1))
    assert rig.send(b, contract("nested", b, inner)).status == 1
    assert rig.send(a, contract("nested", a, contract("set", 2))).status == 1
    assert [rig.seen(aspect, n)[0] for n in range(3)] == [b"", b"", b"left"]


def test_a_failing_pre_contract_call_gives_the_gas_back_and_keeps_the_value_where_it_went(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("revert", "no"))
    receipt = rig.send(b, contract("nested", a, contract("set", 12)), gas=2_000_000, value=3)
    assert receipt.status == 1
    assert receipt.gas_used < 100_000
    assert (rig.balance(a), rig.balance(b)) == (3, 0)
    assert rig.x(a) == 0
    direct = rig.send(a, contract("set", 12), gas=2_000_000, value=5)
    assert (direct.status, rig.balance(a)) == (0, 3)


def test_a_failing_post_contract_call_burns_the_gas_and_undoes_the_call(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "postContractCall", ("revert", "no"))
    receipt = rig.send(b, contract("nested", a, contract("set", 12)), gas=2_000_000, value=3)
    assert receipt.status == 1
    assert receipt.gas_used > 1_900_000
    assert (rig.balance(a), rig.balance(b), rig.x(a)) == (0, 3, 0)


def test_an_aspects_reason_reaches_the_caller_as_return_data_but_not_its_memory(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("revert", "not today"))
    receipt = rig.send(b, contract("nested", a, contract("set", 1)))
    what, ok, data = decode(["string", "bool", "bytes"], receipt.logs[-1].data)
    assert (what, ok) == ("nested", False)
    # solidity copies returndata, so the reason arrives; RETURNDATACOPY is not the CALL's output area
    assert decode(["string"], data[4:]) == ("not today",)
    with pytest.raises(CallFailed) as failed:
        rig.call(a, contract("set", 1))
    assert decode(["string"], failed.value.output[4:]) == ("not today",)


def test_join_points_fire_on_call_only_at_any_depth(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("ctx", "msg.index"))
    rig.send(b, contract("nestedStatic", a, contract("get")))
    rig.send(b, contract("nestedDelegate", a, contract("get")))
    assert rig.runs(aspect) == 0
    rig.send(b, contract("nested", a, contract("set", 1)))
    assert rig.runs(aspect) == 1
    rig.send(a, contract("nested", a, contract("set", 1)))
    assert rig.runs(aspect) == 3
    rig.send(rig.address(rig.other), value=1)
    assert rig.runs(aspect) == 3


def test_a_view_asked_by_eth_call_fires_join_points(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("revert", "even for a view"))
    with pytest.raises(CallFailed, match="execution reverted"):
        rig.call(a, contract("get"))
    assert rig.call(b, contract("get")) == bytes(32)


def test_ownership_is_is_owner_and_nothing_else(rig: Rig) -> None:
    without, a, aspect = rig.create("NoOwner"), rig.create(), rig.aspect()
    refused = rig.manage("bind", aspect, 0, without, 1, gas=300_000)
    assert (refused.error, refused.gas_used) == ("contract ownership validation failed", 300_000)
    assert (
        rig.manage("bind", aspect, 0, a, 1, who=rig.other, gas=300_000).error == "contract ownership validation failed"
    )
    assert rig.manage("bind", aspect, 0, a, 1).status == 1


def test_a_plain_transfer_to_a_bound_contract_fails(bound: Bound) -> None:
    rig, _aspect, a, b = bound
    assert rig.send(b, value=1).status == 1
    assert rig.send(a, value=1, gas=200_000).status == 0
    assert rig.balance(a) == 0
    # from inside, the call fails and the caller goes on; the value has already moved
    assert rig.send(b, contract("nested", a, b""), value=1).status == 1


def test_msg_from_is_the_transaction_sender_and_the_inputs_from_the_immediate_caller(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("ctx", "msg.from"), ("echo",))
    rig.send(b, contract("nested", a, contract("set", 6)))
    message_from, echoed = rig.seen(aspect, 0)
    assert message_from.endswith(rig.address(rig.me))
    assert b"\x0a\x14" + b + b"\x12\x14" + a in echoed


def test_contract_context_is_scoped_by_the_calling_contract_and_readable_by_all(bound: Bound) -> None:
    rig, aspect, a, _ = bound
    rig.at(aspect, "postContractCall", ("tget", a, "up"), ("tget", b"", "up"))
    rig.send(a, contract("contextSet", "up", b"load"))
    assert rig.seen(aspect, 0) == [b"load", b""]
    rig.at(aspect, "postContractCall")
    rig.at(aspect, "preContractCall", ("tset", "verdict", b"\x01\x02"))
    receipt = rig.send(a, contract("contextGet", aspect, "verdict"))
    assert decode(["string", "bool", "bytes"], receipt.logs[0].data) == ("context get", True, b"\x01\x02")


@pytest.mark.parametrize("opcode", ["f4", "fa", "f2"], ids=["DELEGATECALL", "STATICCALL", "CALLCODE"])
def test_writing_context_other_than_by_call_crashes_the_node(rig: Rig, opcode: str) -> None:
    value = "6000" if opcode == "f2" else ""
    # calldata to memory, then one call to 0x66 with all of it
    code = bytes.fromhex("36600060003760006000366000" + value + "60665a" + opcode + "00")
    deploy = bytes.fromhex(f"60{len(code):02x}80600a5f395ff300")[:10] + code
    contract_at = rig.send(None, deploy).contract_address
    assert contract_at is not None
    data = bytes(31) + b"\x40" + bytes(31) + b"\x60" + bytes(64)
    nonce = rig.chain.pending_nonce(rig.address(rig.me))
    rig.chain.submit(rig.raw(contract_at, data, gas=100_000))
    assert rig.chain.mine().receipts == ()
    assert rig.chain.pending_nonce(rig.address(rig.me)) == nonce + 1
    assert rig.call(contract_at, data) == b""


def test_anyone_may_call_an_operation_and_it_runs_the_latest_version_while_join_points_run_the_bound_one(
    bound: Bound,
) -> None:
    rig, aspect, a, _ = bound
    rig.at(aspect, "preContractCall", ("ctx", "aspect.version"), ("prop", "p"))
    assert rig.manage("upgrade", aspect, WASM, [("p", b"two")], ALL_JOIN_POINTS).status == 1
    assert rig.ask(aspect, ("ctx", "aspect.version"), ("prop", "p"), who=rig.other) == [b"\x08\x02", b"two"]
    rig.send(a, contract("set", 1))
    assert rig.seen(aspect, 0) == [b"\x08\x01", b""]
    assert rig.manage("changeVersion", aspect, a, 0).status == 1
    rig.send(a, contract("set", 1))
    assert rig.seen(aspect, 1) == [b"\x08\x02", b"two"]


def test_state_belongs_to_the_aspect_whoever_binds_it(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "preContractCall", ("get", "k"), ("set", "k", b"from anywhere"))
    rig.bind(aspect, b)
    rig.send(a, contract("set", 1))
    rig.send(b, contract("set", 1))
    assert [rig.seen(aspect, n)[0] for n in range(2)] == [b"", b"from anywhere"]


def test_post_contract_call_runs_for_reverted_calls_too_and_says_so(bound: Bound) -> None:
    rig, aspect, a, b = bound
    rig.at(aspect, "postContractCall", ("echo",))
    rig.send(b, contract("nested", a, contract("fail", "contract says no")))
    (echoed,) = rig.seen(aspect, 0)
    assert b"\x42\x12execution reverted" in echoed
    rig.send(a, contract("set", 1))
    assert b"\x42\x00" in rig.seen(aspect, 1)[0]


@pytest.mark.parametrize("join_point", JOIN_POINTS)
def test_an_empty_revert_is_a_crash_without_a_reason(bound: Bound, join_point: str) -> None:
    rig, aspect, a, _ = bound
    rig.at(aspect, join_point, ("revert", ""))
    with pytest.raises(CallFailed, match="method execute execution fail") as failed:
        rig.call(a, contract("set", 1))
    assert failed.value.output == b""


def test_pre_tx_execute_loses_its_reason(bound: Bound) -> None:
    rig, aspect, a, _ = bound
    rig.at(aspect, "preTxExecute", ("revert", "never heard"))
    with pytest.raises(CallFailed, match=r"^execution reverted$") as failed:
        rig.call(a, contract("set", 1))
    assert failed.value.output == b""


def test_half_of_an_oversized_gas_limit_is_charged() -> None:
    rig = Rig(Fraction(1, 2))
    a = rig.create()
    assert rig.send(a, contract("set", 1), gas=15_000_001).gas_used == 7_500_000
    before = rig.balance(rig.address(rig.me))
    used = rig.send(a, contract("set", 2), gas=40_000).gas_used
    assert before - rig.balance(rig.address(rig.me)) == used * 10**9


def test_a_gas_limit_above_the_blocks_is_refused_at_once(rig: Rig) -> None:
    rig.chain.submit(rig.raw(rig.address(rig.other), gas=20_000_000))
    with pytest.raises(TransactionRefused, match=r"tx gas \(20000001\) exceeds block gas limit \(20000000\)"):
        rig.chain.submit(rig.raw(rig.address(rig.other), gas=20_000_001))


def test_the_aspect_id_follows_from_the_deployers_nonce(rig: Rig) -> None:
    me = rig.address(rig.me)
    nonce = rig.chain.pending_nonce(me)
    assert rig.aspect() == contract_address(me, nonce)
    assert rig.aspect() == contract_address(me, nonce + 1)
    # also where the deployment fails, the receipt names the address
    data = system("deploy", b"\1\2\3\4", b"", [], me, b"", 30)
    assert rig.send(SYSTEM_CONTRACT, data, gas=100_000).contract_address == contract_address(me, nonce + 2)


@pytest.mark.parametrize("join_point", JOIN_POINTS)
def test_every_join_point_starts_on_a_fresh_instance(bound: Bound, join_point: str) -> None:
    rig, aspect, a, _ = bound
    rig.at(aspect, join_point, ("gas",))
    gas = []
    for _ in range(2):
        rig.send(a, contract("set", 7), gas=400_000)
        gas.append(rig.seen(aspect, rig.runs(aspect) - 1))
        rig.operate(aspect, b"\x01" + program(("set", "c", b"")))
    # the second transaction differs by what it found stored, never by what the first left in memory
    first, second = (int.from_bytes(seen[0], "little", signed=True) for seen in gas)
    assert abs(first - second) < 20_000 * 1000
