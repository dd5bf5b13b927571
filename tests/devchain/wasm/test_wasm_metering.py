"""Metering: the node's charges, block by block, on modules small enough to count by hand."""

from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from devchain.wasm.binary import WasmError
from devchain.wasm.meter import GAS_COUNTER, OUT_OF_GAS, Unmeterable, meter
from devchain.wasm.validate import validate_module

PROBE = (Path(__file__).resolve().parents[2] / "data" / "conformance" / "probe.wasm").read_bytes()
CALL = 1106  # what each charge costs itself


class Metered:
    """A metered module with a filled counter."""

    def __init__(self, text: str, gas: int = 10**12) -> None:
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        module = wasmtime.Module(engine, meter(wasmtime.wat2wasm(text)))
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.gas = gas

    @property
    def gas(self) -> int:
        value: int = self.exports[GAS_COUNTER].value(self.store)  # type: ignore[union-attr]
        return value

    @gas.setter
    def gas(self, amount: int) -> None:
        self.exports[GAS_COUNTER].set_value(self.store, wasmtime.Val.i64(amount))  # type: ignore[union-attr]

    def call(self, *arguments: int) -> object:
        return self.exports["f"](self.store, *arguments)  # type: ignore[operator]

    def cost(self, *arguments: int) -> int:
        before = self.gas
        self.call(*arguments)
        return before - self.gas


def test_a_straight_body_is_one_charge() -> None:
    assert Metered('(module (func (export "f") nop nop))').cost() == CALL + 20


def test_a_block_is_part_of_what_stands_before_it() -> None:
    # nop, block, nop inside, nop after: nobody branches, so they are one metered block
    assert Metered('(module (func (export "f") nop (block nop) nop))').cost() == CALL + 10 + 150 + 10 + 10


def test_the_arms_of_an_if_are_charged_apart_and_what_follows_with_what_precedes() -> None:
    metered = Metered('(module (func (export "f") (param i32) (if (local.get 0) (then nop) (else nop nop)) nop))')
    assert metered.cost(1) == (CALL + 40 + 150 + 10) + (CALL + 10)
    assert metered.cost(0) == (CALL + 40 + 150 + 10) + (CALL + 20)


def test_what_a_branch_may_skip_is_charged_apart() -> None:
    metered = Metered('(module (func (export "f") (param i32) (block (br_if 0 (local.get 0)) nop) nop nop))')
    # what stands after the block is reached either way: it is paid with what stands before it
    assert metered.cost(1) == CALL + 150 + 40 + 150 + 20
    assert metered.cost(0) == (CALL + 150 + 40 + 150 + 20) + (CALL + 10)


def test_what_a_branch_to_further_out_may_skip_starts_a_charge_of_its_own() -> None:
    metered = Metered('(module (func (export "f") (param i32) (block (block (br_if 1 (local.get 0)) nop) nop nop)))')
    assert metered.cost(1) == CALL + 150 + 150 + 40 + 150
    assert metered.cost(0) == (CALL + 150 + 150 + 40 + 150) + (CALL + 10) + (CALL + 20)


def test_a_loop_pays_each_time_round() -> None:
    text = (
        '(module (func (export "f") (param i32) (loop'
        " (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))))"
    )
    once = 40 + 10 + 80 + 80 + 40 + 150
    metered = Metered(text)
    assert metered.cost(5) == (CALL + 150) + 5 * (CALL + once)


def test_a_table_of_branches_costs_by_its_targets() -> None:
    text = '(module (func (export "f") (param i32) (block (block (block (br_table 0 1 2 (local.get 0))))) ))'
    assert Metered(text).cost(0) == CALL + 3 * 150 + 40 + 150 + 2 * 10


def test_a_block_is_paid_before_it_runs() -> None:
    metered = Metered('(module (func (export "f") unreachable nop nop nop))')
    with pytest.raises(wasmtime.Trap):
        metered.call()
    assert 10**12 - metered.gas == CALL + 40


@pytest.mark.parametrize(("gas", "left"), [(CALL + 20, 0), (CALL + 19, OUT_OF_GAS)])
def test_gas_that_just_suffices_is_used_up_and_one_less_leaves_the_mark(gas: int, left: int) -> None:
    metered = Metered('(module (func (export "f") nop nop))', gas=gas)
    if left == OUT_OF_GAS:
        with pytest.raises(wasmtime.Trap):
            metered.call()
    else:
        metered.call()
    assert metered.gas == left


def test_growth_is_paid_by_the_page_before_it_is_tried() -> None:
    text = '(module (memory 1 2) (func (export "f") (param i32) (result i32) (memory.grow (local.get 0))))'
    metered = Metered(text)
    base = CALL + 40 + 435_000
    assert metered.cost(1) == base + 14_336_000
    assert metered.cost(7) == base + 7 * 14_336_000
    assert metered.cost(0) == base


def test_a_start_section_becomes_the_entrypoint() -> None:
    code = meter(wasmtime.wat2wasm('(module (func $s nop) (start $s) (export "x" (func $s)))'))
    exports = [export.name for export in wasmtime.Module(wasmtime.Engine(), code).exports]
    assert exports == ["x", "__aspect_start__", GAS_COUNTER]


@pytest.mark.parametrize(
    "text",
    [
        "(module (func (result i32 i32) i32.const 1 i32.const 2))",
        "(module (type (func (param i32))) (func i32.const 1 (block (type 0) drop)))",
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
        "(module (func (drop (ref.null func))))",
    ],
)
def test_what_the_nodes_metering_cannot_read_is_refused_without_a_reason(text: str) -> None:
    with pytest.raises(Unmeterable, match=r"^wasm_instrument failed$"):
        meter(wasmtime.wat2wasm(text))


def test_the_probe_is_metered_as_the_node_metered_it() -> None:
    """The node's traps name places in its metered module: the `unreachable` of operations `revert` and `trap`."""
    code = meter(PROBE)
    assert code[0xCD2] == code[0xCE5] == 0x00
    validate_module(code)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_metering_refuses_or_keeps_a_valid_module_valid(data: st.DataObject) -> None:
    code = bytearray(PROBE)
    for _ in range(data.draw(st.integers(1, 3))):
        code[data.draw(st.integers(8, len(code) - 1))] = data.draw(st.integers(0, 255))
    try:
        validate_module(bytes(code))
    except WasmError:
        return
    try:
        metered = meter(bytes(code))
    except Unmeterable:
        return
    validate_module(metered)
