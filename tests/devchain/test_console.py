"""What the operator reads about a block."""

from __future__ import annotations

from devchain.chain.chain import MinedBlock
from devchain.chain.system_contract import SYSTEM_CONTRACT
from devchain.console import lines
from tests.devchain.probe import Rig, contract, system


def test_a_block_tells_transactions_join_points_log_lines_gas_by_part_and_reasons() -> None:
    rig = Rig()
    mined: list[MinedBlock] = []
    rig.chain.on_block(mined.append)
    aspect, a = rig.aspect(), rig.create()
    rig.bind(aspect, a)
    rig.at(aspect, "preContractCall", ("log", b"saw the call"))
    rig.send(a, contract("set", 5))
    text = "\n".join(lines(mined[-1]))
    assert f"block {rig.chain.head.number}  1 transaction  gas" in text
    assert "#" in text and "→ 0x" in text and "ok  gas" in text
    assert "preContractCall at call 0  Aspect 0x" in text and "v1  gas" in text
    assert "| " in text and "saw the call" in text
    assert "gas: intrinsic" in text and "preContractCall" in text.partition("gas: intrinsic")[2]

    rig.at(aspect, "preContractCall", ("revert", "not today"))
    rig.send(a, contract("set", 6))
    text = "\n".join(lines(mined[-1]))
    assert "FAILED" in text and "not today" in text

    rig.chain.submit(rig.raw(SYSTEM_CONTRACT, system("boundAddressesOf", rig.aspect())))
    rig.chain.mine()
    text = "\n".join(lines(mined[-1]))
    assert "NODE PANIC: no receipt, nonce used, fee gone" in text and "→ Aspects: boundAddressesOf" in text


def test_a_creation_and_a_transfer_say_what_they_are() -> None:
    rig = Rig()
    mined: list[MinedBlock] = []
    rig.chain.on_block(mined.append)
    address = rig.create()
    text = "\n".join(lines(mined[-1]))
    assert "creates a contract" in text and f"at 0x{address.hex()}" in text
    rig.send(b"\x05" * 20, value=12_345)
    assert "12,345 wei" in "\n".join(lines(mined[-1]))
