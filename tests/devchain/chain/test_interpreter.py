"""The fast inner loop does what py-evm's own loop does."""

from __future__ import annotations

from typing import Any

import pytest
from eth.vm.computation import BaseComputation
from hypothesis import given, settings
from hypothesis import strategies as st

from devchain.chain import interpreter
from devchain.chain.evm import REVERTED, BlockContext, Evm
from devchain.chain.evm.computation import COMPUTATIONS, ArtelaComputation
from devchain.chain.state import World
from devchain.config import ForkRules
from tests.devchain.plain_evm import EmptyStore, NoHooks

SENDER, CONTRACT, OTHER = (bytes([n]) * 20 for n in (1, 2, 3))
BLOCK = BlockContext(
    number=7, timestamp=1_700_000_000, coinbase=bytes([9]) * 20, gas_limit=20_000_000, base_fee=7, chain_id=11820,
    ancestor_hash=lambda number: number.to_bytes(32, "big"),
)  # fmt: skip


class PyEvmLoop(ArtelaComputation):
    """The same EVM on the library's own loop."""

    apply_computation = classmethod(BaseComputation.apply_computation.__func__)  # type: ignore[attr-defined,assignment]


def outcome(code: bytes, gas: int, data: bytes) -> Any:
    world = World(EmptyStore())
    world.set_balance(SENDER, 10**18)
    world.set_code(CONTRACT, code)
    world.set_code(OTHER, bytes.fromhex("60003560005260206000f3"))
    world.begin_transaction()
    done = Evm(world, BLOCK, NoHooks(), origin=SENDER, gas_price=1).call(
        sender=SENDER, to=CONTRACT, value=3, data=data, gas=gas
    )
    slots = [world.get_storage(CONTRACT, slot) for slot in range(4)]
    failed = None if done.error is None else done.error == REVERTED
    return done.output, done.gas_left, failed, done.logs, done.refund, slots, world.get_balance(OTHER)


FREQUENT = [0x01, 0x02, 0x03, 0x10, 0x11, 0x14, 0x15, 0x16, 0x17, 0x19, 0x1B, 0x1C, 0x50, 0x51, 0x52, 0x5B, 0x5F]
OTHERS = [
    0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x12, 0x13, 0x18, 0x1A, 0x1D, 0x20, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x40, 0x41, 0x42, 0x43, 0x45, 0x46, 0x47, 0x48, 0x49, 0x53, 0x54, 0x55,
    0x56, 0x57, 0x58, 0x59, 0x5A, 0x5C, 0x5D, 0x5E, 0xA0, 0xA1, 0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xFA, 0xFD, 0xFE, 0xFF, 0x00,
]  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """Mostly sensible code: small constants, balanced more often than not, jumps to places that exist."""
    code = bytearray()
    for _ in range(draw(st.integers(1, 60))):
        kind = draw(st.integers(0, 9))
        if kind <= 3:
            width = draw(st.sampled_from([1, 1, 1, 2, 20, 32]))
            code += bytes([0x5F + width]) + draw(st.binary(min_size=width, max_size=width))
        elif kind == 4:
            code += bytes([draw(st.integers(0x80, 0x9F))])
        elif kind == 5 and len(code) < 250:
            code += bytes([0x60, draw(st.integers(0, len(code) + 6)), draw(st.sampled_from([0x56, 0x57])), 0x5B])
        elif kind == 6:
            code += bytes([draw(st.sampled_from(OTHERS))])
        elif kind == 7:
            code += bytes.fromhex("6000600060006000600060035af1")  # CALL the other contract with what is left
            code[-3] = draw(st.sampled_from([0x03, 0x02]))
        else:
            code += bytes([draw(st.sampled_from(FREQUENT))])
    return bytes(code)


@settings(max_examples=200, deadline=None)
@given(programs(), st.sampled_from([60, 700, 5_000, 40_000]), st.binary(max_size=40))
def test_random_programs_end_alike_on_both_loops(code: bytes, gas: int, data: bytes) -> None:
    fast = outcome(code, gas, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMPUTATIONS, ForkRules.ARTELA, PyEvmLoop)
        patch.setattr(interpreter, "run", None)
        slow = outcome(code, gas, data)
    assert fast == slow


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("0c", "invalid opcode: opcode 0xc not defined"),
        ("fe", "invalid opcode: INVALID"),
        ("01", "stack underflow (0 <=> 2)"),
        ("600101", "stack underflow (1 <=> 2)"),
        ("5b6001600056", "stack limit reached 1024 (1023)"),
        ("600756", "invalid jump destination"),
        ("600456605b", "invalid jump destination"),
        ("5b600056", "out of gas"),
        ("60016000fd", "execution reverted"),
        ("6001600160003e", "return data out of bounds"),
        ("80", "stack underflow (0 <=> 1)"),
        ("600191", "stack underflow (1 <=> 3)"),
        # memory whose price the node cannot even compute, and memory that only nobody can pay
        ("671fffffffffffffff51", "gas uint64 overflow"),
        ("641fffffffc051", "out of gas"),
        ("641fffffffc151", "gas uint64 overflow"),
        ("6001641fffffffdf53", "out of gas"),
        ("6001641fffffffe053", "gas uint64 overflow"),
        ("7f" + "ff" * 32 + "5f5f3e", "gas uint64 overflow"),
        ("5f7f" + "ff" * 32 + "f3", None),
        ("6001" + "7f" + "ff" * 32 + "f3", "gas uint64 overflow"),
        ("7f" + "ff" * 32 + "5f5f5f5f5f5af1", "gas uint64 overflow"),
        ("5f5f7f" + "ff" * 32 + "5f5f5f5af1", "gas uint64 overflow"),
        ("60015f7f" + "ff" * 32 + "5e", "gas uint64 overflow"),
        ("60017f" + "ff" * 32 + "5f5e", "gas uint64 overflow"),
    ],
)
def test_errors_have_the_words_of_go_ethereum(code: str, text: str | None) -> None:
    world = World(EmptyStore())
    world.set_code(CONTRACT, bytes.fromhex(code))
    machine = Evm(world, BLOCK, NoHooks(), origin=SENDER, gas_price=1)
    assert machine.call(sender=SENDER, to=CONTRACT, value=0, data=b"", gas=100_000).error == text


def test_a_call_to_itself_goes_1024_frames_deep_and_no_further() -> None:
    from devchain.server import ChainThread

    # each frame stores its depth and calls itself with all gas; the frame that cannot go deeper ends quietly
    code = bytes.fromhex("60016000540160005560006000600060006000305af100")
    world = World(EmptyStore())
    world.set_code(CONTRACT, code)
    machine = Evm(world, BLOCK, NoHooks(), origin=SENDER, gas_price=1)
    thread = ChainThread()
    try:
        done = thread.run_blocking(lambda: machine.call(sender=SENDER, to=CONTRACT, value=0, data=b"", gas=10**13))
    finally:
        thread.stop()
    assert done.error is None
    assert world.get_storage(CONTRACT, 0) == 1025
