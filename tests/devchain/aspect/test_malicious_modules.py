"""Hostile code ends in the node's error, and the runtime goes on as if nothing had been."""

import time

import pytest

from devchain.aspect.runtime import AspectOutcome, AspectRuntime, FailureKind
from devchain.watch import TimeUp, until
from tests.devchain.aspect.doubles import MemoryEnvironment, module, operate, probe

GET = '(import "aspect-state-api" "__AspectStateApi__.get" (func $get (param i32) (result i32)))'
SET = '(import "aspect-state-api" "__AspectStateApi__.set" (func $set (param i32 i32)))'
GAS = '(import "util-api" "__UtilApi__.gas" (func $gas (result i32)))'
SHA = '(import "crypto-api" "__CryptoApi__.sha256" (func $sha (param i32) (result i32)))'


@pytest.fixture(autouse=True)
def healthy(runtime: AspectRuntime):  # type: ignore[no-untyped-def]
    yield
    outcome = probe(runtime, ("set", "k", b"v"), ("get", "k"))
    assert outcome.failure is None


def failure(outcome: AspectOutcome) -> tuple[FailureKind, str]:
    assert outcome.failure is not None
    return outcome.failure.kind, outcome.failure.message


def test_an_endless_loop_ends_out_of_gas(runtime: AspectRuntime) -> None:
    started = time.monotonic()
    outcome = operate(runtime, b"", code=module("(loop (br 0)) i32.const 0"), gas=20_000_000)
    assert failure(outcome) == (FailureKind.OUT_OF_GAS, "out of gas")
    assert outcome.gas_left == 0
    assert time.monotonic() - started < 20


def test_endless_host_calls_end_at_the_deadline(runtime: AspectRuntime) -> None:
    code = module("(loop (drop (call $gas)) (br 0)) i32.const 0", top=GAS)
    env = MemoryEnvironment()
    with pytest.raises(TimeUp):
        runtime.call(b"gas", code, b"", 25_000_000, env, watch=until(time.monotonic() + 0.001))


def test_an_endless_loop_in_the_start_function_fails_the_start(runtime: AspectRuntime) -> None:
    outcome = operate(runtime, b"", code=module(start="(loop (br 0))"), gas=100_000)
    kind, text = failure(outcome)
    assert kind is FailureKind.FAILED
    assert text.startswith(
        "aspect init failed, method __aspect_start__ execution fail, err: error while executing at wasm "
    )
    assert outcome.gas_left == 0


def test_memory_grows_to_ten_mebibytes_and_no_further(runtime: AspectRuntime) -> None:
    grow = "(if (i32.ne (memory.grow (i32.const {})) (i32.const {})) (then unreachable)) i32.const 0"
    assert operate(runtime, b"", code=module(grow.format(159, 1))).failure is None
    assert operate(runtime, b"", code=module(grow.format(160, -1))).failure is None


def test_memory_that_starts_above_ten_mebibytes_grows_to_thirty_two(runtime: AspectRuntime) -> None:
    grow = "(if (i32.ne (memory.grow (i32.const {})) (i32.const {})) (then unreachable)) i32.const 0"
    assert operate(runtime, b"", code=module(grow.format(351, 161), memory="161")).failure is None
    assert operate(runtime, b"", code=module(grow.format(352, -1), memory="161")).failure is None


def test_a_memory_bomb_pays_for_pages_that_it_does_not_get(runtime: AspectRuntime) -> None:
    outcome = operate(runtime, b"", code=module("(loop (drop (memory.grow (i32.const 65535))) (br 0)) i32.const 0"))
    assert failure(outcome) == (FailureKind.OUT_OF_GAS, "out of gas")


def test_deep_recursion_ends_in_a_trap(runtime: AspectRuntime) -> None:
    code = module("(call $down (i32.const 0))", allocate=ALLOCATE + DOWN)
    outcome = operate(runtime, b"", code=code, gas=20_000_000)
    kind, text = failure(outcome)
    assert kind is FailureKind.FAILED
    assert text.startswith("method execute execution fail, err: error while executing at wasm backtrace")
    assert "call stack exhausted" in text


ALLOCATE = '(func (export "allocate") (param i32) (result i32) i32.const 1024)'
DOWN = "(func $down (param i32) (result i32) (call $down (i32.add (local.get 0) (i32.const 1))))"


@pytest.mark.parametrize("pointer", [65_531, 65_536, 0x7FFFFF00, 0x7FFFFFF9])
def test_a_pointer_beyond_the_memory_is_read_params_failed(runtime: AspectRuntime, pointer: int) -> None:
    outcome = operate(runtime, b"", code=module(f"(call $get (i32.const {pointer}))", top=GET))
    kind, text = failure(outcome)
    assert kind is FailureKind.FAILED
    assert "read params failed" in text


@pytest.mark.parametrize("pointer", [-1, -8, -0x80000000, 0x7FFFFFFA, 0x7FFFFFFF])
def test_a_pointer_below_zero_or_one_that_wraps_crashes_the_node(runtime: AspectRuntime, pointer: int) -> None:
    outcome = operate(runtime, b"", code=module(f"(call $get (i32.const {pointer}))", top=GET))
    assert failure(outcome)[0] is FailureKind.PANIC


def with_header(length: int) -> str:
    return (
        "(i32.store16 (i32.const 64) (i32.const 11)) "
        f"(i32.store offset=2 (i32.const 64) (i32.const {length})) (call $sha (i32.const 64))"
    )


def test_a_huge_length_is_paid_before_it_is_refused(runtime: AspectRuntime) -> None:
    code = module(with_header(0x7FFFFF00), top=SHA)
    assert failure(operate(runtime, b"", code=code)) == (FailureKind.OUT_OF_GAS, "out of gas")
    rich = operate(runtime, b"", code=code, gas=1 << 50)
    assert "read params failed" in failure(rich)[1]
    assert (1 << 50) - rich.gas_left >= 75 * 0x7FFFFF00


@pytest.mark.parametrize("length", [-1, -7, -0x80000000, 0x7FFFFFFF])
def test_a_length_below_zero_or_one_that_wraps_crashes_the_node(runtime: AspectRuntime, length: int) -> None:
    outcome = operate(runtime, b"", code=module(with_header(length), top=SHA), gas=1 << 50)
    assert failure(outcome)[0] is FailureKind.PANIC


def test_an_allocate_that_calls_the_host_again_and_again_ends_in_a_trap(runtime: AspectRuntime) -> None:
    allocate = '(func $a (export "allocate") (param i32) (result i32) (call $gas))'
    outcome = operate(runtime, b"", code=module(top=GAS, allocate=allocate), gas=20_000_000)
    kind, text = failure(outcome)
    assert kind is FailureKind.FAILED
    assert text.startswith("error while executing at wasm backtrace")


def test_an_allocate_that_traps_fails_the_call_with_the_bare_trap(runtime: AspectRuntime) -> None:
    allocate = '(func (export "allocate") (param i32) (result i32) unreachable)'
    outcome = operate(runtime, b"", code=module(allocate=allocate))
    kind, text = failure(outcome)
    assert kind is FailureKind.FAILED
    assert text.startswith("error while executing at wasm backtrace")
    assert 0 < outcome.gas_left < 10_000_000


def test_an_allocate_without_an_i32_crashes_the_node(runtime: AspectRuntime) -> None:
    for signature, body in (("(result i64)", "i64.const 1024"), ("", "")):
        allocate = f'(func (export "allocate") (param i32) {signature} {body})'
        assert failure(operate(runtime, b"", code=module(allocate=allocate)))[0] is FailureKind.PANIC


def test_a_counter_exported_by_the_module_itself_is_refused_by_the_compiler(runtime: AspectRuntime) -> None:
    code = module(top="", allocate=ALLOCATE + '(global (export "__gas_counter__") (mut i64) (i64.const 0))')
    runtime.validate(code)
    kind, text = failure(operate(runtime, b"", code=code))
    assert kind is FailureKind.UNRUNNABLE
    assert text.startswith(
        "unable create wasm module: failed to parse WebAssembly module\n\nCaused by:\n    duplicate export name"
    )


def test_an_access_may_name_the_one_memory(runtime: AspectRuntime) -> None:
    # i32.load with bit 6 of the alignment set: a memory index follows. The metering takes the index for the offset and the
    # offset for one more instruction (as the node's does), but puts the same bytes back
    code = module("i32.const 0 i32.load")
    place = code.rindex(b"\x28\x02\x00")
    end = code.index(b"\x0b", place)
    longer = code[:place] + b"\x28\x42\x00\x00" + code[place + 3 :]
    body = code.rindex(bytes((end - place + 4,)), 0, place)
    assert code[body + 1] == 0, "no locals"
    longer = longer[:body] + bytes((code[body] + 1,)) + longer[body + 1 :]
    section = code.rindex(b"\x0a", 0, body)
    longer = longer[: section + 1] + bytes((code[section + 1] + 1,)) + longer[section + 2 :]
    runtime.validate(longer)
    assert operate(runtime, b"", code=longer).failure is None


def test_segments_that_do_not_fit_are_refused_when_an_instance_is_made(runtime: AspectRuntime) -> None:
    for segment, words in (
        ('(data (i32.const 65535) "xy")', "memory out of bounds: data segment does not fit"),
        ("(table 1 funcref) (elem (i32.const 1) 0)", "table out of bounds: elements segment does not fit"),
    ):
        kind, text = failure(operate(runtime, b"", code=module(allocate=ALLOCATE + segment)))
        assert kind is FailureKind.UNRUNNABLE
        assert text.startswith(f"unable to instantiate wasm module: {words}\n\nStack ")


def test_a_large_table_is_only_as_heavy_as_it_is_used(runtime: AspectRuntime) -> None:
    started = time.monotonic()
    assert operate(runtime, b"", code=module(allocate=ALLOCATE + "(table 10000000 funcref)")).failure is None
    assert time.monotonic() - started < 5


def test_rounds_without_a_price_are_bounded(runtime: AspectRuntime) -> None:
    fields = {1: bytes(64), 2: bytes(128), 3: bytes(16), 5: b"\xff\xff\xff\xff"}
    message = (
        b"".join(bytes([number << 3 | 2, *leb(len(value))]) + value for number, value in fields.items()) + b"\x20\x01"
    )
    with pytest.raises(TimeUp):
        probe(runtime, ("blake2f", message), watch=until(time.monotonic() + 0.05))


def leb(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])
